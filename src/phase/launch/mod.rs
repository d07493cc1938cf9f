//! The launch phase (platform.md, "launcher"; buildpack.md, "Phase #5: Launch"): prepares the environment of an app and
//! becomes one of its processes.
//!
//! This code runs at every start of every app container and links nothing but `std`, `toml` and `command-fds`.

mod exec_d;
mod layers;
mod metadata;
mod select;
mod start;
mod unstartable;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::api::PlatformApi;
use crate::env::Env;
use crate::error::{Context, Error, Failure, Result};
use crate::process::{self, Invocation};

use metadata::Metadata;

/// Starts the process. Comes back only if that failed: with the exit code, after saying why on stdout.
pub fn main(invocation: &Invocation) -> ExitCode {
    let Err(error) = launch(invocation);
    say(invocation, "31;1", "ERROR: ", &error.to_string());
    ExitCode::from(error.exit_code())
}

fn launch(invocation: &Invocation) -> Result<Infallible> {
    let api = PlatformApi::requested(invocation.var("CNB_PLATFORM_API"))?;
    let layers_dir = directory(invocation, "CNB_LAYERS_DIR", "/layers");
    let metadata = Metadata::read(&layers_dir.join("config/metadata.toml")).context("failed to read metadata")?;
    metadata.check_buildpack_apis()?;
    warn_of_process_type(invocation, api);

    let name = invocation.args.first().map_or(OsStr::new(""), OsString::as_os_str);
    let user_args = invocation.args.get(1..).unwrap_or_default();
    let exec_env = non_empty(invocation, "CNB_EXEC_ENV").unwrap_or("production".into());
    let steps = || {
        let chooser = select::Chooser { api, metadata: &metadata, exec_env: &exec_env };
        let process = chooser.choose(name, user_args).context("determine start command")?;

        let app_dir = directory(invocation, "CNB_APP_DIR", "/workspace");
        process::change_dir(&app_dir).context("change to app directory")?;
        let mut env = Env::for_launch(&invocation.env, Path::new("/cnb/process"), Path::new("/cnb/lifecycle"));
        let buildpacks = layers::find(&layers_dir, &metadata.buildpacks).context("modify env");
        let buildpacks = layers::modify_env(buildpacks?, &mut env, &process.kind).context("modify env")?;
        exec_d::run_all(&buildpacks, &mut env, &process.kind).context("exec.d")?;

        let working_dir = if process.working_dir.is_empty() { app_dir.clone() } else { PathBuf::from(&process.working_dir) };
        if process.direct {
            start::direct(&process, &working_dir, &env)
        } else {
            let profiles = layers::profiles(&buildpacks, &app_dir, &process.kind).context("find profiles")?;
            let as_tokens = !process.args.is_empty();
            if as_tokens {
                metadata.check_origin(&process)?;
            }
            start::in_shell(&process, as_tokens, &profiles, &working_dir, name, &env)
        }
    };
    steps().context("failed to launch").or_failure(Failure::Launch)
}

fn non_empty(invocation: &Invocation, name: &str) -> Option<OsString> {
    invocation.env.get(OsStr::new(name)).filter(|v| !v.is_empty()).cloned()
}

fn directory(invocation: &Invocation, variable: &str, default: &str) -> PathBuf {
    non_empty(invocation, variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn warn_of_process_type(invocation: &Invocation, api: PlatformApi) {
    let Some(kind) = non_empty(invocation, "CNB_PROCESS_TYPE") else { return };
    let kind = kind.to_string_lossy();
    let warn = |text: String| say(invocation, "33;1", "Warning: ", &text);
    warn(format!("CNB_PROCESS_TYPE is not supported in Platform API {api}"));
    warn(format!("Run with ENTRYPOINT '{kind}' to invoke the '{kind}' process type"));
}

/// All of the launcher's messages go to stdout, in colour unless `CNB_NO_COLOR` is true.
fn say(invocation: &Invocation, colour: &str, prefix: &str, text: &str) {
    let plain = matches!(invocation.var("CNB_NO_COLOR"), Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
    let line = if plain { format!("{prefix}{text}\n") } else { format!("\x1b[{colour}m{prefix}\x1b[0m{text}\n") };
    // Nobody is left to hear of a stdout that cannot be written.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// Where a wrong TOML value stands, and what is wrong with it.
fn toml_error(text: &str, at: usize, message: &str) -> Error {
    let line = text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    Error::new(format!("toml: line {line}: {message}"))
}
