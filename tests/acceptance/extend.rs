//! Image extensions as `pack` runs them: detect generates, restore fetches bases, the extender runs in the build image and
//! in the run image, export adds its layers.

use crate::docker::{Outcome, World, docker};
use crate::registry::Registry;

/// Makes /ext with an extension that adds a tool to the images of `/ext/kinds`, and an order.
const EXTENSION: &str = r#"
mkdir -p /ext/test_tool/1.0/bin
cat >/ext/test_tool/1.0/extension.toml <<'EOT'
api = "0.10"
[extension]
id = "test/tool"
version = "1.0"
[[targets]]
EOT
cat >/ext/test_tool/1.0/bin/generate <<'EOT'
#!/bin/sh
mkdir "$CNB_OUTPUT_DIR/context"; echo from-context >"$CNB_OUTPUT_DIR/context/file"
for kind in $(cat /cnb/extensions/kinds); do
  cat >"$CNB_OUTPUT_DIR/$kind.Dockerfile" <<'EOD'
ARG base_image
FROM ${base_image}
ARG user_id
ARG group_id
USER root
RUN <<EOS
printf '#!/bin/sh\necho "the tool, as $(id -u)"\n' >/usr/bin/tool
chmod 755 /usr/bin/tool
rm /etc/os-release
echo "executed as $(id -u):$(id -g)"
EOS
COPY --chown=0:0 file /usr/share/tool/
ENV TOOL=installed
USER ${user_id}:${group_id}
LABEL io.buildpacks.rebasable=true
EOD
done
EOT
chmod 755 /ext/test_tool/1.0/bin/generate
echo build run >/ext/kinds
cat >/ext/order.toml <<'EOT'
[[order]]
[[order.group]]
id = "test/one"
version = "1.0"
[[order-extensions]]
[[order-extensions.group]]
id = "test/tool"
version = "1.0"
EOT
"#;

struct Build<'a> {
    world: &'a World,
    registry: &'a Registry,
    api: &'a str,
    run: String,
    builder: String,
    image: String,
}

impl Build<'_> {
    fn phase(&self, user: &str, phase: &str, args: &[&str]) -> Outcome {
        let container = self.world.container_with_credentials(self.registry).user(user);
        let container = container.env("CNB_PLATFORM_API", self.api).env("CNB_EXPERIMENTAL_MODE", "warn");
        let container = container.mount("ext", "/cnb/extensions").mount("kaniko", "/kaniko");
        if phase == "extender" && args.contains(&"run") {
            return container
                .in_image(&self.world.run_image())
                .command(&[&["/cnb/lifecycle/lifecycle", "extend"], args].concat());
        }
        container.phase(phase, args)
    }

    /// All phases; gives what the extenders said, that of the build image first.
    fn run(&self) -> Vec<String> {
        self.world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        self.phase("root", "analyzer", &["-run-image", &self.run, &self.image]).success();
        self.phase("1001:1000", "detector", &["-order", "/cnb/extensions/order.toml"]).success();
        self.phase("root", "restorer", &["-build-image", &self.builder]).success();
        let build = self.phase("root", "extender", &["-uid", "1001", "-gid", "1000"]).success().says("build as 1001:1000");
        let run = self.extends_run_image().then(|| self.phase("root", "extender", &["-kind", "run"]).success());
        self.phase("root", "exporter", &[&self.image]).success();
        [Some(build), run].into_iter().flatten().map(|outcome| outcome.stdout).collect()
    }

    fn extends_run_image(&self) -> bool {
        !["0.10", "0.11"].contains(&self.api)
    }
}

#[test]
fn extensions_of_build_and_run_image() {
    let Some(world) = World::new("extend") else { return };
    let registry = Registry::with_basic_auth();
    let at = |api| Build {
        run: registry.image("run"),
        builder: registry.image("builder"),
        image: registry.image("app"),
        world: &world,
        registry: &registry,
        api,
    };
    registry.push(&world.run_image(), "run");
    registry.push(&world.builder_image(), "builder");
    world.container().user("0").mount("ext", "/ext").command(&["/bin/sh", "-ec", EXTENSION]).success();

    let build = at("0.15");
    let first = build.run();
    for output in &first {
        assert!(output.contains("executed as 0:0") && output.contains("No cached layer found for cmd RUN <<EOS"), "{output}");
    }
    let image = build.registry.pull("app");
    let in_app = |script: &str| docker(&["run", "--rm", "--network=host", "--entrypoint=/bin/sh", &image, "-c", script]);
    assert_eq!(
        in_app("tool; cat /usr/share/tool/file; echo $TOOL; ls /etc/os-release 2>&1 | grep -c 'No such'"),
        "the tool, as 1001\nfrom-context\ninstalled\n1\n"
    );
    let id = docker(&["inspect", "--format={{.Id}}", &image]);
    docker(&["rmi", "-f", &image]);

    // Nothing is executed, and the app image is the same.
    for output in build.run() {
        assert!(!output.contains("executed as") && output.contains("Using caching version of cmd: RUN <<EOS"), "{output}");
    }
    let image = build.registry.pull("app");
    assert_eq!(docker(&["inspect", "--format={{.Id}}", &image]), id);
    docker(&["rmi", "-f", &image]);
    assert_eq!(world.container().mount("kaniko", "/kaniko").command(&["/bin/ls", "/kaniko"]).success().stdout, "cache\n");
    // The build after an extension protects layers as the builder does.
    let module = |table: &str, id: &str| format!("[[{table}]]\nid = \"test/{id}\"\nversion = \"1.0\"\napi = \"0.10\"\n");
    let group = module("group", "first") + &module("group", "second") + &module("group-extensions", "tool");
    let buildpacks = crate::protection::buildpacks();
    for mode in ["error", "enforce"] {
        world.shell(&format!("printf %s '{group}' > /layers/group.toml; rm -rf /layers/test_*; : > /layers/plan.toml"));
        let container = world.container().user("root").env("CNB_PLATFORM_API", "0.15").env("CNB_LAYER_PROTECTION", mode);
        let container = container.mount("ext", "/cnb/extensions").mount("kaniko", "/kaniko");
        let outcome = container
            .option(format!("--volume={}:/buildpacks:ro", buildpacks.path().display()))
            .phase("extender", &["-uid", "1001", "-gid", "1000", "-buildpacks", "/buildpacks"]);
        match mode {
            "error" => outcome.code(53).says("layer 'test/first:x' changed while buildpack 'test/second' ran"),
            _ => outcome.success().says("refused"),
        };
    }

    // The earlier Platform APIs. Below 0.13 the app is the build context, below 0.12 only the build image is extended.
    world.shell("echo from-app > /workspace/file");
    for api in ["0.14", "0.13", "0.12", "0.11", "0.10"] {
        let build = at(api);
        if !build.extends_run_image() {
            world.container().user("0").mount("ext", "/ext").command(&["/bin/sh", "-c", "echo build >/ext/kinds"]).success();
        }
        build.run();
        let foreign = world.shell("find /layers -mindepth 1 ! -user 1001 | grep -v ^/layers/extended || true");
        assert_eq!(foreign, "", "Platform API {api}: not owned by the build user");
        let image = build.registry.pull("app");
        let tool = "which tool >/dev/null && tool || hello";
        let said = docker(&["run", "--rm", "--network=host", "--entrypoint=launcher", &image, "--", "/bin/sh", "-c", tool]);
        assert_eq!(said.starts_with("the tool"), build.extends_run_image(), "Platform API {api}: {said}");
        docker(&["rmi", "-f", &image]);
    }
}
