//! The two Tekton tasks (compatibility.md §7): empty values, `-bool=false`, line-oriented reading of report.toml.

use crate::docker::{World, docker};
use crate::registry::Registry;

/// Task `buildpacks` 0.6: creator with every parameter given, most of them empty.
#[test]
fn the_buildpacks_task() {
    let Some(world) = World::new("tekton-task") else { return };
    let registry = Registry::anonymous();
    registry.push(&world.run_image(), "run");
    let run = registry.image("run");
    let image = registry.image("app");
    let creator = || {
        let previous = format!("-previous-image={image}");
        let args = [
            "-app=/workspace",
            "-cache-dir=",
            "-cache-image=",
            "-uid=1001",
            "-gid=1000",
            "-layers=/layers",
            "-platform=/platform",
        ];
        let more = ["-report=/layers/report.toml", "-process-type=web", "-skip-restore=false", &previous, "-run-image=", &image];
        world.shell(&format!("printf '[run-image]\\nimage = \"{run}\"\\n' > /workspace/stack.toml"));
        world
            .container()
            .user("0")
            .env("CNB_PLATFORM_API", "0.9")
            .env("CNB_STACK_PATH", "/workspace/stack.toml")
            .phase("creator", &[&args[..], &more[..]].concat())
            .success()
    };
    creator();
    creator().says("Reusing layer 'test/one:deps'");
    let digest = world.shell("grep \"digest\" /layers/report.toml | cut -d'\"' -f2");
    assert_eq!(digest.lines().count(), 1, "{digest}");
    assert!(digest.starts_with("sha256:"), "{digest}");
    let pulled = registry.pull("app");
    let digests = docker(&["inspect", "--format={{json .RepoDigests}}", &pulled]);
    assert!(digests.contains(digest.trim()), "{digest} is not in {digests}");
}

/// Task `buildpacks-phases` 0.3: one step per phase, list values empty.
#[test]
fn the_buildpacks_phases_task() {
    let Some(world) = World::new("tekton-phases") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    let image = registry.image("app");
    world.container().user("0").mount("cache", "/cache").command(&["/bin/chown", "1001:1000", "/cache"]).success();
    let container = || world.container().mount("cache", "/cache").env("CNB_PLATFORM_API", "0.13");
    let run_image = format!("-run-image={run}");
    let analyzer = [
        "-log-level=info",
        "-layers=/layers",
        &run_image,
        "-cache-image=",
        "-uid=1001",
        "-gid=1000",
        "-insecure-registry=",
        "-tag=",
    ];
    container().user("0").phase("analyzer", &[&analyzer[..], &["-skip-layers=false", &image]].concat()).success();
    container()
        .phase("detector", &["-log-level=info", "-app=/workspace", "-group=/layers/group.toml", "-plan=/layers/plan.toml"])
        .success();
    container()
        .user("0")
        .phase(
            "restorer",
            &[
                "-build-image=",
                "-group=/layers/group.toml",
                "-layers=/layers",
                "-cache-dir=/cache",
                "-cache-image=",
                "-uid=1001",
                "-gid=1000",
            ],
        )
        .success();
    container()
        .phase("builder", &["-app=/workspace", "-layers=/layers", "-group=/layers/group.toml", "-plan=/layers/plan.toml"])
        .success();
    let exporter = [
        "-app=/workspace",
        "-layers=/layers",
        "-group=/layers/group.toml",
        "-cache-dir=/cache",
        "-cache-image=",
        "-report=/layers/report.toml",
    ];
    container()
        .user("0")
        .phase("exporter", &[&exporter[..], &["-process-type=web", "-uid=1001", "-gid=1000", &image]].concat())
        .success();
    let pulled = registry.pull("app");
    assert_eq!(docker(&["run", "--rm", "--network=host", &pulled]), "hello from a layer, as 1001\n");
}
