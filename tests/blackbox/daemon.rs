//! `-daemon`: what goes over the socket, and what becomes of it. The engine is a small one of the tests' own; a real one is
//! asked by the acceptance tests.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::{Engine, Image, Kind};
use crate::support::{Outcome, Sandbox, UID, sha256, skipped_without_root, tar_of};

/// 6 MB that no transfer can hide, kept by the buildpack in every build.
const BUILD: &str = r#"
L=$CNB_LAYERS_DIR
if [ ! -e "$L/big.toml" ]; then
  mkdir -p "$L/big"
  head -c 6000000 /dev/zero | tr '\0' x > "$L/big/data"
fi
printf '[types]\nlaunch = true\n' > "$L/big.toml"
"#;

pub const IMAGE: u64 = 6_000_000;
/// Nor can any compression hide this.
pub const RUN_IMAGE: u64 = 2_000_000;

pub struct Fixture {
    pub sandbox: Sandbox,
    pub engine: Arc<Engine>,
}

pub fn fixture(kind: Kind) -> Fixture {
    let sandbox = Sandbox::new();
    sandbox.buildpack("a/one", "exit 0", BUILD);
    sandbox.order(&[&["a/one"]]);
    sandbox.write("app/main.txt", "hello\n");
    sandbox.own("app");
    fs::create_dir(sandbox.path("launch-cache")).expect("create directory");
    sandbox.own("launch-cache");
    let engine = Engine::start(&sandbox.path("docker.sock"), kind);
    engine.add("example.com/run:latest", run_image(1));
    Fixture { sandbox, engine }
}

/// A run image of one layer with noise.
pub fn run_image(seed: u64) -> Image {
    let mut state = seed;
    let mut noise = || {
        // Knuth's linear congruential generator; its upper bits are noise enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let layer = tar_of([("noise".to_owned(), (0..RUN_IMAGE).map(|_| noise()).collect())]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Labels": {"io.buildpacks.stack.id": "s"}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
    });
    Image { config: config.to_string().into_bytes(), layers: vec![Arc::new(layer)] }
}

impl Fixture {
    pub fn host(&self) -> String {
        format!("unix://{}", self.sandbox.path("docker.sock").display())
    }

    pub fn create(&self, more: &[&str]) -> Outcome {
        self.creator(more).success().quiet()
    }

    /// `creator`, whatever comes of it.
    pub fn creator(&self, more: &[&str]) -> Outcome {
        self.engine.traffic();
        let launcher = self.sandbox.path("cnb/launcher");
        let creator = self.sandbox.phase("creator").env("DOCKER_HOST", &self.host());
        creator
            .args(["-daemon", "-run-image", "example.com/run", "-launcher"])
            .args([launcher])
            .args(more)
            .args(["example.com/app"])
            .run()
    }

    /// The next build of an app with another line.
    pub fn change(&self) {
        self.forget_layers();
        self.sandbox.write("app/main.txt", "changed\n");
        self.sandbox.own("app");
    }

    /// The next build starts with an empty layers directory, as platforms have it.
    pub fn forget_layers(&self) {
        fs::remove_dir_all(self.sandbox.path("layers")).expect("remove layers");
        fs::create_dir(self.sandbox.path("layers")).expect("create layers");
        self.sandbox.own("layers");
    }

    /// The image is whole, and its label names layers that it has.
    pub fn check(&self) -> String {
        let (id, image) = self.engine.image("example.com/app:latest").expect("the app image");
        let config: Value = serde_json::from_slice(&image.config).expect("config");
        let diff_ids: Vec<&str> =
            config["rootfs"]["diff_ids"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
        let have: Vec<String> = image.layers.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
        assert_eq!(have, diff_ids);
        let label = config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"].as_str().expect("label");
        let label: Value = serde_json::from_str(label).expect("label");
        let big = label["buildpacks"][0]["layers"]["big"]["sha"].as_str().expect("sha");
        assert!(diff_ids.contains(&big), "{label}");
        id
    }
}

/// The daemon closes the connection after each answer, the socket is root's, and the phases are not root any more.
#[test]
fn connections_are_opened_again_after_privileges_were_dropped() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    fixture.create(&[]).says("*** Images (");
    fixture.check();
    assert!(fixture.engine.connections.load(Ordering::SeqCst) > 5);
}

