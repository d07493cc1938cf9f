//! What the specifications say that the launcher MUST do, clause by clause; quotes are from platform.md 0.15, "launcher", unless
//! "B" (buildpack.md 0.12) stands before them.

use crate::support::{Run, Sandbox};

const PROCESSES: &str = r#"
[[processes]]
type = "old"
command = "show"
args = ["default"]
direct = true
buildpack-id = "b/old"
[[processes]]
type = "new"
command = ["show", "fixed"]
args = ["default"]
direct = true
buildpack-id = "a/new"
[[processes]]
type = "shell"
command = "show $GREETING"
direct = false
buildpack-id = "b/old"
[[processes]]
type = "elsewhere"
command = ["pwd"]
direct = true
working-dir = "/"
buildpack-id = "a/new"
[[processes]]
type = "here"
command = ["pwd"]
direct = true
buildpack-id = "a/new"
[[processes]]
type = "test"
command = ["show", "in tests"]
direct = true
exec-env = ["test"]
buildpack-id = "a/new"
[[processes]]
type = "any"
command = ["show", "anywhere"]
direct = true
exec-env = ["*"]
buildpack-id = "a/new"
[[processes]]
type = "env"
command = ["sh", "-c", "echo path=$PATH lib=$LD_LIBRARY_PATH; echo append=$APPEND override=$OVERRIDE default=$DEFAULT prepend=$PREPEND; env | grep ^CNB_; true"]
direct = true
buildpack-id = "a/new"
[[buildpacks]]
id = "b/old"
api = "0.8"
[[buildpacks]]
id = "a/new"
api = "0.12"
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("layers/config/metadata.toml", PROCESSES);
    sandbox.write_mode("layers/b_old/tools/bin/show", "#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done\necho\n", 0o755);
    sandbox
}

fn launch<'a>(sandbox: &'a Sandbox, name: &str) -> Run<'a> {
    sandbox.phase("launcher").argv0(&format!("/cnb/process/{name}"))
}

/// "`<process-type>` SHALL be the final path element in `$0`"; "MUST replace any buildpack provided default `<args>` with any
/// user-provided `<args>`" where the buildpack supports default process args, else "MUST append any user-provided `<args>` to
/// process arguments".
#[test]
fn the_name_selects_the_process_and_arguments_follow_its_buildpack() {
    let sandbox = sandbox();
    for (name, args, wanted) in [
        ("old", &[][..], "[default]\n"),
        ("old", &["user"], "[default][user]\n"),
        ("new", &[], "[fixed][default]\n"),
        ("new", &["user", "--"], "[fixed][user][--]\n"),
    ] {
        assert_eq!(launch(&sandbox, name).args(args).run().success().stdout, wanted, "{name} {args:?}");
    }
}

/// "MUST select the process with type equal to `<process-type>` … that is eligible for the current execution environment"; "If no
/// process with the requested type is eligible …, the lifecycle MUST fail".
#[test]
fn processes_of_other_execution_environments_do_not_exist() {
    let sandbox = sandbox();
    launch(&sandbox, "test").run().code(82).says("process type test was not found");
    assert_eq!(launch(&sandbox, "test").env("CNB_EXEC_ENV", "test").run().success().stdout, "[in tests]\n");
    assert_eq!(launch(&sandbox, "any").env("CNB_EXEC_ENV", "other").run().success().stdout, "[anywhere]\n");
}

/// "If `$1` is `--`: `<direct>` SHALL be `true`, `<cmd>` SHALL be `$2`, `<args>` SHALL be `${@3:}`"; else "`<direct>` SHALL be `false`,
/// `<cmd>` SHALL be `$1`, `<args>` SHALL be `${@2:}`".
#[test]
fn commands_of_the_user_are_direct_or_go_through_a_shell() {
    let sandbox = sandbox();
    let user = |args: &[&str]| sandbox.phase("launcher").env("X", "expanded").args(args).run().success().stdout;
    assert_eq!(user(&["--", "show", "$X", "two  words"]), "[$X][two  words]\n");
    assert_eq!(user(&["show", "$X"]), "[expanded]\n");
    assert_eq!(user(&["show $X; show again"]), "[expanded]\n[again]\n");
}

/// "The launcher MUST set the working directory for the start command to `<working-dir>`, or to `<app>` if `<working-dir>` is not
/// specified."
#[test]
fn the_working_directory_is_that_of_the_process_or_the_app() {
    let sandbox = sandbox();
    assert_eq!(launch(&sandbox, "elsewhere").run().success().stdout, "/\n");
    assert_eq!(launch(&sandbox, "here").run().success().stdout, "[ROOT]/app\n");
}

