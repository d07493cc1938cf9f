//! What the specifications say that the lifecycle MUST do in the build phase, clause by clause. Each test quotes its clause;
//! "B" is buildpack.md 0.12, "P" platform.md 0.15.

use crate::support::{Outcome, Sandbox, skipped_without_root};

/// A sandbox with buildpacks by id and bin/build, a group of them and an empty plan.
fn sandbox(buildpacks: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut group = String::new();
    for (id, script) in buildpacks {
        sandbox.buildpack(id, "exit 0", script);
        group.push_str(&format!("[[group]]\nid = \"{id}\"\nversion = \"1.0\"\napi = \"0.12\"\n"));
    }
    sandbox.write("layers/group.toml", group);
    sandbox.write("layers/plan.toml", "");
    sandbox.write(
        "layers/analyzed.toml",
        "[run-image]\nreference = \"r\"\n[run-image.target]\nos = \"linux\"\narch = \"arm64\"\narch-variant = \"v8\"\n\
         [run-image.target.distro]\nname = \"some\"\nversion = \"1\"\n",
    );
    sandbox.own("layers");
    sandbox.own("app");
    sandbox
}

fn build(buildpacks: &[(&str, &str)]) -> (Sandbox, Outcome) {
    let sandbox = sandbox(buildpacks);
    let outcome = sandbox.phase("builder").run();
    (sandbox, outcome)
}

/// Layers with files, in a shell function.
const LAYER: &str = r#"
layer() { mkdir -p "$CNB_LAYERS_DIR/$1/bin" "$CNB_LAYERS_DIR/$1/lib" "$CNB_LAYERS_DIR/$1/env" "$CNB_LAYERS_DIR/$1/env.build" "$CNB_LAYERS_DIR/$1/env.launch"
  printf '[types]\n%s\n' "$2" > "$CNB_LAYERS_DIR/$1.toml"; }
file() { printf %s "$2" > "$CNB_LAYERS_DIR/$1"; }
"#;

/// B "Phase #3": "For each buildpack in the group in order, the lifecycle MUST execute `/bin/build`. If the exit status is
/// non-zero, then the lifecycle MUST fail the build." P: "SHALL execute all buildpacks in the order defined in `<group>`".
#[test]
fn buildpacks_run_in_order_until_one_fails() {
    if skipped_without_root() {
        return;
    }
    let (sandbox, outcome) = build(&[("z/first", "echo one"), ("a/second", "echo two; exit 9"), ("m/third", "echo three")]);
    let outcome = outcome.code(51).says("one\ntwo\n").says("ERROR: failed to build: exit status 9").lacks("three");
    assert_eq!(outcome.stderr, "");
    assert!(!sandbox.exists("layers/config/metadata.toml"), "a failed build leaves no metadata");
}

/// B "Buildpack Interface": the working directory is the app, the arguments are layers, platform and plan; "MUST provide path
/// arguments to `/bin/build`"; stdin is empty.
#[test]
fn bin_build_gets_its_paths_and_works_in_the_app() {
    if skipped_without_root() {
        return;
    }
    let script = r#"test "$1" = "$CNB_LAYERS_DIR" && test "$2" = "$CNB_PLATFORM_DIR" && test "$3" = "$CNB_BP_PLAN_PATH" && test -z "$(cat)" &&
      echo "$# $(basename "$1") $(basename "$PWD") $(basename "$CNB_BUILDPACK_DIR")""#;
    build(&[("deep/er/id", script)]).1.success().says("3 deep_er_id app 1.0\n");
}

/// B "Targets": "The following environment variables MUST be set by the lifecycle during the detect and build phases to describe
/// the target runtime image". P: "SHALL provide `run-image.target` data in `<analyzed>` to buildpacks".
#[test]
fn the_target_is_in_the_environment() {
    if skipped_without_root() {
        return;
    }
    let (_, outcome) = build(&[("a", "env | grep ^CNB_TARGET | sort")]);
    outcome.success().says(
        "CNB_TARGET_ARCH=arm64\nCNB_TARGET_ARCH_VARIANT=v8\nCNB_TARGET_DISTRO_NAME=some\nCNB_TARGET_DISTRO_VERSION=1\n\
         CNB_TARGET_OS=linux\n",
    );
}

