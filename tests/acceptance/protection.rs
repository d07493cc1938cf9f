//! Layer protection in containers as platforms start them: the kernel's part of it needs no privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::docker::{Container, Outcome, USER, World};

/// Writes into the layer of test/first, and where it may.
const CULPRIT: &str = r#"
echo more >> "$CNB_LAYERS_DIR/../test_first/x/f" || echo "refused"
echo scratch > /tmp/t && rm /tmp/t && echo app > /workspace/f && echo home > "$HOME/f" && mkdir "$CNB_LAYERS_DIR/own" && echo "the rest works"
exit 0
"#;

const FIRST: &str = r#"
mkdir -p "$CNB_LAYERS_DIR/x"; echo content > "$CNB_LAYERS_DIR/x/f"
printf '[types]\nlaunch = true\nbuild = true\n' > "$CNB_LAYERS_DIR/x.toml"
"#;

/// test/first, and test/second that writes into its layer.
pub fn buildpacks() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for (id, build) in [("first", FIRST), ("second", CULPRIT)] {
        let root = dir.path().join(format!("test_{id}/1.0"));
        fs::create_dir_all(root.join("bin")).expect("create directory");
        let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"test/{id}\"\nversion = \"1.0\"\n[[targets]]\n");
        fs::write(root.join("buildpack.toml"), toml).expect("write");
        for (program, script) in [("detect", "exit 0"), ("build", build)] {
            let path = root.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
    }
    dir
}

fn build(world: &World, buildpacks: &Path, mode: &str, policy: Option<&str>) -> Outcome {
    let group = ["first", "second"].map(|id| format!("[[group]]\nid = \"test/{id}\"\nversion = \"1.0\"\napi = \"0.10\"\n"));
    let script = "rm -rf /layers/*; printf %s \"$GROUP\" > /layers/group.toml; : > /layers/plan.toml; : > /layers/analyzed.toml; \
                  mkdir -p /home/cnb; chown -R \"$OWNER\" /layers /workspace /home/cnb";
    let container = world.container().user("0").env("GROUP", &group.concat()).env("OWNER", USER);
    container.command(&["/bin/sh", "-ec", script]).success();
    let volume = format!("--volume={}:/buildpacks:ro", buildpacks.display());
    let container = world.container().option(volume).env("CNB_PLATFORM_API", "0.15").env("HOME", "/tmp");
    policy
        .into_iter()
        .fold(container, Container::option)
        .phase("builder", &["-buildpacks", "/buildpacks", "-layer-protection", mode])
}

/// Docker's default profile allows Landlock since version 23; without a profile it is up to the kernel.
fn policies() -> [(&'static str, Option<&'static str>); 3] {
    [
        ("default", None),
        ("no profile", Some("--security-opt=seccomp=unconfined")),
        ("no new privileges", Some("--security-opt=no-new-privileges")),
    ]
}

#[test]
fn enforcement_needs_no_privileges() {
    let Some(world) = World::new("protection") else { return };
    let buildpacks = buildpacks();
    let mut enforced = 0;
    for (name, option) in policies() {
        let strict = build(&world, buildpacks.path(), "enforce-strict", option);
        let outcome = build(&world, buildpacks.path(), "enforce", option);
        if strict.code == Some(53) {
            strict.says("layer protection cannot be enforced").lacks("the rest works");
            // Then changes are detected and end the build.
            outcome
                .code(53)
                .says("Layer protection cannot be enforced")
                .says("layer 'test/first:x' changed while buildpack 'test/second' ran: 1 path (modified x/f)");
            continue;
        }
        enforced += 1;
        strict.success().says("refused").says("the rest works");
        outcome.success().says("refused").says("the rest works").lacks("changed while");
        eprintln!("enforced with {name}");
    }
    if enforced == 0 {
        eprintln!("SKIP: no container of this daemon may use Landlock");
    }
}

#[test]
fn without_landlock_enforcement_becomes_detection() {
    let Some(world) = World::new("no-landlock") else { return };
    let buildpacks = buildpacks();
    // 38 is ENOSYS, as an older kernel or gVisor answers.
    let profile = buildpacks.path().join("seccomp.json");
    let rule = r#"{"names":["landlock_create_ruleset"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
    fs::write(&profile, format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#)).expect("write profile");
    let option = format!("--security-opt=seccomp={}", profile.display());
    build(&world, buildpacks.path(), "enforce-strict", Some(&option))
        .code(53)
        .says("layer protection cannot be enforced: the kernel or the container does not offer Landlock");
    build(&world, buildpacks.path(), "enforce", Some(&option))
        .code(53)
        .says("Layer protection cannot be enforced")
        .says("layer 'test/first:x' changed while buildpack 'test/second' ran: 1 path (modified x/f)");
    build(&world, buildpacks.path(), "warn", Some(&option)).success().says("The image gets what is there now.");
}
