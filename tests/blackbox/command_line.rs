//! Flags, usage and help: Go's syntax, values, what goes to which stream.

use snapbox::{assert_data_eq, file};

use crate::support::{Outcome, Sandbox, UID, skipped_without_root};

const COMMANDS: [&str; 8] = ["analyzer", "detector", "restorer", "builder", "exporter", "creator", "rebaser", "extender"];

fn run(phase: &str, args: &[&str]) -> Outcome {
    Sandbox::new().phase(phase).args(args).run()
}

/// compatibility.md §1: usage errors go to stderr and end with 2.
#[test]
fn a_flag_that_nobody_knows_is_named() {
    for command in COMMANDS {
        let outcome = run(command, &["-no-such-flag"]).code(2);
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.starts_with("flag provided but not defined: -no-such-flag\nUsage: "), "{}", outcome.stderr);
    }
}

#[test]
fn a_flag_of_another_platform_api_says_of_which() {
    let outcome = Sandbox::new().phase("exporter").api("0.12").args(["-insecure-registry=x", "x"]).run().code(2);
    let wanted = "not defined: -insecure-registry (known under Platform API 0.13 and later, CNB_PLATFORM_API is 0.12)";
    assert!(outcome.stderr.contains(wanted), "{}", outcome.stderr);
}

#[test]
fn values_that_are_none_are_named() {
    for (args, message) in [
        (&["-uid=ten"][..], "invalid value \"ten\" for flag -uid: parse error"),
        (&["-daemon=yes"], "invalid boolean value \"yes\" for -daemon: parse error"),
        (&["-gid"], "flag needs an argument: -gid"),
        (&["---gid=1"], "bad flag syntax: ---gid=1"),
    ] {
        let outcome = run("analyzer", args).code(2);
        assert!(outcome.stderr.starts_with(message), "{}", outcome.stderr);
    }
}

#[test]
fn a_flag_behind_an_argument_is_warned_of() {
    run("detector", &["surplus", "-app"])
        .code(3)
        .says("Warning: Warning: unconsumed flag-like positional arg: \n\t-app\n")
        .says("ERROR: failed to parse arguments: received unexpected arguments")
        .quiet();
}

#[test]
fn arguments_are_counted() {
    for (phase, args, message) in [
        ("restorer", &["x"][..], "received unexpected Args"),
        ("builder", &["x"], "received unexpected arguments"),
        ("extender", &["x"], "received unexpected arguments"),
        ("creator", &["x", "y"], "received 2 arguments, but expected 1"),
        ("analyzer", &[], "received 0 arguments, but expected 1"),
        ("exporter", &[], "at least one image argument is required"),
        ("rebaser", &[], "at least one image argument is required"),
    ] {
        run(phase, args).code(3).says(&format!("ERROR: failed to parse arguments: {message}\n")).quiet();
    }
}

#[test]
fn inputs_of_our_own_say_what_is_good() {
    for (args, name, value, message) in [
        (&["-layer-protection=strict"][..], "", "", "\"strict\" is no value of -layer-protection, CNB_LAYER_PROTECTION"),
        (&[], "CNB_LAYER_PROTECTION", "on", "`off`, `warn`, `error`, `enforce`, `enforce-strict` or `discard`"),
        (&[], "CNB_SKIP_SBOM", "yes", "\"yes\" is no value of -skip-sbom, CNB_SKIP_SBOM: it must be `true` or `false`"),
        (
            &[],
            "CNB_COMPRESSION",
            "zstd:20",
            "\"zstd:20\" is no value of CNB_COMPRESSION: it must be `gzip`, `gzip:1` to `gzip:9`",
        ),
        (&[], "CNB_REGISTRY_TIMEOUT", "0", "a number of seconds above 0"),
        (&[], "CNB_REGISTRY_MIRRORS", "docker.io", "`host=https://mirror[;host=…]`"),
        (&[], "CNB_LAYER_PROTECTION_ALLOW", "a/b", "`<buildpack id>:<layer glob>[,…]`"),
        (&[], "CNB_REPORT_RUN_IMAGE", "2", "`true` or `false`"),
    ] {
        let sandbox = Sandbox::new();
        let phase = sandbox.phase("creator").args(args).args(["example.com/app"]);
        let phase = if name.is_empty() { phase } else { phase.env(name, value) };
        phase.run().code(3).says("ERROR: failed to resolve inputs: ").says(message).quiet();
    }
}