/// B "Layer Types": "The lifecycle MUST treat a layer with unset `types` as a `launch = false`, `build = false`, `cache = false`
/// layer" and "MUST rename `<layers>/<layer>/` to `<layers>/<layer>.ignore/`" for these.
#[test]
fn layers_of_no_type_are_put_aside() {
    if skipped_without_root() {
        return;
    }
    let script =
        format!("{LAYER}\nlayer unset ''; layer false 'launch = false'; layer cached 'cache = true'; layer built 'build = true'");
    let (sandbox, outcome) = build(&[("a", &script), ("b", "echo path=$PATH")]);
    for name in ["unset", "false"] {
        assert!(sandbox.exists(&format!("layers/a/{name}.ignore")) && !sandbox.exists(&format!("layers/a/{name}")), "{name}");
    }
    assert!(sandbox.exists("layers/a/cached"));
    outcome.success().says("path=[ROOT]/layers/a/built/bin:").lacks("unset").lacks("cached");
}

/// B "Layer Paths": "each variable designated for build MUST contain absolute paths of all previous buildpacks' `<layers>/<layer>/`
/// directories that are designated for build", "MUST order all `<layer>` paths to reflect the reversed order of the buildpack
/// group", "MUST separate each path with the OS path list separator".
#[test]
fn paths_of_layers_are_in_the_reversed_order_of_the_group() {
    if skipped_without_root() {
        return;
    }
    let one = format!(
        "{LAYER}\nlayer x 'build = true'; layer launched 'launch = true'; mkdir $CNB_LAYERS_DIR/x/include $CNB_LAYERS_DIR/x/pkgconfig"
    );
    let two = format!("{LAYER}\nlayer y 'build = true'");
    let show = "echo PATH=$PATH; echo LD_LIBRARY_PATH=$LD_LIBRARY_PATH LIBRARY_PATH=$LIBRARY_PATH CPATH=$CPATH PKG_CONFIG_PATH=$PKG_CONFIG_PATH";
    let (_, outcome) = build(&[("a/one", &one), ("b/two", &two), ("c/three", show)]);
    let lib = "[ROOT]/layers/b_two/y/lib:[ROOT]/layers/a_one/x/lib";
    let one = "[ROOT]/layers/a_one/x";
    outcome
        .success()
        .says(&format!("PATH=[ROOT]/layers/b_two/y/bin:{one}/bin:/usr/local/bin:/usr/bin:/bin\n"))
        .says(&format!("LD_LIBRARY_PATH={lib} LIBRARY_PATH={lib} CPATH={one}/include PKG_CONFIG_PATH={one}/pkgconfig\n"));
}

/// B "Environment Variable Modification Rules": append, default, delimiter, override and prepend; "file contents MUST NOT be
/// evaluated by a shell or otherwise modified"; "Earlier buildpacks' environment variable file contents MUST precede later
/// buildpacks'" (append), the other way round (prepend), "Earlier … MUST override later" (default), "Later … MUST override
/// earlier" (override); `env` before `env.build`; layers by name.
#[test]
fn environment_files_follow_the_modification_rules() {
    if skipped_without_root() {
        return;
    }
    let set = |who: &str| {
        format!(
            "{LAYER}\nfor l in l1 l2; do layer $l 'build = true'; for d in env env.build; do w={who}.$l.$d\n\
             file $l/$d/APPEND.append $w; file $l/$d/APPEND.delim :; file $l/$d/PREPEND.prepend $w; file $l/$d/PREPEND.delim ,\n\
             file $l/$d/DEFAULT.default $w; file $l/$d/OVERRIDE.override $w; file $l/$d/PLAIN $w; done\n\
             file $l/env/RAW.override '$HOME `id` \"x\"'; file $l/env.launch/LAUNCH.override no; done"
        )
    };
    let show = "for v in APPEND PREPEND DEFAULT OVERRIDE PLAIN RAW LAUNCH; do eval \"echo $v=\\$$v\"; done";
    let (_, outcome) = build(&[("a", &set("a")), ("b", &set("b")), ("c", show)]);
    let ascending =
        ["a.l1.env", "a.l1.env.build", "a.l2.env", "a.l2.env.build", "b.l1.env", "b.l1.env.build", "b.l2.env", "b.l2.env.build"];
    let descending: Vec<_> = ascending.iter().rev().copied().collect();
    outcome
        .success()
        .says(&format!("APPEND={}\n", ascending.join(":")))
        .says(&format!("PREPEND={}\n", descending.join(",")))
        .says("DEFAULT=a.l1.env\n")
        .says("OVERRIDE=b.l2.env.build\nPLAIN=b.l2.env.build\n")
        .says("RAW=$HOME `id` \"x\"\nLAUNCH=\n");
}

