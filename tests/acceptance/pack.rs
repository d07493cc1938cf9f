//! `pack build`: five containers and creator, to a registry and to the daemon (compatibility.md §5.3).

use crate::docker::{APIS, World, docker};
use crate::registry::Registry;

pub fn minor(api: &str) -> u32 {
    api[2..].parse().expect("a version")
}

/// The exact five command lines with `--publish --cache-image`, on every Platform API: credentials that only root can
/// read, files that belong to the build user afterwards, an image that runs.
#[test]
fn five_phases_publish_on_every_platform_api() {
    let Some(world) = World::new("pack-publish") else { return };
    let registry = Registry::with_basic_auth();
    let run = registry.push(&world.run_image(), "run");
    for api in APIS {
        let image = registry.image(&format!("app-{api}"));
        let cache = registry.image(&format!("cache-{api}"));
        let tag = format!("{image}:second");
        let insecure: &[&str] = if minor(api) >= 13 { &["-insecure-registry", &registry.host] } else { &[] };
        let base_file: &[&str] = if minor(api) >= 12 { &["-run", "/cnb/run.toml"] } else { &["-stack", "/cnb/stack.toml"] };
        let as_root = || {
            world.container_with_credentials(&registry).option("--security-opt=no-new-privileges").env("CNB_PLATFORM_API", api)
        };
        let as_user = || world.container().option("--security-opt=no-new-privileges").env("CNB_PLATFORM_API", api);
        for build in ["first", "second"] {
            world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
            let args = |more: &[&str]| -> Vec<String> { more.iter().map(|&s| s.to_owned()).collect() };
            let run_phase = |phase: &str, user: bool, parts: &[&[&str]]| {
                let args: Vec<String> = parts.iter().flat_map(|p| args(p)).collect();
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let container = if user { as_user() } else { as_root() };
                container.phase(phase, &args)
            };
            let common: &[&str] = &["-log-level", "debug"];
            run_phase(
                "analyzer",
                false,
                &[
                    &["-gid", "1000"],
                    insecure,
                    common,
                    base_file,
                    &["-run-image", &run, "-cache-image", &cache, "-tag", &tag, &image],
                ],
            )
            .success();
            run_phase("detector", true, &[&["-app", "/workspace"], common]).success();
            run_phase("restorer", false, &[&["-cache-image", &cache, "-gid", "1000"], insecure, common]).success();
            let built =
                run_phase("builder", true, &[&["-app", "/workspace"], common]).success().says("build as 1001:1000 in /workspace");
            assert_eq!(
                built.stdout.contains("deps were restored"),
                build == "second",
                "Platform API {api}, {build} build:\n{}",
                built.stdout
            );
            let exported = run_phase(
                "exporter",
                false,
                &[
                    common,
                    &["-app", "/workspace"],
                    base_file,
                    &["-gid", "1000"],
                    insecure,
                    &["-cache-image", &cache, &image, &tag],
                ],
            )
            .success();
            assert_eq!(
                exported.stdout.contains("Reusing layer 'test/one:deps'"),
                build == "second",
                "Platform API {api}, {build} build"
            );
        }
        let foreign = world.shell("find /layers -mindepth 1 ! -user 1001 | sort");
        assert_eq!(foreign, "", "Platform API {api}: not owned by the build user");
        let pulled = registry.pull(&format!("app-{api}:second"));
        assert_eq!(docker(&["run", "--rm", "--network=host", &pulled]), "hello from a layer, as 1001\n", "Platform API {api}");
        docker(&["rmi", "-f", &pulled]);
    }
}

/// A trusted builder: creator as root with the daemon's socket, twice.
#[test]
fn creator_exports_to_the_daemon_and_reuses_layers() {
    let Some(world) = World::new("pack-creator") else { return };
    let image = format!("{}-app", world.name);
    let creator = || {
        world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        let run = world.run_image();
        let args =
            ["-daemon", "-launch-cache", "/launch-cache", "-log-level", "debug", "-app", "/workspace", "-cache-dir", "/cache"];
        let tag = format!("{image}:second");
        let args = [&args[..], &["-run-image", &run, "-tag", &tag, "-gid", "1000", "-uid", "1001", &image]].concat();
        world
            .container()
            .user("root")
            .with_daemon()
            .mount("cache", "/cache")
            .mount("launch-cache", "/launch-cache")
            .env("CNB_PLATFORM_API", "0.15")
            .env("CNB_EXEC_ENV", "production")
            .phase("creator", &args)
            .success()
    };
    creator().lacks("Reusing layer");
    let first = docker(&["inspect", "--format={{.Id}}", &image]);
    creator().says("deps were restored").says("Reusing layer 'test/one:deps'").says("Reusing cache layer 'test/one:deps'");
    assert_eq!(first, docker(&["inspect", "--format={{.Id}}", &format!("{image}:second")]), "the same image again");
    assert_eq!(docker(&["run", "--rm", "--network=host", &image]), "hello from a layer, as 1001\n");
}