#[test]
fn log_levels_are_checked_and_obeyed() {
    run("detector", &["-log-level=loud"]).code(1).says("ERROR: failed to parse log level: invalid level\n");
    run("detector", &["-log-level=debug", "x"]).code(3).says("Starting detector...\nParsing inputs...\n");
    assert_eq!(run("detector", &["-log-level=FATAL", "x"]).code(3).stdout, "");
}

#[test]
fn colours_are_on_unless_told() {
    let sandbox = Sandbox::new();
    let red = "\x1b[31;1mERROR: \x1b[0mfailed to parse arguments";
    sandbox.phase("builder").unset("CNB_NO_COLOR").args(["x"]).run().says(red);
    sandbox.phase("builder").args(["-no-color=false", "x"]).run().says(red);
    sandbox.phase("builder").unset("CNB_NO_COLOR").args(["-no-color", "x"]).run().lacks("\x1b");
}

#[test]
fn programs_are_told_by_their_names() {
    let sandbox = Sandbox::new();
    let surplus = "received unexpected arguments";
    sandbox.phase("lifecycle").argv0("/elsewhere/detector").args(["x"]).run().code(3).says(surplus);
    sandbox.phase("lifecycle").argv0("renamed").args(["detect", "x"]).run().code(3).says(surplus);
    sandbox.phase("lifecycle").args(["detector"]).run().code(3).says("failed to recognize phase: detector");
    sandbox.phase("lifecycle").run().code(3).says("ERROR: failed to parse arguments\n");
}

/// The help is the table; `SNAPSHOTS=overwrite cargo test` accepts a change.
#[test]
fn help_goes_to_stderr() {
    for command in COMMANDS {
        let outcome = run(command, &["-daemon=false", "-h"]);
        let outcome = if outcome.code == Some(2) { run(command, &["--help"]) } else { outcome }.success();
        assert_eq!(outcome.stdout, "");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/blackbox/help/{command}.txt"));
        assert_data_eq!(outcome.stderr, snapbox::Data::read_from(&path, None));
    }
}

#[test]
fn help_of_the_program_needs_no_platform_api() {
    let outcome = Sandbox::new().phase("lifecycle").unset("CNB_PLATFORM_API").args(["--help"]).run().success().quiet();
    assert_data_eq!(outcome.stdout, file!["help/lifecycle.txt"]);
}

/// A person who asks what a phase's flags are may not know of the variable; one that is wrong is told so.
#[test]
fn help_of_a_phase_needs_no_platform_api() {
    let sandbox = Sandbox::new();
    let latest = run("exporter", &["-h"]).success().stderr;
    assert_eq!(sandbox.phase("exporter").unset("CNB_PLATFORM_API").args(["-h"]).run().success().stderr, latest);
    let by_phase = sandbox.phase("lifecycle").unset("CNB_PLATFORM_API").args(["export", "--help"]).run().success();
    assert_eq!(by_phase.stderr, latest);
    sandbox.phase("exporter").api("0.99").args(["-h"]).run().code(11).says("platform API version '0.99' is incompatible");
    sandbox.phase("exporter").unset("CNB_PLATFORM_API").args(["x", "-h"]).run().code(11).says("please set 'CNB_PLATFORM_API'");
}

#[test]
fn readers_may_go_away() {
    let sandbox = Sandbox::new();
    for (phase, args) in
        [("lifecycle", &["-h"][..]), ("lifecycle", &["-version"]), ("creator", &["-h"]), ("creator", &["x", "y"])]
    {
        let run = sandbox.phase(phase).args(args);
        let gone = || std::io::pipe().expect("pipe").1;
        let status = run.command().stdout(gone()).stderr(gone()).status().expect("run");
        assert_eq!(status.code(), Some(if args.contains(&"y") { 3 } else { 0 }), "{phase} {args:?}");
    }
}

/// kpack starts all phases as the build user.
#[test]
fn nothing_to_drop_needs_no_root_and_another_user_does() {
    if skipped_without_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.run_image();
    let analyzer = || {
        let analyzer = sandbox.phase("analyzer").user(UID).args(["-layout", "-layout-dir"]).args([sandbox.path("layout")]);
        analyzer.args(["-run-image", "example.com/run", "example.com/app"])
    };
    analyzer().run().success().quiet();
    analyzer()
        .env("CNB_USER_ID", "1")
        .run()
        .code(1)
        .says("failed to chown volumes: chown [ROOT]/layers: operation not permitted");
}
