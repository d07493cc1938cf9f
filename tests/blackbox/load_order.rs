//! The order of a buildpack's layers, given by `load-order` (RFC pull request 322).

use crate::support::{Outcome, Sandbox, skipped_without_root};

/// Layers one, two and three, whose order is three, one, two; each has everything that order matters for.
const ORDERED: &str = r#"
cd "$CNB_LAYERS_DIR"
for layer in one two three; do
  mkdir -p $layer/bin $layer/lib $layer/env $layer/exec.d $layer/profile.d
  printf " $layer" > $layer/env/LIST.append
  printf "$layer" > $layer/env/LAST.override
  printf "$layer" > $layer/env/FIRST.default
  printf '#!/bin/sh\necho "EXEC = \\"$EXEC %s\\"" >&3\n' $layer > $layer/exec.d/x
  chmod 755 $layer/exec.d/x
  echo "export PROFILE=\$PROFILE-$layer" > $layer/profile.d/x.sh
  printf '[types]\nlaunch = true\nbuild = true\n' > $layer.toml
done
echo "$ONE" >> one.toml
echo "$TWO" >> two.toml
echo "$THREE" >> three.toml
cat > launch.toml <<T
[[processes]]
type = "show"
command = ["sh", "-c", "echo path=\$PATH; echo list=\$LIST last=\$LAST first=\$FIRST; echo exec=\$EXEC"]
default = true
T
"#;

const SHOW: &str = r#"echo "build: $PATH"; echo "build: list=$LIST last=$LAST first=$FIRST""#;

fn sandbox(one: &str, two: &str, three: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.buildpack("a/one", "exit 0", ORDERED);
    sandbox.buildpack("b/two", "exit 0", SHOW);
    for (name, types) in [("ONE", one), ("TWO", two), ("THREE", three)] {
        sandbox.write(&format!("platform/env/{name}"), types);
    }
    let element = |id| format!("[[group]]\nid = \"{id}\"\nversion = \"1.0\"\napi = \"0.12\"\n");
    sandbox.write("layers/group.toml", ["a/one", "b/two"].map(element).concat());
    sandbox.write("layers/plan.toml", "");
    sandbox.order(&[&["a/one", "b/two"]]);
    sandbox.own("layers");
    sandbox
}

fn build(sandbox: &Sandbox) -> Outcome {
    sandbox.phase("builder").run()
}

fn launch(sandbox: &Sandbox) -> Outcome {
    sandbox.phase("launcher").argv0("show").run().success()
}

fn path_of(names: [&str; 3]) -> String {
    names.map(|name| format!("[ROOT]/layers/a_one/{name}/bin")).join(":")
}

#[test]
fn the_order_counts_in_builds_and_launches_alike() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox("load-order = 1", "load_order = 2.0", "");
    build(&sandbox)
        .success()
        .says(&format!("build: {}:", path_of(["two", "one", "three"])))
        .says("build: list= three one two last=two first=three");
    let metadata = sandbox.read("layers/config/metadata.toml");
    assert!(metadata.contains("ordered-layers = [\"three\", \"one\", \"two\"]"), "{metadata}");
    launch(&sandbox)
        .says(&format!("path={}:", path_of(["two", "one", "three"])))
        .says("list= three one two last=two first=three")
        .says("exec= three one two\n");
    let shell = sandbox.phase("launcher").args(["echo profile=$PROFILE"]).run().success();
    shell.says("profile=-three-one-two");
}

#[test]
fn without_an_order_names_decide_and_metadata_is_as_ever() {
    if skipped_without_root() {
        return;
    }
    let plain = sandbox("", "", "");
    build(&plain).success().says(&format!("build: {}:", path_of(["two", "three", "one"])));
    launch(&plain).says("list= one three two last=two first=one").says("exec= one three two\n");
    let metadata = plain.read("layers/config/metadata.toml");
    assert!(!metadata.contains("ordered"), "{metadata}");

    // Zero is the default, and without the experimental mode the key is unknown.
    let zero = sandbox("load-order = 0", "", "");
    build(&zero).success();
    assert_eq!(zero.read("layers/config/metadata.toml"), metadata);
    let ignored = sandbox("load-order = 7", "load-order = \"x\"", "");
    ignored
        .phase("builder")
        .unset("CNB_EXPERIMENTAL_MODE")
        .run()
        .success()
        .says("Warning: [ROOT]/layers/a_one/one.toml: [types] load-order is ignored")
        .says(&format!("build: {}:", path_of(["two", "three", "one"])));
    assert_eq!(ignored.read("layers/config/metadata.toml"), metadata);
}

/// As for a malformed `<layer>.toml`: exit code 52, naming file, key and value.
#[test]
fn a_value_that_is_no_order_ends_the_build() {
    if skipped_without_root() {
        return;
    }
    for (types, message) in [
        ("load-order = -1", "load-order must be an integer from 0 to 9007199254740991, it is -1"),
        ("load-order = 9007199254740992", "it is 9007199254740992"),
        ("load-order = 1.5", "it is 1.5"),
        ("load_order = \"1\"", "load_order must be an integer"),
        ("load-order = 1\nload_order = 1", "both load-order and load_order"),
    ] {
        build(&sandbox(types, "", "")).code(52).says("[ROOT]/layers/a_one/one.toml: [types]").says(message);
    }
}

/// An order changes the config layer only; numbers with the same order change nothing; nothing of it is restored.
#[test]
fn another_order_is_another_config_layer_and_nothing_else() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox("load-order = 1", "load-order = 2", "load-order = 3");
    sandbox.run_image();
    let cache = sandbox.path("cache");
    let build = || sandbox.creator().args(["-cache-dir"]).args([&cache]).args(["example.com/app"]).run().success();
    let manifest = || sandbox.read("layout/example.com/app/latest/index.json");
    build();
    let first = manifest();
    for (name, types) in [("ONE", "load-order = 10"), ("TWO", "load-order = 20"), ("THREE", "load-order = 30")] {
        sandbox.write(&format!("platform/env/{name}"), types);
    }
    build();
    assert_eq!(first, manifest(), "the same order by other numbers");
    sandbox.write("platform/env/ONE", "load-order = 99");
    let other = build();
    assert_ne!(first, manifest());
    for layer in ["one", "two", "three"] {
        assert!(other.stdout.contains(&format!("Reusing layer 'a/one:{layer}'")), "{}", other.stdout);
    }
    other.says("Adding layer 'buildpacksio/lifecycle:config'").lacks("Adding layer 'a/one");
    for name in ["ONE", "TWO", "THREE"] {
        sandbox.write(&format!("platform/env/{name}"), "");
    }
    build();
    assert!(!sandbox.read("layers/config/metadata.toml").contains("ordered"), "the order of the build before is gone");
}

/// Names such as `ruby` and `ruby-deps`: sorted by name, not by the name of the file `ruby.toml`, in builds as in launches.
#[test]
fn names_sort_the_same_in_builds_and_launches() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox("", "", "");
    let script = ORDERED.replace("one two three", "ruby ruby-deps gems gems+x").replace("echo \"$", "#");
    sandbox.buildpack("a/one", "exit 0", &script);
    build(&sandbox).success().says("build: list= gems gems+x ruby ruby-deps last=ruby-deps");
    launch(&sandbox).says("list= gems gems+x ruby ruby-deps last=ruby-deps");
}
