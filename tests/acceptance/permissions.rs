//! Containers that give a phase less than it may expect.

use crate::docker::{Container, World, docker};
use crate::registry::Registry;

/// creator without a daemon, as each cluster policy starts it.
fn creator<'a>(
    world: &'a World,
    run: &str,
    image: &str,
    policy: impl FnOnce(Container<'a>) -> Container<'a>,
) -> crate::docker::Outcome {
    let container = policy(world.container().mount("cache", "/cache").env("CNB_PLATFORM_API", "0.15"));
    container.phase("creator", &["-app", "/workspace", "-cache-dir", "/cache", "-run-image", run, image])
}

#[test]
fn without_root_without_capabilities_on_a_read_only_file_system() {
    let Some(world) = World::new("restricted") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    let image = registry.image("app");
    world.container().user("0").mount("cache", "/cache").command(&["/bin/chown", "1001:1000", "/cache"]).success();
    creator(&world, &run, &image, |c| {
        c.option("--read-only").option("--tmpfs=/tmp").option("--cap-drop=ALL").option("--security-opt=no-new-privileges")
    })
    .success();
    let pulled = registry.pull("app");
    assert_eq!(docker(&["run", "--rm", "--network=host", &pulled]), "hello from a layer, as 1001\n");
}

/// OpenShift: a uid that is in no passwd, group 0, volumes that the group may write.
#[test]
fn a_random_uid_with_group_0() {
    let Some(world) = World::new("random-uid") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    world
        .container()
        .user("0")
        .mount("cache", "/cache")
        .command(&[
            "/bin/sh",
            "-c",
            "touch /layers/keep; chown -R 0:0 /cache /layers /workspace; chmod -R g+rwX /cache /layers /workspace",
        ])
        .success();
    creator(&world, &run, &registry.image("app"), |c| {
        c.user("1000640000:0")
            .option("--cap-drop=ALL")
            .env("CNB_USER_ID", "1000640000")
            .env("CNB_GROUP_ID", "0")
            .env("HOME", "/tmp")
    })
    .success();
}

/// Root without the right to change owners, where everything already belongs to the build user.
#[test]
fn root_without_chown_where_there_is_nothing_to_change() {
    let Some(world) = World::new("no-chown") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    world.container().user("0").mount("cache", "/cache").command(&["/bin/chown", "1001:1000", "/cache"]).success();
    creator(&world, &run, &registry.image("app"), |c| c.user("0").option("--cap-drop=CHOWN")).success();
}

/// A layers directory that nobody may write is an error that names it, not a half-done build.
#[test]
fn a_layers_directory_that_cannot_be_written_is_named() {
    let Some(world) = World::new("read-only-layers") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    world.container().user("0").mount("cache", "/cache").command(&["/bin/chown", "1001:1000", "/cache"]).success();
    world.shell("touch /layers/keep; chown -R 0:0 /layers; chmod 755 /layers");
    let outcome = creator(&world, &run, &registry.image("app"), |c| c).says("/layers");
    assert_ne!(outcome.code, Some(0), "{}", outcome.stdout);
}
