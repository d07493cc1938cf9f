//! In `creator`, layers are in the registry before the build is over.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lifecycle::image::{DiffId, ImageStore};
use lifecycle::layers::source::LayerSource;

use super::faulty::{FaultyRegistry, Manners, Seen};
use super::sandbox::{Outcome, Run, Sandbox, UID, skipped_without_root};
use super::support::{check_whole, layer, save, store};

/// Writes a layer that is large enough, and one that is not.
const FIRST: &str = r#"
mkdir -p "$CNB_LAYERS_DIR/big" "$CNB_LAYERS_DIR/small"
seq 400000 > "$CNB_LAYERS_DIR/big/numbers"
echo small > "$CNB_LAYERS_DIR/small/file"
for l in big small; do printf '[types]\nlaunch = true\ncache = true\n' > "$CNB_LAYERS_DIR/$l.toml"; done
"#;

/// Ends when the registry has a blob, or fails after a minute.
const WAITS: &str = r#"
n=0; until [ -e "$CNB_PLATFORM_DIR/env/arrived" ]; do n=$((n + 1)); [ $n -lt 600 ] || exit 7; sleep 0.1; done
"#;

fn world(second: &str) -> Option<(FaultyRegistry, Sandbox)> {
    if skipped_without_root() {
        return None;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("SKIP: nothing is done ahead on one core");
        return None;
    }
    let registry = FaultyRegistry::start(Manners::default());
    let sandbox = Sandbox::new();
    sandbox.buildpack("a/first", "exit 0", FIRST);
    sandbox.buildpack("a/second", "exit 0", second);
    sandbox.order(&[&["a/first", "a/second"]]);
    sandbox.write("app/main.txt", "hello\n");
    sandbox.own("app");
    sandbox.write("cnb/run.toml", format!("[[images]]\nimage = \"{}\"\n", registry.name("run")));
    let dir = tempfile::tempdir().unwrap();
    save(&store(&[]), &[&registry.name("run")], None, &[layer(dir.path(), "base", 1, 1000)]).unwrap();
    registry.take_seen();
    Some((registry, sandbox))
}

fn creator<'a>(sandbox: &'a Sandbox, registry: &FaultyRegistry) -> Run<'a> {
    let launcher = sandbox.path("cnb/launcher");
    sandbox.phase("creator").args(["-launcher"]).args([launcher]).args(["-run-image", &registry.name("run")])
}

fn is_upload(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.starts_with("/v2/app/blobs/uploads/") && seen.status == 201
}

/// Runs the creator; when the registry has the first blob of the app, the second buildpack may go on. All that was seen.
fn run(sandbox: &Sandbox, registry: &FaultyRegistry, creator: Run<'_>) -> (Outcome, Vec<Seen>) {
    let over = AtomicBool::new(false);
    let arrived: PathBuf = sandbox.path("platform/env/arrived");
    let _ = std::fs::remove_file(&arrived);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut all, started) = (Vec::new(), Instant::now());
            while !over.load(Ordering::SeqCst) && started.elapsed() < Duration::from_secs(100) {
                all.extend(registry.take_seen());
                if all.iter().any(is_upload) && !arrived.exists() {
                    std::fs::write(&arrived, "").unwrap();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            all
        });
        let outcome = creator.run();
        over.store(true, Ordering::SeqCst);
        let mut seen = watching.join().unwrap();
        seen.extend(registry.take_seen());
        (outcome, seen)
    })
}

fn big_layer(sandbox: &Sandbox) -> DiffId {
    let path = sandbox.path("layers/a_first/big");
    LayerSource::Directory { path, uid: UID.into(), gid: UID.into() }.diff_id().unwrap()
}

#[test]
fn a_layer_is_sent_while_the_next_buildpack_builds() {
    for cache in ["none", "volume", "image"] {
        let Some((registry, sandbox)) = world(WAITS) else { return };
        let build = || {
            let creator = creator(&sandbox, &registry);
            match cache {
                "volume" => creator.args(["-cache-dir"]).args([sandbox.path("cache")]),
                "image" => creator.args(["-cache-image", &registry.name("cache")]),
                _ => creator,
            }
            .args([registry.name("app")])
        };
        let (outcome, seen) = run(&sandbox, &registry, build());
        outcome.success().says("Adding layer 'a/first:big'").says("Adding layer 'a/first:small'");
        let mut blobs: Vec<_> = seen.iter().filter(|s| is_upload(s)).filter_map(|s| s.path.split_once("digest=")).collect();
        let all = blobs.len();
        blobs.sort_unstable();
        blobs.dedup_by_key(|(_, digest)| *digest);
        assert_eq!(blobs.len(), all, "{cache}: a blob was sent twice");
        let image = check_whole(&store(&[]), &registry.name("app"));
        assert!(image.config.diff_ids().contains(&big_layer(&sandbox)), "{cache}");
        let overlapped = image.digest.clone();

        // The same without any overlap.
        let alone = registry.name("alone");
        let group = sandbox.path("layers/group.toml");
        let dirs = [sandbox.path("layers"), sandbox.path("cnb/launcher")];
        let export = sandbox.phase("exporter").args(["-group"]).args([&group]).args(["-layers"]).args([&dirs[0]]);
        export.args(["-launcher"]).args([&dirs[1]]).args([&alone]).run().success();
        assert_eq!(store(&[]).open(&alone).unwrap().unwrap().digest, overlapped, "{cache}");
    }
}

