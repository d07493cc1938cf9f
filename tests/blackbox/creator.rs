//! `creator` from source to image, in an OCI layout directory.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::{Sandbox, UID, skipped_without_root};

const LAYER: &str = r#"
mkdir -p "$CNB_LAYERS_DIR/deps/bin"
echo content > "$CNB_LAYERS_DIR/deps/bin/tool"
printf '[types]\nlaunch = true\ncache = true\nbuild = true\n[metadata]\nversion = 1\n' > "$CNB_LAYERS_DIR/deps.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["tool"]\ndefault = true\n' > "$CNB_LAYERS_DIR/launch.toml"
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run_image();
    sandbox.buildpack("a/one", "exit 0", LAYER);
    sandbox.order(&[&["a/one"]]);
    sandbox.write("app/main.txt", "hello\n");
    sandbox.own("app");
    sandbox
}

#[test]
fn the_second_build_reuses_every_layer_and_gives_the_same_image() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    let cache = sandbox.path("cache");
    let build = || sandbox.creator().args(["-cache-dir"]).args([&cache]).args(["example.com/app"]).run().success().quiet();
    build()
        .says("===> ANALYZING")
        .says("===> EXPORTING")
        .says("Adding layer 'a/one:deps'")
        .says("Adding cache layer 'a/one:deps'")
        .lacks("Reusing");
    let first = sandbox.read("layout/example.com/app/latest/index.json");
    std::fs::remove_dir_all(sandbox.path("layers")).expect("remove layers");
    std::fs::create_dir(sandbox.path("layers")).expect("create layers");
    sandbox.own("layers");
    build()
        .says("Restoring metadata for \"a/one:deps\" from app image")
        .says("Restoring data for \"a/one:deps\" from cache")
        .says("Reusing layer 'a/one:deps'")
        .says("Reused 1/1 app layer(s)")
        .says("Reusing cache layer 'a/one:deps'");
    assert_eq!(first, sandbox.read("layout/example.com/app/latest/index.json"));
}

#[test]
fn the_image_runs_the_default_process_from_the_app_directory() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.creator().args(["example.com/app"]).run().success();
    let (config, manifest) = sandbox.layout_read("example.com/app");
    assert_eq!(config["config"]["Entrypoint"], json!(["/cnb/process/web"]));
    assert_eq!(config["config"]["WorkingDir"], json!(sandbox.path("app")));
    let env = config["config"]["Env"].as_array().expect("Env");
    assert!(env.contains(&json!("PATH=/cnb/process:/cnb/lifecycle:/usr/bin:/bin")), "{env:?}");
    assert!(env.contains(&json!("CNB_PLATFORM_API=0.15")), "{env:?}");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), manifest["layers"].as_array().map(Vec::len));
    assert_eq!(config["created"], json!("1980-01-01T00:00:01Z"));
}

/// The phases leave nothing of root behind in what the build user works in.
#[test]
fn what_the_phases_write_belongs_to_the_build_user() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.creator().args(["example.com/app"]).run().success();
    for name in ["layers/group.toml", "layers/analyzed.toml", "layers/config/metadata.toml", "layers/report.toml"] {
        let meta = sandbox.path(name).metadata().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((meta.uid(), meta.gid()), (UID, UID), "{name}");
    }
}

#[test]
fn a_build_that_fails_leaves_no_image() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.buildpack("a/one", "exit 0", "echo this is why; exit 3");
    sandbox.creator().args(["example.com/app"]).run().code(51).says("this is why");
    assert!(!sandbox.exists("layout/example.com/app"));
}

#[test]
fn five_processes_with_files_between_them_give_the_image_of_creator() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.creator().args(["example.com/app"]).run().success();
    let whole = sandbox.read("layout/example.com/app/latest/index.json");
    for name in ["layers", "layout/example.com/app"] {
        std::fs::remove_dir_all(sandbox.path(name)).expect("remove");
    }
    std::fs::create_dir(sandbox.path("layers")).expect("create layers");
    sandbox.own("layers");
    let layout = [sandbox.path("layout")];
    sandbox
        .phase("analyzer")
        .args(["-layout", "-layout-dir"])
        .args(&layout)
        .args(["-run-image", "example.com/run", "example.com/app"])
        .run()
        .success()
        .quiet();
    sandbox.phase("detector").run().success().quiet();
    sandbox.phase("restorer").args(["-layout", "-layout-dir"]).args(&layout).run().success().quiet();
    sandbox.phase("builder").run().success().quiet();
    sandbox
        .phase("exporter")
        .args(["-layout", "-layout-dir"])
        .args(&layout)
        .args(["-launcher"])
        .args([sandbox.path("cnb/launcher")])
        .args(["example.com/app"])
        .run()
        .success()
        .quiet();
    assert_eq!(whole, sandbox.read("layout/example.com/app/latest/index.json"));
}
