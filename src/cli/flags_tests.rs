//! Where values come from, and what becomes of paths.

use std::path::Path;
use std::time::Duration;

use super::applet::Command;
use super::flags::Flags;
use super::inputs::Images;
use super::parser;
use super::session::Session;
use crate::api::{ApiVersion, PlatformApi};
use crate::process::Invocation;

fn api(minor: u64) -> PlatformApi {
    PlatformApi::supported(ApiVersion::new(0, minor)).unwrap()
}

fn invocation(env: &[(&str, &str)]) -> Invocation {
    let env = env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    Invocation { env, cwd: "/work".into(), ..Invocation::default() }
}

fn flags(command: Command, args: &[&str], env: &[(&str, &str)]) -> Flags {
    let args: Vec<String> = args.iter().map(|&a| a.into()).collect();
    let mut flags = Flags::choose(&parser::parse(command, api(15), &args).unwrap(), &invocation(env));
    flags.resolve_paths(Path::new("/work"));
    flags
}

/// platform.md, "Phase inputs": a flag wins over its variable; compatibility.md §1: also an empty one.
#[test]
fn command_line_then_variable_then_default() {
    let text = |args: &[&str], env: &[(&str, &str)]| flags(Command::Analyze, args, env).text("run-image").to_owned();
    let env = [("CNB_RUN_IMAGE", "env")];
    assert_eq!(text(&["-run-image", "a", "-run-image=b"], &env), "b");
    assert_eq!(text(&["-run-image="], &env), "");
    assert_eq!(text(&[], &env), "env");
    let level = |env: &[(&str, &str)]| flags(Command::Analyze, &[], env).text("log-level").to_owned();
    assert_eq!(level(&[("CNB_LOG_LEVEL", "")]), "info");
    assert_eq!(level(&[("CNB_LOG_LEVEL", "debug")]), "debug");
}

#[test]
fn variables_count_where_a_command_has_no_flag() {
    let flags = flags(Command::Create, &[], &[("CNB_ANALYZED_PATH", "/a.toml"), ("CNB_EXEC_ENV", "test")]);
    assert_eq!(flags.text("analyzed"), "/a.toml");
    assert_eq!(flags.text("exec-env"), "test");
}

#[test]
fn odd_variables_of_the_specification_are_as_if_unset() {
    let env = [("CNB_USER_ID", "nobody"), ("CNB_USE_DAEMON", "yes"), ("CNB_KANIKO_CACHE_TTL", "2w")];
    let flags = flags(Command::Extend, &[], &env);
    assert_eq!(flags.integer("uid"), 0);
    assert!(!flags.boolean("daemon"));
    assert_eq!(flags.duration("kaniko-cache-ttl"), Duration::from_secs(14 * 24 * 3600));
}

/// The reference takes either variable for either flag.
#[test]
fn skipping_has_two_variables() {
    for name in ["CNB_SKIP_LAYERS", "CNB_SKIP_RESTORE"] {
        let env = [(name, "true")];
        assert!(flags(Command::Restore, &[], &env).boolean("skip-layers"), "{name}");
        assert!(flags(Command::Create, &[], &env).boolean("skip-restore"), "{name}");
    }
    assert!(!flags(Command::Restore, &["-skip-layers=false"], &[("CNB_SKIP_LAYERS", "true")]).boolean("skip-layers"));
}

/// spec-and-reference.md A2, A3: empty values mean nothing, comma lists work everywhere.
#[test]
fn lists_add_up_and_lose_what_is_empty() {
    let args = ["-insecure-registry=b,c", "-insecure-registry="];
    let insecure = flags(Command::Analyze, &args, &[("CNB_INSECURE_REGISTRIES", "a,")]);
    assert_eq!(insecure.list("insecure-registry"), ["a", "b", "c"]);
    assert!(flags(Command::Analyze, &["-tag="], &[("CNB_INSECURE_REGISTRIES", ",")]).list("insecure-registry").is_empty());
}

