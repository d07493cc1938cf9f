//! The binaries for arm64 on this machine, by qemu's user mode: they run, and what they make is the same to the byte.
//!
//! `LIFECYCLE_ARM64_BIN_DIR` names the directory of the static `lifecycle` and `launcher`; without it the tests say so and pass.
//! `.ci/test arm64` sets it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Run, Sandbox, skipped_without_root, spawn};

fn arm64() -> Option<PathBuf> {
    let dir = std::env::var_os("LIFECYCLE_ARM64_BIN_DIR").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("SKIP: LIFECYCLE_ARM64_BIN_DIR does not name the directory of static binaries for arm64");
    }
    dir
}

/// What `run` is, by the binary for arm64 under the name `argv0`.
fn emulated(run: &Run<'_>, binary: PathBuf, argv0: &str) -> Output {
    let native = run.command();
    let mut command = Command::new("qemu-aarch64-static");
    command.args(["-0", argv0]).arg(binary).args(native.get_args()).current_dir("/").stdin(Stdio::null());
    command.env_clear().envs(native.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let output = child.wait_with_output().expect("qemu-aarch64-static is installed");
    assert!(output.status.success(), "{argv0}: {output:?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_version_is_the_same() {
    let Some(dir) = arm64() else { return };
    let sandbox = Sandbox::new();
    let run = sandbox.phase("lifecycle").args(["-version"]);
    let output = emulated(&run, dir.join("lifecycle"), "lifecycle");
    assert_eq!(text(&output).split('+').next(), run.run().success().stdout.split('+').next());
}

#[test]
fn the_launcher_starts_a_process() {
    let Some(dir) = arm64() else { return };
    let sandbox = Sandbox::new();
    let metadata = r#"
        [[processes]]
        type = "web"
        command = ["sh", "-c", "echo $FROM_EXEC_D in $PWD: $*", "sh"]
        args = ["default"]
        direct = true
        buildpack-id = "a"
        [[processes]]
        type = "shell"
        command = "echo $FROM_EXEC_D, $FROM_PROFILE"
        buildpack-id = "old"
        [[buildpacks]]
        id = "a"
        api = "0.10"
        [[buildpacks]]
        id = "old"
        api = "0.8"
    "#;
    sandbox.write("layers/config/metadata.toml", metadata);
    sandbox.write_mode("layers/a/l/exec.d/x", "#!/bin/sh\necho 'FROM_EXEC_D = \"exec.d\"' >&3\n", 0o755);
    sandbox.write("layers/a/l/profile.d/x.sh", "export FROM_PROFILE=profile\n");
    let start = |kind: &str, args: &[&str]| {
        let run = sandbox.phase("launcher").args(args);
        text(&emulated(&run, dir.join("launcher"), &format!("/cnb/process/{kind}")))
    };
    let app = sandbox.path("app");
    assert_eq!(start("web", &[]), format!("exec.d in {}: default\n", app.display()));
    assert_eq!(start("web", &["user"]), format!("exec.d in {}: user\n", app.display()));
    assert_eq!(start("shell", &[]), "exec.d, profile\n");
}

/// Layers of many gzip members, some stored; config, labels and SBOM.
#[test]
fn an_image_is_the_same_to_the_byte() {
    if skipped_without_root() {
        return;
    }
    let Some(dir) = arm64() else { return };
    let sandbox = Sandbox::new();
    sandbox.run_image();
    let build = r#"
mkdir -p "$CNB_LAYERS_DIR/deps/bin"; seq 1 300000 > "$CNB_LAYERS_DIR/deps/numbers"
ln -s numbers "$CNB_LAYERS_DIR/deps/link"; ln "$CNB_LAYERS_DIR/deps/numbers" "$CNB_LAYERS_DIR/deps/same"
printf '[types]\nlaunch = true\ncache = true\n[metadata]\nversion = 1\n' > "$CNB_LAYERS_DIR/deps.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["true"]\ndefault = true\n' > "$CNB_LAYERS_DIR/launch.toml"
"#;
    sandbox.buildpack("a/one", "exit 0", build);
    sandbox.order(&[&["a/one"]]);
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(3_000_000)
    .collect();
    sandbox.write("app/noise", noise);
    sandbox.own("app");
    for codec in ["gzip", "zstd"] {
        let run = sandbox.creator().env("CNB_COMPRESSION", codec).args(["-cache-dir"]).args([sandbox.path("cache")]);
        let run = run.args(["example.com/app"]);
        let start = || {
            for name in ["layers", "cache", "layout/example.com/app"] {
                let _ = fs::remove_dir_all(sandbox.path(name));
            }
            for name in ["layers", "cache"] {
                fs::create_dir(sandbox.path(name)).expect("create directory");
                sandbox.own(name);
            }
        };
        let result = || -> (Value, Value, String) {
            let (config, manifest) = sandbox.layout_read("example.com/app");
            (config, manifest, sandbox.read("layers/report.toml"))
        };
        start();
        run.run().success().quiet();
        let here = result();
        assert!(here.1["layers"].as_array().is_some_and(|layers| layers.len() > 3), "{}", here.1);
        start();
        let output = emulated(&run, dir.join("lifecycle"), "/cnb/lifecycle/creator");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(result(), here, "{codec}");
    }
}
