//! The lifecycle image that is released: other tools take it, and `pack` starts phases in it (compatibility.md §5.2).

use std::process::Command;

use serde_json::Value;

use crate::docker::{Outcome, World, docker};
use crate::registry::Registry;

/// Runs `skopeo` and gives its stdout.
fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").args(args).output().expect("skopeo is installed");
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_lifecycle_image_is_loaded_copied_and_used() {
    let Some(world) = World::new("lifecycle-image") else { return };
    let Ok(archive) = std::env::var("LIFECYCLE_IMAGE") else {
        eprintln!("SKIP: LIFECYCLE_IMAGE does not name the archive of the lifecycle image");
        return;
    };
    // By docker, from the archive.
    let loaded = docker(&["load", "--quiet", "--input", &archive]);
    let name = loaded.trim().strip_prefix("Loaded image: ").unwrap_or_else(|| panic!("{loaded}"));
    let version = name.strip_prefix("buildpacksio/lifecycle:").unwrap_or_else(|| panic!("{name}"));
    for program in ["lifecycle", "analyzer", "restorer", "exporter", "creator", "rebaser", "extender", "detector", "builder"] {
        let run = ["run", "--rm", "--network=host", "--env=CNB_PLATFORM_API=0.15", name, program, "-version"];
        let said = docker(&run);
        assert_eq!(said.trim().split('+').next(), Some(version), "{program}");
    }
    let id = docker(&["inspect", "--format={{.Id}}", name]);
    docker(&["rmi", name]);

    // By skopeo, from the archive into a registry, and from there by docker.
    let registry = Registry::with_basic_auth();
    let config = format!("{}/config.json", registry.docker_config());
    let pushed = registry.image("lifecycle");
    let (from, to) = (format!("oci-archive:{archive}"), format!("docker://{pushed}:latest"));
    skopeo(&["copy", "--quiet", "--dest-tls-verify=false", "--dest-authfile", &config, &from, &to]);
    let inspected: Value =
        serde_json::from_str(&skopeo(&["inspect", "--tls-verify=false", "--authfile", &config, &to])).expect("JSON");
    assert_eq!(inspected["Labels"]["io.buildpacks.lifecycle.version"], version);
    let apis: Value =
        serde_json::from_str(inspected["Labels"]["io.buildpacks.lifecycle.apis"].as_str().expect("a label")).expect("JSON");
    assert_eq!(apis["platform"]["supported"].as_array().and_then(|versions| versions.last()), Some(&Value::from("0.15")));
    let pulled = registry.pull("lifecycle");
    assert_eq!(docker(&["inspect", "--format={{.Id}}", &pulled]), id, "the same image by either way");
    // The last layer is the one with /cnb/lifecycle: platforms take it out of the image.
    let history = docker(&["history", "--no-trunc", "--format={{.CreatedBy}}", &pulled]);
    assert_eq!(history, "Cloud Native Buildpacks lifecycle\nDirectories of the lifecycle image\n");

    builds_in(&world, &registry, &pulled);
    docker(&["rmi", "-f", &pulled]);
}

/// The phases that need no builder run in the lifecycle image, as root and without a shell.
fn builds_in(world: &World, registry: &Registry, lifecycle: &str) {
    let run = registry.push(&world.run_image(), "run");
    let app = registry.image("app");
    let in_lifecycle_image = |phase: &str, args: &[&str]| -> Outcome {
        let container = world.container_with_credentials(registry).image(lifecycle).mount("cache", "/cache");
        let container = container.env("CNB_PLATFORM_API", "0.15").env("CNB_USER_ID", "1001").env("CNB_GROUP_ID", "1000");
        container.phase(phase, args).success()
    };
    let in_builder =
        |phase: &str| world.container().env("CNB_PLATFORM_API", "0.15").phase(phase, &["-app", "/workspace"]).success();
    in_lifecycle_image("analyzer", &["-run-image", &run, &app]);
    in_builder("detector");
    in_lifecycle_image("restorer", &["-cache-dir", "/cache"]);
    in_builder("builder");
    in_lifecycle_image("exporter", &["-app", "/workspace", "-cache-dir", "/cache", &app]);
    let pulled = registry.pull("app");
    assert_eq!(docker(&["run", "--rm", "--network=host", &pulled]), "hello from a layer, as 1001\n");
    docker(&["rmi", "-f", &pulled]);
}