#[test]
fn defaults_are_below_the_layers_directory() {
    let near = flags(Command::Create, &["-layers", "l/../m"], &[]);
    assert_eq!(near.text("layers"), "/work/m");
    assert_eq!(near.text("report"), "l/../m/report.toml");
    assert_eq!(near.text("generated"), "/work/m/generated");
    assert_eq!(flags(Command::Create, &["-layers="], &[]).text("report"), "report.toml");
    let report = flags(Command::Create, &["-report", "<layers>/r"], &[("CNB_LAYERS_DIR", "/x")]).text("report").to_owned();
    assert_eq!(report, "/x/r");
}

#[test]
fn the_order_is_the_builders_unless_the_platform_has_one() {
    let layers = tempfile::tempdir().unwrap();
    let dir = layers.path().to_str().unwrap();
    let order = |args: &[&str]| {
        let args: Vec<&str> = ["-layers", dir].iter().chain(args).copied().collect();
        flags(Command::Detect, &args, &[]).text("order").to_owned()
    };
    assert_eq!(order(&[]), "/cnb/order.toml");
    assert_eq!(order(&["-order", "no/such.toml"]), "no/such.toml");
    std::fs::write(layers.path().join("order.toml"), "").unwrap();
    assert_eq!(order(&[]), format!("{dir}/order.toml"));
}

#[test]
fn directories_become_absolute_files_do_not() {
    let flags = flags(Command::Create, &["-app", "./a//b/", "-order", "o.toml", "-cache-dir=", "-platform=/p/../q"], &[]);
    assert_eq!(flags.text("app"), "/work/a/b");
    assert_eq!(flags.text("order"), "o.toml");
    assert_eq!(flags.optional_path("cache-dir"), None);
    assert_eq!(flags.text("platform"), "/q");
}

fn images(command: Command, args: &[&str], env: &[(&str, &str)], edit: impl FnOnce(&Session<'_>, &mut Images)) -> Images {
    let (invocation, flags) = (invocation(env), flags(command, args, env));
    let session = Session { invocation: &invocation, command, api: api(15), flags: &flags };
    let mut images = Images::of(&session).unwrap();
    edit(&session, &mut images);
    images
}

#[test]
fn destinations_are_output_and_tags() {
    let made = images(Command::Create, &["-tag=r/b,r/a", "-tag", "r/b", "r/a"], &[], |_, _| {});
    assert_eq!(made.destinations(), ["r/a", "r/b"]);
    assert_eq!(made.previous, "r/a");
    let exported = images(Command::Export, &["r/a", "r/b"], &[("CNB_CACHE_IMAGE", "r/c")], |_, _| {});
    assert_eq!(exported.all(), ["r/a", "r/b", "r/c"]);
    assert_eq!(exported.in_registries(true), ["r/c"]);
}

#[test]
fn destinations_are_on_one_registry_unless_in_a_daemon() {
    let images = images(Command::Export, &["a.example/app", "b.example/app"], &[], |_, _| {});
    assert_eq!(images.check(false).unwrap_err().to_string(), "writing to multiple registries is unsupported");
    images.check(true).unwrap();
}

#[test]
fn the_two_names_of_the_run_image_exclude_each_other() {
    let env = [("CNB_RUN_IMAGE", "e")];
    let merged = images(Command::Rebase, &["-image", "i", "x"], &env, |session, images| {
        images.merge_deprecated_run(session).unwrap();
    });
    assert_eq!(merged.run, "i");
    images(Command::Rebase, &["-image=i", "-run-image=r", "x"], &env, |session, images| {
        images.merge_deprecated_run(session).unwrap_err();
    });
    images(Command::Export, &["x"], &env, |session, images| images.refuse_run(session).unwrap());
    images(Command::Export, &["-run-image=r", "x"], &env, |session, images| {
        assert_eq!(images.refuse_run(session).unwrap_err().to_string(), "-run-image is unsupported");
    });
}