/// B "User Variables": "the lifecycle MUST set user-provided environment variables in the environment of `/bin/detect` or
/// `/bin/build`", and with `clear-env` "MUST NOT". "Operator-provided" variables hold for both.
#[test]
fn user_variables_come_on_top_unless_the_buildpack_wants_a_clear_environment() {
    if skipped_without_root() {
        return;
    }
    let show = "echo user=$USER_VAR operator=$OPERATOR_VAR file=$(cat $CNB_PLATFORM_DIR/env/USER_VAR) path=$PATH";
    let sandbox = sandbox(&[("a", show), ("b", show)]);
    sandbox.buildpack_toml("b", "0.12", "clear-env = true\n", "exit 0", show);
    sandbox.write("platform/env/USER_VAR", "from the user");
    sandbox.write("platform/env/PATH", "/user/bin");
    sandbox.write("cnb/build-config/env/OPERATOR_VAR", "from the operator");
    sandbox
        .phase("builder")
        .run()
        .success()
        .says("user=from the user operator=from the operator file=from the user path=/user/bin:/usr/local/bin:")
        .says("user= operator=from the operator file=from the user path=/usr/local/bin:");
}

/// B "Security Considerations": "Buildpacks MUST NOT have access to credentials for reading and writing to OCI image stores."
#[test]
fn credentials_do_not_reach_buildpacks() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox(&[("a", "env | grep -i -e auth -e secret; echo done; exit 0")]);
    let auth = r#"{"registry.example":"Basic c2VjcmV0"}"#;
    let run = sandbox.phase("builder").env("CNB_REGISTRY_AUTH", auth).env("SECRET_OF_THE_PLATFORM", "x").run();
    assert_eq!(run.success().stdout, "done\n");
}

/// B "Unmet Buildpack Plan Entries": entries are taken for met unless `unmet` in build.toml names them; met ones MUST NOT be in
/// the plan of later buildpacks, unmet ones MUST be.
#[test]
fn unmet_entries_go_on_to_the_next_provider() {
    if skipped_without_root() {
        return;
    }
    let first = "printf '[[unmet]]\\nname = \"left\"\\n' > $CNB_LAYERS_DIR/build.toml; grep -c name $CNB_BP_PLAN_PATH";
    let sandbox = sandbox(&[("a", first), ("b", "grep name $CNB_BP_PLAN_PATH"), ("c", "echo size $(wc -c < $CNB_BP_PLAN_PATH)")]);
    let entry = |name| {
        format!(
            "[[entries]]\n[[entries.providers]]\nid = \"a\"\nversion = \"1.0\"\n[[entries.providers]]\nid = \"b\"\nversion = \"1.0\"\n\
             [[entries.requires]]\nname = \"{name}\"\n"
        )
    };
    sandbox.write("layers/plan.toml", ["left", "met"].map(entry).concat());
    let outcome = sandbox.phase("builder").run().success();
    assert_eq!(outcome.stdout, "2\n  name = \"left\"\nsize 0\n");
    sandbox.buildpack("a", "exit 0", "printf '[[unmet]]\\nname = \"other\"\\n' > $CNB_LAYERS_DIR/build.toml");
    sandbox.phase("builder").run().code(52).says("unmet.name 'other' must match a requested dependency");
}