/// "MUST construct the process execution environment"; B "Layer Paths": "each variable designated for launch MUST contain absolute
/// paths of all buildpacks' `<layers>/<layer>/` directories that are designated for launch", "in the reversed order of the buildpack
/// group"; B "Environment Variable Modification Rules", with `env.launch/<process>` last.
#[test]
fn the_environment_is_made_from_all_layers() {
    let sandbox = sandbox();
    for (layer, name) in [("b_old/x", "old"), ("a_new/y", "new")] {
        for dir in ["env", "env.launch", "env.launch/env", "env.launch/other", "env.build"] {
            let value = format!("{name}.{}", dir.replace('/', "."));
            for (file, delimiter) in [("APPEND.append", Some("+")), ("PREPEND.prepend", Some("-")), ("DEFAULT.default", None)] {
                sandbox.write(&format!("layers/{layer}/{dir}/{file}"), &value);
                if let Some(delimiter) = delimiter {
                    let variable = file.split('.').next().expect("a name");
                    sandbox.write(&format!("layers/{layer}/{dir}/{variable}.delim"), delimiter);
                }
            }
            sandbox.write(&format!("layers/{layer}/{dir}/OVERRIDE.override"), &value);
        }
        sandbox.write(&format!("layers/{layer}/lib/file"), "");
        sandbox.write(&format!("layers/{layer}/bin/file"), "");
    }
    let path = "/cnb/process:/usr/bin:/bin:/cnb/lifecycle";
    let outcome = launch(&sandbox, "env").env("PATH", path).env("CNB_OTHER", "kept").unset("CNB_NO_COLOR").run().success();
    let wanted = "path=[ROOT]/layers/a_new/y/bin:[ROOT]/layers/b_old/x/bin:[ROOT]/layers/b_old/tools/bin:/usr/bin:/bin \
                  lib=[ROOT]/layers/a_new/y/lib:[ROOT]/layers/b_old/x/lib\n\
                  append=old.env+old.env.launch+old.env.launch.env+new.env+new.env.launch+new.env.launch.env \
                  override=new.env.launch.env default=old.env \
                  prepend=new.env.launch.env-new.env.launch-new.env-old.env.launch.env-old.env.launch-old.env\n\
                  CNB_OTHER=kept\n";
    assert_eq!(outcome.stdout, wanted);
}

/// "MUST execute each file in each `<layers>/<layer>/exec.d` directory in the launch environment, with working directory `<app>`, and
/// set the returned variables in the launch environment before continuing", in the order of buildpacks, layers and files, those in
/// `exec.d/<process>` as well.
#[test]
fn exec_d_programs_run_in_order_and_set_variables() {
    let sandbox = sandbox();
    for file in ["b_old/x/exec.d/2", "b_old/x/exec.d/1", "a_new/y/exec.d/1", "a_new/y/exec.d/new/1", "a_new/y/exec.d/other/1"] {
        let script =
            format!("#!/bin/sh\necho \"SEEN = \\\"$SEEN {}:$(basename \"$PWD\")\\\"\" >&3\n", file.replace("/exec.d", ""));
        sandbox.write_mode(&format!("layers/{file}"), script, 0o755);
    }
    sandbox.write_mode("layers/b_old/tools/bin/show", "#!/bin/sh\necho seen=$SEEN\n", 0o755);
    let wanted = "seen= b_old/x/1:app b_old/x/2:app a_new/y/1:app a_new/y/new/1:app\n";
    assert_eq!(launch(&sandbox, "new").run().success().stdout, wanted);
}

/// "the launcher MUST use a single shell process, with working directory `<app>`, to source each file in each
/// `<layers>/<layer>/profile.d` directory", those of the process, and `<app>/.profile` if it is present.
#[test]
fn profiles_are_sourced_in_order_by_one_shell() {
    let sandbox = sandbox();
    for file in ["b_old/x/profile.d/b.sh", "b_old/x/profile.d/a.sh", "a_new/y/profile.d/a.sh", "a_new/y/profile.d/shell/a.sh"] {
        let script = format!("GREETING=\"$GREETING {}:$(basename \"$PWD\")\"\n", file.replace("/profile.d", ""));
        sandbox.write(&format!("layers/{file}"), script);
    }
    sandbox.write("app/.profile", "export GREETING=\"$GREETING app\"\n");
    let outcome = launch(&sandbox, "shell").run().success();
    assert_eq!(outcome.stdout, "[b_old/x/a.sh:app][b_old/x/b.sh:app][a_new/y/a.sh:app][a_new/y/shell/a.sh:app][app]\n");
    // Direct processes know nothing of profiles.
    sandbox.write("app/.profile", "exit 7\n");
    launch(&sandbox, "old").run().success();
}

/// "Exit Code 11: Platform API incompatibility error, 12: Buildpack API incompatibility error, 80-89: Launch-specific lifecycle
/// errors. Otherwise, the exit code shall be the exit code of the launched process."
#[test]
fn exit_codes() {
    let sandbox = sandbox();
    launch(&sandbox, "new").api("0.99").run().code(11);
    launch(&sandbox, "unknown").run().code(82);
    sandbox.phase("launcher").args(["--", "sh", "-c", "exit 17"]).run().code(17);
    sandbox.phase("launcher").args(["exit 18"]).run().code(18);
    sandbox.write("layers/config/metadata.toml", PROCESSES.replace("\"0.12\"", "\"0.99\""));
    launch(&sandbox, "new").run().code(12);
}
