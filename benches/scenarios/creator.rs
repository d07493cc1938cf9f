//! Whole builds: buildpacks that put their layers in place without any work of their own, so that all that is measured is
//! the lifecycle's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::measure::run;
use super::{Bench, Contender, flat, text};

/// Moves layers that wait in `@TREES@` to where they belong and says what they are for. The second time it finds them restored
/// or leaves them to the previous image.
const BUILD: &str = r#"#!/bin/sh
for toml in "@TREES@"/*.toml; do
    name=$(basename "$toml" .toml)
    [ -d "@TREES@/$name" ] && mv "@TREES@/$name" "$1/$name"
    cp "$toml" "$1/$name.toml"
done
exit 0
"#;

impl Bench {
    pub(super) fn creator(&mut self, round: usize, contender: &Contender) {
        let who = contender.name;
        for (first, again, cache) in [
            ("first build, volume cache", "build again, volume cache", "volume"),
            ("first build, cache image", "build again, cache image", "image"),
        ] {
            let dir = self.root.join("build");
            fs::create_dir_all(&dir).expect("directory");
            // The layers wait where the workload has them; the build has a layers directory of its own.
            let order = write_buildpacks(&self.work.layers(), &dir);
            fs::write(dir.join("order.toml"), order).expect("order.toml");
            let volume = text(&dir.join("cache"));
            let name = |what: &str| format!("{}/{what}-{cache}-{who}-{round}", self.registry.address);
            let mut args = flat(&[
                ("-app", text(&self.work.app())),
                ("-layers", text(&dir.join("layers"))),
                ("-buildpacks", text(&dir.join("buildpacks"))),
                ("-order", text(&dir.join("order.toml"))),
                ("-platform", text(&dir.join("platform"))),
                ("-report", text(&dir.join("report.toml"))),
                ("-launcher", text(&self.work.launcher())),
                ("-run-image", self.registry.run_image.clone()),
            ]);
            args.extend(match cache {
                "volume" => ["-cache-dir".to_owned(), volume.clone()],
                _ => ["-cache-image".to_owned(), name("creator-cache")],
            });
            args.push(name("creator"));
            for name in ["cache", "platform/env"] {
                fs::create_dir_all(dir.join(name)).expect("directory");
            }
            for scenario in [first, again] {
                fs::create_dir_all(dir.join("layers")).expect("layers");
                let cost = run(&contender.bin.join("creator"), &args, &[], &self.registry);
                self.note(scenario, who, cost);
                if scenario == first {
                    take_back(&dir.join("layers"), &dir.join("first"));
                } else {
                    fs::remove_dir_all(dir.join("layers")).expect("remove layers");
                }
            }
            put_back(&dir.join("first"), &self.work.layers());
            fs::remove_dir_all(&dir).expect("remove build");
        }
    }
}

/// A buildpack for each directory of layers, and the order of them all.
fn write_buildpacks(layers: &Path, dir: &Path) -> String {
    let mut order = "[[order]]\n".to_owned();
    let mut ids: Vec<String> = fs::read_dir(layers)
        .expect("layers")
        .filter_map(|entry| entry.ok().filter(|e| e.path().is_dir())?.file_name().into_string().ok())
        .filter(|id| id != "config")
        .collect();
    ids.sort();
    for id in ids {
        let buildpack = dir.join("buildpacks").join(&id).join("1.0");
        fs::create_dir_all(buildpack.join("bin")).expect("buildpack");
        let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"{id}\"\nversion = \"1.0\"\n[[stacks]]\nid = \"*\"\n");
        fs::write(buildpack.join("buildpack.toml"), toml).expect("buildpack.toml");
        for (name, script) in
            [("detect", "#!/bin/sh\nexit 0\n".to_owned()), ("build", BUILD.replace("@TREES@", &text(&layers.join(&id))))]
        {
            let path = buildpack.join("bin").join(name);
            fs::write(&path, script).expect("script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        order += &format!("[[order.group]]\nid = \"{id}\"\nversion = \"1.0\"\n");
    }
    order
}

/// The layers of the first build, out of the way of the second.
fn take_back(layers: &Path, aside: &Path) {
    fs::rename(layers, aside).expect("move layers");
}

/// Every layer to where it waits for the next first build.
fn put_back(from: &Path, layers: &Path) {
    for buildpack in fs::read_dir(from).expect("layers").flatten().filter(|e| layers.join(e.file_name()).is_dir()) {
        for layer in fs::read_dir(buildpack.path()).expect("layers").flatten().filter(|e| e.path().is_dir()) {
            let place = layers.join(buildpack.file_name()).join(layer.file_name());
            if !place.exists() {
                fs::rename(layer.path(), place).expect("move layer back");
            }
        }
    }
}
