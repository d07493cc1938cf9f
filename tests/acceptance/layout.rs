//! `pack build oci:…`: creator as root with the run image and the output mounted into /layout-repo (compatibility.md §5.3).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::docker::{World, docker};

fn skopeo(args: &[&str]) {
    let output = Command::new("skopeo").args(args).output().expect("skopeo is installed");
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// On a machine where only `pack`'s user may read the layers of the run image. The result is whole: docker runs it.
#[test]
fn creator_exports_to_a_layout_and_reuses_layers() {
    let Some(world) = World::new("pack-layout") else { return };
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let daemon = format!("unix://{}", world.socket());
    let run = format!("docker-daemon:{}:latest", world.run_image());
    skopeo(&["copy", "--quiet", "--src-daemon-host", &daemon, &run, &format!("oci:{}", path("run"))]);
    for blob in fs::read_dir(path("run") + "/blobs/sha256").expect("read directory") {
        let blob = blob.expect("read directory").path();
        if blob.metadata().expect("stat").len() > 100_000 {
            fs::set_permissions(&blob, fs::Permissions::from_mode(0o600)).expect("chmod");
        }
    }
    fs::create_dir(path("app")).expect("create directory");
    fs::set_permissions(path("app"), fs::Permissions::from_mode(0o777)).expect("chmod");
    let creator = || {
        world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        world
            .container()
            .user("root")
            .option("--security-opt=no-new-privileges")
            .option(format!("--volume={}:/layout-repo/registry.local/run/latest:ro", path("run")))
            .option(format!("--volume={}:/layout-repo/index.docker.io/library/app/latest", path("app")))
            .mount("cache", "/cache")
            .env("CNB_PLATFORM_API", "0.15")
            .env("CNB_USE_LAYOUT", "true")
            .env("CNB_LAYOUT_DIR", "/layout-repo")
            .env("CNB_EXPERIMENTAL_MODE", "warn")
            .env("CNB_REGISTRY_AUTH", "{}")
            .phase("creator", &["-app", "/workspace", "-cache-dir", "/cache", "-run-image", "registry.local/run", "app"])
            .success()
            .says("Saving /layout-repo/index.docker.io/library/app/latest...")
            .lacks("without a layer")
    };
    creator().lacks("Reusing layer");
    let index = || fs::read(path("app") + "/index.json").expect("read");
    let first = index();
    creator().says("deps were restored").says("Reusing layer 'test/one:deps'");
    assert_eq!(index(), first, "the same image again");
    let app = format!("{}-app:latest", world.name);
    let to = format!("docker-daemon:{app}");
    skopeo(&["copy", "--quiet", "--dest-daemon-host", &daemon, &format!("oci:{}", path("app")), &to]);
    assert_eq!(docker(&["run", "--rm", "--network=host", &app]), "hello from a layer, as 1001\n");
}
