//! Layout directories as platforms prepare them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use crate::support::{Sandbox, UID, skipped_without_root};

/// A run image whose layer only root may read: `pack` writes it so. Gives the layer's place in a layout.
fn sandbox() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.run_image();
    sandbox.buildpack("a/one", "exit 0", "exit 0");
    sandbox.order(&[&["a/one"]]);
    let (_, manifest) = sandbox.layout_read("example.com/run");
    let blob = format!("latest/blobs/{}", manifest["layers"][0]["digest"].as_str().expect("a digest").replace(':', "/"));
    let path = sandbox.path(format!("layout/example.com/run/{blob}"));
    chown(&path, Some(0), Some(0)).expect("chown");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    (sandbox, blob)
}

fn in_app(sandbox: &Sandbox, blob: &str) -> PathBuf {
    sandbox.path(format!("layout/example.com/app/{blob}"))
}

#[test]
fn layers_that_only_root_may_read_get_into_the_image() {
    if skipped_without_root() {
        return;
    }
    let (sandbox, blob) = sandbox();
    sandbox.creator().args(["-tag", "example.com/second", "example.com/app"]).run().success().quiet().lacks("without a layer");
    let run = fs::read(sandbox.path(format!("layout/example.com/run/{blob}"))).expect("read");
    for app in ["app", "second"] {
        assert_eq!(fs::read(sandbox.path(format!("layout/example.com/{app}/{blob}"))).expect("read"), run, "{app}");
    }
    assert_ne!(fs::metadata(in_app(&sandbox, &blob)).expect("stat").permissions().mode() & 0o400, 0, "its owner may read it");

    // The exporter as a phase of its own, after the others have left their documents.
    fs::remove_dir_all(sandbox.path("layout/example.com/app")).expect("remove");
    sandbox
        .phase("exporter")
        .args(["-layout", "-layout-dir"])
        .args([sandbox.path("layout")])
        .args(["-launcher"])
        .args([sandbox.path("cnb/launcher"), "example.com/app".into()])
        .run()
        .success()
        .quiet();
    assert_eq!(fs::read(in_app(&sandbox, &blob)).expect("read"), run);
}

/// Who may not read them gets the image without them, as from a sparse layout.
#[test]
fn layers_that_nobody_here_may_read_are_left_out() {
    if skipped_without_root() {
        return;
    }
    let (sandbox, blob) = sandbox();
    let outcome = sandbox.creator().user(UID).args(["example.com/app"]).run().success();
    outcome.says("The image is saved without a layer of").says("permission denied");
    assert!(!in_app(&sandbox, &blob).exists());
}