#[test]
fn what_a_later_buildpack_changes_is_read_again() {
    let changes = format!("{WAITS}\necho changed >> \"$CNB_LAYERS_DIR/../a_first/big/numbers\"");
    let Some((registry, sandbox)) = world(&changes) else { return };
    let (outcome, _) = run(&sandbox, &registry, creator(&sandbox, &registry).args([registry.name("app")]));
    outcome.success();
    let image = check_whole(&store(&[]), &registry.name("app"));
    assert!(sandbox.read("layers/a_first/big/numbers").ends_with("changed\n"));
    assert!(image.config.diff_ids().contains(&big_layer(&sandbox)), "the image has the layer as it is at the end");
}

#[test]
fn a_build_that_fails_pushes_no_image() {
    let Some((registry, sandbox)) = world(&format!("{WAITS}\nexit 3")) else { return };
    let (outcome, _) = run(&sandbox, &registry, creator(&sandbox, &registry).args([registry.name("app")]));
    outcome.code(51);
    assert_eq!(registry.manifest("app", "latest"), None);
}

/// In a layout, what was made ahead waits in a directory of its own, which goes with the build.
#[test]
fn a_build_that_fails_leaves_nothing_in_the_layout_directory() {
    let Some((_, sandbox)) = world("sleep 1; exit 3") else { return };
    sandbox.run_image();
    sandbox.creator().args(["example.com/app"]).run().code(51);
    let left =
        std::fs::read_dir(sandbox.path("layout")).unwrap().chain(std::fs::read_dir(sandbox.path("layout/example.com")).unwrap());
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["example.com", "run"]);
}

/// A restored layer was hashed on its way out of the cache.
#[test]
fn what_comes_from_a_cache_image_is_not_read_again() {
    let keeps = format!("[ -e \"$CNB_LAYERS_DIR/big/numbers\" ] && {{ echo kept it; exit 0; }}\n{FIRST}");
    let Some((registry, sandbox)) = world("exit 0") else { return };
    sandbox.buildpack("a/first", "exit 0", &keeps);
    let build = || {
        let creator = creator(&sandbox, &registry).args(["-log-level", "debug", "-cache-image", &registry.name("cache")]);
        creator.args([registry.name("app")]).run().success()
    };
    build();
    let first = store(&[]).open(&registry.name("app")).unwrap().unwrap().digest.clone();
    std::fs::remove_dir_all(sandbox.path("layers")).unwrap();
    std::fs::create_dir(sandbox.path("layers")).unwrap();
    sandbox.own("layers");
    // The buildpack must say again what the layer is for.
    let types = "printf '[types]\\nlaunch = true\\ncache = true\\n'";
    let keeps = format!("for l in big small; do {types} > \"$CNB_LAYERS_DIR/$l.toml\"; done\n{keeps}");
    sandbox.buildpack("a/first", "exit 0", &keeps);
    build()
        .says("kept it")
        .says("Reusing layer 'a/first:big'")
        .says(&format!("Layer {} is unchanged on disk", big_layer(&sandbox)));
    assert_eq!(store(&[]).open(&registry.name("app")).unwrap().unwrap().digest, first);
}

/// With a cache image, a cache directory keeps only what layers look like.
#[test]
fn a_cache_directory_beside_a_cache_image_spares_reading() {
    let Some((registry, sandbox)) = world("exit 0") else { return };
    let (image, dir) = (registry.name("cache"), sandbox.path("cache"));
    let creator = creator(&sandbox, &registry).args(["-cache-image", &image, "-cache-dir"]).args([&dir]);
    creator.args([registry.name("app")]).run().success();
    let launcher = sandbox.path("cnb/launcher");
    let exporter = sandbox.phase("exporter").args(["-log-level", "debug", "-cache-image", &image, "-cache-dir"]).args([&dir]);
    let exporter = exporter.args(["-launcher"]).args([launcher]).args([registry.name("app")]);
    let unchanged = format!("Layer {} is unchanged on disk", big_layer(&sandbox));
    exporter.run().success().says(&unchanged).says("Reusing cache layer 'a/first:big'");
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".fingerprints"]);
}