/// B "launch.toml": "The lifecycle MUST select, from all buildpack-provided process types, the last process type with
/// `default = true`". P "builder": "SHALL aggregate all `processes` and `slices`", "SHALL record the buildpack-provided default
/// process type", "SHALL add all invoked buildpacks to `<layers>/config/metadata.toml`".
#[test]
fn metadata_has_buildpacks_processes_slices_and_the_last_default() {
    if skipped_without_root() {
        return;
    }
    let launch = |kind: &str, default: bool| {
        format!(
            "cat > $CNB_LAYERS_DIR/launch.toml <<T\n[[processes]]\ntype = \"{kind}\"\ncommand = [\"run\"]\ndefault = {default}\n\
             [[processes]]\ntype = \"shared\"\ncommand = [\"of-{kind}\"]\n[[slices]]\npaths = [\"{kind}/**\"]\nT"
        )
    };
    let (sandbox, outcome) = build(&[("a", &launch("one", true)), ("b", &launch("two", true)), ("c", &launch("three", false))]);
    outcome.success();
    let metadata: toml::Table = sandbox.read("layers/config/metadata.toml").parse().expect("TOML");
    let list = |table: &str, key: &str| -> Vec<String> {
        let text = |value: &toml::Value| match value.as_array() {
            Some(items) => items.iter().filter_map(|i| i.as_str()).collect::<Vec<_>>().join(" "),
            None => value.as_str().expect("a string").to_owned(),
        };
        metadata[table].as_array().expect("an array").iter().map(|t| text(&t[key])).collect()
    };
    assert_eq!(list("buildpacks", "id"), ["a", "b", "c"]);
    assert_eq!(list("processes", "type"), ["one", "shared", "three", "two"]);
    assert_eq!(list("processes", "command")[1], "of-three", "the last buildpack that defines a type has its way");
    assert_eq!(list("slices", "paths"), ["one/**", "two/**", "three/**"]);
    assert_eq!(metadata["buildpack-default-process-type"].as_str(), Some("two"));
}

/// B "Software-Bill-of-Materials" and P "sbom": files of launch layers and `launch.sbom.<ext>` go to `<layers>/sbom/launch`, all
/// others to `<layers>/sbom/build`; media types MUST be declared in `sbom-formats`.
#[test]
fn sbom_files_are_collected_by_what_they_are_for() {
    if skipped_without_root() {
        return;
    }
    let script = format!(
        "{LAYER}\nlayer run 'launch = true'; layer make 'build = true'; layer keep 'cache = true'\n\
         for n in run make keep launch build; do echo \"{{}}\" > $CNB_LAYERS_DIR/$n.sbom.cdx.json; done"
    );
    let sandbox = sandbox(&[("a/b", "")]);
    sandbox.buildpack_toml("a/b", "0.12", "sbom-formats = [\"application/vnd.cyclonedx+json\"]\n", "exit 0", &script);
    sandbox.phase("builder").run().success();
    for there in ["launch/a_b/run", "launch/a_b", "build/a_b/make", "build/a_b/keep", "build/a_b", "cache/a_b/keep"] {
        assert!(sandbox.exists(&format!("layers/sbom/{there}/sbom.cdx.json")), "{there}");
    }
    for not_there in ["build/a_b/run", "launch/a_b/make", "cache/a_b/run"] {
        assert!(!sandbox.exists(&format!("layers/sbom/{not_there}/sbom.cdx.json")), "{not_there}");
    }
    sandbox.buildpack("a/b", "exit 0", &script);
    sandbox.phase("builder").run().code(52).says("undeclared SBOM media type: 'application/vnd.cyclonedx+json'");
}

/// B "Buildpack API Compatibility": the lifecycle "MUST return an error to the platform if it does not support `<buildpack API
/// Version>`".
#[test]
fn an_unknown_buildpack_api_is_refused_before_anything_runs() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox(&[("a", "echo ran"), ("b", "echo ran")]);
    let group = sandbox.read("layers/group.toml").replacen(
        "id = \"b\"\nversion = \"1.0\"\napi = \"0.12\"",
        "id = \"b\"\nversion = \"1.0\"\napi = \"0.99\"",
        1,
    );
    sandbox.write("layers/group.toml", group);
    let outcome = sandbox.phase("builder").run().code(12).lacks("ran\n");
    outcome.says("buildpack API version '0.99' is incompatible with the lifecycle");
}
