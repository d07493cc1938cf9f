//! kpack: every phase from the builder image as the build user, never root (compatibility.md §7).

use crate::docker::{World, docker};
use crate::registry::Registry;

#[test]
fn every_phase_runs_as_the_build_user() {
    let Some(world) = World::new("kpack") else { return };
    let registry = Registry::anonymous();
    let run = registry.push(&world.run_image(), "run");
    for api in ["0.7", "0.8", "0.9"] {
        world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        world
            .container()
            .user("0")
            .mount("cache", "/cache")
            .mount("report", "/var/report")
            .command(&["/bin/sh", "-c", "chown 1001:1000 /cache /var/report; printf '[source]\\n' > /layers/project-metadata.toml; chown 1001:1000 /layers/*"])
            .success();
        let image = registry.image(&format!("app-{api}"));
        let container = || {
            world
                .container()
                .mount("cache", "/cache")
                .mount("report", "/var/report")
                .env("CNB_PLATFORM_API", api)
                .env("HOME", "/home/cnb")
                .env("SOURCE_DATE_EPOCH", "1700000000")
        };
        let run_image = format!("-run-image={run}");
        let tag = format!("{image}:b1");
        let groups = ["-group=/layers/group.toml", "-plan=/layers/plan.toml"];
        container()
            .phase(
                "analyzer",
                &["-layers=/layers", "-analyzed=/layers/analyzed.toml", &run_image, &format!("-tag={tag}"), &image],
            )
            .success();
        container().phase("detector", &["-app=/workspace", groups[0], groups[1]]).success();
        container()
            .phase("restorer", &[groups[0], "-layers=/layers", "-cache-dir=/cache", "-analyzed=/layers/analyzed.toml"])
            .success();
        container().phase("builder", &["-layers=/layers", "-app=/workspace", groups[0], groups[1]]).success();
        let exporter = [
            "-layers=/layers",
            "-app=/workspace",
            groups[0],
            "-analyzed=/layers/analyzed.toml",
            "-project-metadata=/layers/project-metadata.toml",
        ];
        container()
            .phase(
                "exporter",
                &[&exporter[..], &["-cache-dir=/cache", "-process-type=web", "-report=/var/report/report.toml", &image, &tag]]
                    .concat(),
            )
            .success();
        let report = container().command(&["/bin/cat", "/var/report/report.toml"]).success().stdout;
        assert!(report.contains(&image) && report.contains("digest = \"sha256:"), "{report}");
        let pulled = registry.pull(&format!("app-{api}:b1"));
        let labels = docker(&["inspect", "--format={{json .Config.Labels}} {{.Created}}", &pulled]);
        for label in ["io.buildpacks.stack.id", "io.buildpacks.build.metadata", "io.buildpacks.lifecycle.metadata"] {
            assert!(labels.contains(label), "{labels}");
        }
        assert_eq!(labels.contains("2023-11-14T22:13:20Z"), api == "0.9", "SOURCE_DATE_EPOCH: {labels}");
        assert_eq!(docker(&["run", "--rm", "--network=host", &pulled]), "hello from a layer, as 1001\n");
        docker(&["rmi", "-f", &pulled]);
    }
}
