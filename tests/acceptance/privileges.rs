//! Phases that start as root, on every Platform API: they read what only root can read, hand the volumes over to the build
//! user, and are that user before a buildpack runs or a file is written. (`pack.rs` has the five phases with a cache image.)

use crate::docker::{APIS, Outcome, World, docker};
use crate::registry::Registry;

/// A build over volumes that belong to root.
struct Build<'a> {
    world: &'a World,
    registry: &'a Registry,
    api: &'a str,
    run: &'a str,
    image: String,
}

impl Build<'_> {
    /// Phases as root, with the credentials and a cache volume; afterwards everything belongs to the build user.
    #[track_caller]
    fn as_root(&self, phases: &str) -> Outcome {
        let written = "analyzed.toml group.toml plan.toml report.toml config/metadata.toml test_one test_one/deps/bin/hello";
        let owners = format!(
            "echo; cd /layers; stat -c '%u:%g' {written} /cache/committed | sort | uniq -c; \
             find /layers /cache ! -user 1001 -o ! -group 1000"
        );
        let base = r#"printf '[[images]]\nimage = "%s"\n' "$RUN" > /cnb/run.toml"#;
        let volume = format!("cache-{}", self.api);
        let container = self.world.container_with_credentials(self.registry).mount(&volume, "/cache");
        let container = container.env("CNB_PLATFORM_API", self.api).env("CNB_CACHE_DIR", "/cache");
        let container = container.env("PATH", "/cnb/lifecycle:/bin").env("RUN", self.run).env("APP", &self.image);
        let outcome = container.command(&["/bin/sh", "-euc", &format!("{base}\n{phases}\n{owners}")]).success();
        let (_, owners) = outcome.stdout.rsplit_once("\n\n").expect("a list of owners");
        assert_eq!(owners.trim(), "8 1001:1000", "Platform API {}:\n{}", self.api, outcome.stdout);
        outcome
    }
}

#[test]
fn phases_that_start_as_root_end_as_the_build_user() {
    let Some(world) = World::new("privileges") else { return };
    let registry = Registry::with_basic_auth();
    let run = registry.push(&world.run_image(), "run");
    let builds = APIS.map(|api| Build {
        world: &world,
        registry: &registry,
        api,
        run: &run,
        image: registry.image(&format!("app-{api}")),
    });
    let creator = r#"
        rm -rf /layers/*; chown -R 0:0 /layers /cache; chmod 755 /layers /cache
        creator -run-image "$RUN" "$APP""#;
    let phases = r#"
        rm -rf /layers/test_one /layers/*.toml
        analyzer -run-image "$RUN" "$APP"; su cnb -c detector; restorer; su cnb -c builder; exporter "$APP""#;
    for build in &builds {
        build.as_root(creator).says("build as 1001:1000 in /workspace").lacks("Reusing layer");
        build
            .as_root(phases)
            .says("deps were restored")
            .says("Reusing layer 'test/one:deps'")
            .says("Reusing cache layer 'test/one:deps'");
    }

    // The run image gets another top layer; apps move to it.
    let newer = world.image_of("newer", &["USER 1001:1000", "LABEL io.buildpacks.stack.id=test"], |root| {
        std::fs::write(root.join("newer"), "").expect("write");
    });
    registry.push(&newer, "run");
    let top = docker(&["inspect", "--format={{index .RootFS.Layers 0}}", &newer]);
    for build in &builds {
        build
            .as_root(r#"rm /layers/report.toml; rebaser -log-level debug -run-image "$RUN" "$APP"; cat /layers/report.toml"#)
            .says("digest = \"sha256:");
        let image = registry.pull(&format!("app-{}", build.api));
        assert_eq!(docker(&["inspect", "--format={{index .RootFS.Layers 0}}", &image]), top, "Platform API {}", build.api);
        docker(&["rmi", "-f", &image]);
    }
}
