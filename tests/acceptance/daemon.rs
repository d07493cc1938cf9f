//! Every phase with the daemon: five containers, creator and rebaser on every Platform API; the images run, and skopeo
//! finds nothing wrong with them.

use std::path::Path;
use std::process::Command;

use crate::docker::{APIS, Outcome, World, docker};
use crate::pack::minor;

/// Phases with the daemon's socket, or without it as the build user.
struct Phases<'a> {
    world: &'a World,
    api: &'static str,
}

impl Phases<'_> {
    fn root(&self, phase: &str, args: &[&[&str]]) -> Outcome {
        let container = self.world.container().user("root").with_daemon().mount("launch-cache", "/launch-cache");
        container.env("CNB_PLATFORM_API", self.api).phase(phase, &args.concat()).success()
    }

    fn user(&self, phase: &str) -> Outcome {
        let container = self.world.container().option("--security-opt=no-new-privileges");
        container.env("CNB_PLATFORM_API", self.api).phase(phase, &["-app", "/workspace"]).success()
    }

    fn since(&self, api: u32, args: &'static [&'static str]) -> &'static [&'static str] {
        if minor(self.api) >= api { args } else { &[] }
    }
}

#[test]
fn every_phase_with_the_daemon_on_every_platform_api() {
    let Some(world) = World::new("daemon") else { return };
    let (run, new_run, old_run) = (world.run_image(), world.other_run_image(), format!("{}-old-run", world.name));
    docker(&["tag", &run, &old_run]);
    let layers = |image: &str| docker(&["inspect", "--format={{range .RootFS.Layers}}{{.}} {{end}}", image]).trim().to_owned();
    let (new_base, old_base) = (layers(&new_run), layers(&old_run));
    let id = |image: &str| docker(&["inspect", "--format={{.Id}}", image]);
    for api in APIS {
        let image = format!("{}-app-{api}", world.name);
        let phases = Phases { world: &world, api };
        let base_file: &[&str] = if minor(api) >= 12 { &["-run", "/cnb/run.toml"] } else { &["-stack", "/cnb/stack.toml"] };
        let launch_cache: &[&str] = &["-launch-cache", "/launch-cache"];
        world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        let analyzer: [&[&str]; 4] = [&["-daemon", "-run-image", &run], base_file, phases.since(9, launch_cache), &[&image]];
        phases.root("analyzer", &analyzer);
        phases.user("detector");
        phases.root("restorer", &[phases.since(12, &["-daemon"])]);
        phases.user("builder");
        phases.root("exporter", &[&["-daemon", "-app", "/workspace"], launch_cache, base_file, &[&image]]);
        let first = id(&image);

        // Again on another run image and without the launch cache: the layer that is reused comes out of the daemon.
        world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +; date >> /workspace/main.txt");
        docker(&["tag", &new_run, &run]);
        let creator: [&[&str]; 3] = [&["-daemon", "-app", "/workspace", "-run-image", &run], base_file, &[&image]];
        phases.root("creator", &creator).says("Reusing layer 'test/one:deps'");
        assert_ne!(id(&image), first, "Platform API {api}: the app has changed");
        assert!(layers(&image).starts_with(&new_base), "Platform API {api}");

        docker(&["tag", &old_run, &run]);
        phases.root("rebaser", &[&["-daemon", &image]]);
        let app = layers(&image);
        assert!(app.starts_with(&old_base) && !app.contains(&new_base), "Platform API {api}: {app}");
        assert_eq!(docker(&["run", "--rm", "--network=host", &image]), "hello from a layer, as 1001\n", "Platform API {api}");
        validate(&image);
    }
}

/// skopeo reads the image out of `docker save` and compares every layer with its diffID as it copies.
fn validate(image: &str) {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("SKIP: skopeo is not installed: {image} is not validated by it");
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    docker(&["save", "-o", &path("image.tar"), image]);
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).output().expect("run skopeo");
        assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let archive = format!("docker-archive:{}", path("image.tar"));
    assert!(skopeo(&["inspect", &archive]).contains("io.buildpacks.lifecycle.metadata"));
    skopeo(&["copy", "--quiet", &archive, &format!("dir:{}", path("copy"))]);
    assert!(Path::new(&path("copy/manifest.json")).exists());
}
