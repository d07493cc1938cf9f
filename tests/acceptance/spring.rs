//! Spring Boot's `build-image` (compatibility.md §6): always the daemon, Platform API 0.14.

use crate::docker::{World, docker};

/// A trusted builder.
#[test]
fn creator_as_spring_boot_calls_it() {
    let Some(world) = World::new("spring-creator") else { return };
    let image = format!("{}-app", world.name);
    let run = world.run_image();
    let args = ["-app", "/workspace", "-platform", "/platform", "-run-image", &run, "-layers", "/layers", "-cache-dir", "/cache"];
    let args = [&args[..], &["-launch-cache", "/launch-cache", "-daemon", &image]].concat();
    world
        .container()
        .user("root")
        .with_daemon()
        .mount("cache", "/cache")
        .mount("launch-cache", "/launch-cache")
        .env("CNB_PLATFORM_API", "0.14")
        .phase("creator", &args)
        .success();
    assert_eq!(docker(&["run", "--rm", "--network=host", &image]), "hello from a layer, as 1001\n");
}

/// An untrusted one: the run image comes from the builder's run.toml, the restorer is told of the daemon.
#[test]
fn five_phases_as_spring_boot_calls_them() {
    let Some(world) = World::new("spring-phases") else { return };
    let image = format!("{}-app", world.name);
    let run = world.run_image();
    let daemon = || {
        world
            .container()
            .user("root")
            .with_daemon()
            .mount("cache", "/cache")
            .mount("launch", "/launch-cache")
            .env("CNB_PLATFORM_API", "0.14")
    };
    let user = || world.container().env("CNB_PLATFORM_API", "0.14");
    daemon()
        .phase("analyzer", &["-run-image", &run, "-layers", "/layers", "-launch-cache", "/launch-cache", "-daemon", &image])
        .success();
    user().phase("detector", &["-app", "/workspace", "-layers", "/layers", "-platform", "/platform"]).success();
    daemon().phase("restorer", &["-daemon", "-cache-dir", "/cache", "-layers", "/layers"]).success();
    user().phase("builder", &["-app", "/workspace", "-layers", "/layers", "-platform", "/platform"]).success();
    let exporter =
        ["-app", "/workspace", "-layers", "/layers", "-cache-dir", "/cache", "-launch-cache", "/launch-cache", "-daemon", &image];
    daemon().phase("exporter", &exporter).success();
    assert_eq!(docker(&["run", "--rm", "--network=host", &image]), "hello from a layer, as 1001\n");
}