/// One build at a time writes to a launch cache; while buildpacks run, nobody does.
#[test]
fn the_launch_cache_is_free_while_buildpacks_build() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    let cache = fixture.sandbox.path("launch-cache");
    let cache = cache.to_str().expect("UTF-8");
    fixture.sandbox.buildpack("a/one", "exit 0", &format!("{BUILD}\nflock -n '{cache}' echo it is free || exit 9"));
    fixture.create(&["-launch-cache", cache]).says("it is free");
    fixture.check();
    assert!(fixture.sandbox.exists("launch-cache/committed"));
}

/// While the buildpacks build, as long as that takes, the daemon closes its socket and opens another of the same name.
#[test]
fn a_daemon_may_restart_during_the_build() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    let wait = "touch building; for i in $(seq 3000); do [ -e restarted ] && break; sleep 0.02; done; rm building restarted";
    fixture.sandbox.buildpack("a/one", "exit 0", &format!("{BUILD}\n{wait}\necho \"build as $(id -u)\""));
    let before = std::thread::scope(|scope| {
        let restart = scope.spawn(|| {
            while !fixture.sandbox.exists("app/building") {
                std::thread::sleep(Duration::from_millis(20));
            }
            let before = fixture.engine.connections.load(Ordering::SeqCst);
            fixture.engine.listen(&fixture.sandbox.path("docker.sock"));
            fixture.sandbox.write("app/restarted", "");
            before
        });
        let cache = fixture.sandbox.path("launch-cache");
        fixture.create(&["-launch-cache", cache.to_str().expect("UTF-8")]).says(&format!("build as {UID}"));
        restart.join().expect("the restart")
    });
    fixture.check();
    assert!(before > 1, "the socket was used before the build");
    assert!(fixture.engine.connections.load(Ordering::SeqCst) > before, "and after it");
    // The exporter was not root: these files are its own.
    let files: Vec<_> = fs::read_dir(fixture.sandbox.path("launch-cache/committed")).expect("list").collect();
    assert!(!files.is_empty());
    for file in files {
        assert_eq!(file.and_then(|f| f.metadata()).expect("stat").uid(), UID);
    }
}

#[test]
fn what_the_daemon_has_is_not_sent() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    let cache = fixture.sandbox.path("launch-cache");
    let cache = ["-launch-cache", cache.to_str().expect("UTF-8")];
    fixture.create(&cache);
    let first = fixture.check();
    assert!(fixture.engine.traffic() > IMAGE);

    fixture.forget_layers();
    fixture.create(&cache).says("Reusing layer 'a/one:big'");
    let traffic = fixture.engine.traffic();
    assert!(traffic < IMAGE / 100, "{traffic} bytes for nothing new");
    assert_eq!(fixture.check(), first);

    fixture.change();
    fixture.create(&cache).says("Reusing layer 'a/one:big'");
    let traffic = fixture.engine.traffic();
    assert!(traffic < IMAGE / 100, "{traffic} bytes for one line");
    assert_ne!(fixture.check(), first);
}

#[test]
fn a_layer_of_the_previous_image_needs_no_launch_cache() {
    if skipped_without_root() {
        return;
    }
    for kind in [Kind::GraphDriver, Kind::RefusesBlanks, Kind::Containerd, Kind::OldContainerd] {
        let fixture = fixture(kind);
        fixture.create(&[]);
        let first = fixture.check();
        fixture.change();
        fixture.create(&[]).says("Reusing layer 'a/one:big'");
        assert_ne!(fixture.check(), first);
        let left = fs::read_dir(fixture.sandbox.path("tmp")).expect("list").count();
        assert_eq!(left, 0, "temporary files stay behind");
    }
}

#[test]
fn damaged_files_of_the_launch_cache_never_go_into_an_image() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::RefusesBlanks);
    let cache = fixture.sandbox.path("launch-cache");
    let args = ["-launch-cache", cache.to_str().expect("UTF-8")];
    fixture.create(&args);
    for entry in fs::read_dir(cache.join("committed")).expect("list") {
        let path = entry.expect("entry").path();
        let mut bytes = fs::read(&path).expect("read");
        if let Some(middle) = bytes.len().checked_div(2).filter(|m| *m > 0) {
            bytes[middle] ^= 1;
            fs::write(&path, bytes).expect("write");
        }
    }
    fixture.change();
    fixture.create(&args).says("Warning: Not using layer ");
    fixture.check();
}
