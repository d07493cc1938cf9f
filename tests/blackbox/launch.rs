//! The launcher beyond what is recorded: where nothing is as it should be.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Sandbox, binaries};

const METADATA: &str = r#"
[[processes]]
type = "web"
command = "show"
args = ["-e", "$WORD", "a  b", "$(echo -n nested)", "-n"]
direct = false
buildpack-id = "a"
[[buildpacks]]
id = "a"
api = "0.8"
"#;

fn sandbox(metadata: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("layers/config/metadata.toml", metadata);
    sandbox.write_mode("layers/a/l/bin/show", "#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done\n", 0o755);
    sandbox
}

/// Words that `echo` takes for its options are words of the process like all others (`rails server -e production`).
#[test]
fn arguments_of_shell_processes_are_evaluated_each_to_one_word() {
    let sandbox = sandbox(METADATA);
    let outcome = sandbox.phase("launcher").argv0("/cnb/process/web").env("WORD", "two words").run().success();
    assert_eq!(outcome.stdout, "[-e][two words][a b][nested][-n]");
}

/// Signals reach the program: no shell stays in between.
#[test]
fn a_shell_process_is_the_process_itself() {
    let sandbox = sandbox(METADATA);
    sandbox.write_mode("layers/a/l/bin/show", "#!/bin/sh\necho $PPID\n", 0o755);
    let launcher = sandbox.phase("launcher").argv0("web").command().stdout(Stdio::piped()).spawn().expect("start");
    let output = launcher.wait_with_output().expect("wait");
    let parent = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(parent.trim().parse(), Ok(std::process::id()), "the parent of the program is the test");
}

#[test]
fn a_working_directory_that_is_gone_is_no_obstacle() {
    let sandbox = sandbox(METADATA);
    let script = format!("mkdir gone && cd gone && rmdir ../gone && exec {}/launcher -- echo started", binaries().display());
    let launcher = sandbox.phase("launcher").command();
    let envs = launcher.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new("/bin/sh").args(["-c", &script]).current_dir(sandbox.path("tmp")).envs(envs).output();
    assert_eq!(String::from_utf8_lossy(&output.expect("run").stdout), "started\n");
}

/// A process that an exec.d program leaves behind may hold descriptor 3 for as long as it likes.
#[test]
fn exec_d_ends_with_its_program() {
    let sandbox = sandbox(METADATA);
    let script = "#!/bin/sh\necho 'X = \"from exec.d\"' >&3\nsleep 30 > /dev/null 2>&1 &\n";
    sandbox.write_mode("layers/a/l/exec.d/x", script, 0o755);
    let begin = Instant::now();
    let outcome = sandbox.phase("launcher").args(["--", "sh", "-c", "echo $X"]).run().success();
    assert_eq!(outcome.stdout, "from exec.d\n");
    assert!(begin.elapsed() < Duration::from_secs(20), "it waited for a process that was left behind");
}

/// What a program writes is read to its end, however much it is, and refused as a whole if it is no TOML.
#[test]
fn exec_d_may_write_more_than_a_pipe_holds() {
    let sandbox = sandbox(METADATA);
    let script = "#!/bin/sh\nprintf 'X = \"' >&3\nhead -c 100000 /dev/zero | tr '\\0' x >&3\nprintf '\"\\n' >&3\n";
    sandbox.write_mode("layers/a/l/exec.d/x", script, 0o755);
    let outcome = sandbox.phase("launcher").args(["--", "sh", "-c", "echo ${#X}"]).run().success();
    assert_eq!(outcome.stdout, "100000\n");
    sandbox.write_mode("layers/a/l/exec.d/x", "#!/bin/sh\nprintf 'X = \"a\"\\nY = ' >&3\n", 0o755);
    sandbox.phase("launcher").args(["--", "true"]).run().code(82).says("failed to decode output from exec.d file").says("line 2");
}

/// In an image without bash a shell process says what it lacks. The root directory holds the launcher and nothing else.
#[test]
fn no_bash_is_said_in_words() {
    if crate::support::skipped_without_root() {
        return;
    }
    let sandbox = sandbox(METADATA);
    let jail = sandbox.path("jail");
    fs::create_dir_all(jail.join("workspace")).expect("create directory");
    fs::create_dir_all(jail.join("layers/config")).expect("create directory");
    fs::write(jail.join("layers/config/metadata.toml"), METADATA).expect("write");
    fs::copy(binaries().join("launcher"), jail.join("launcher")).expect("copy");
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(&jail).arg("/launcher").env_clear().env("CNB_PLATFORM_API", "0.15").env("CNB_NO_COLOR", "1");
    let output = command.arg("true").output().expect("chroot");
    if output.status.code() == Some(127) {
        eprintln!("SKIP: the launcher is not linked statically");
        return;
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with("ERROR: failed to launch: bash exec: no such file or directory"), "{stdout}");
    assert!(stdout.contains("the image has no /bin/bash") && stdout.contains("put -- in front"), "{stdout}");
    // The exit code of a launch that failed, not that of a shell.
    assert_eq!(output.status.code(), Some(82));
}
