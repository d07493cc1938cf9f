//! Becoming the process: directly, or through bash.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::metadata::Process;
use super::unstartable;
use crate::env::Env;
use crate::error::{Context, Error, Result};
use crate::process;

/// Where shell processes find their shell; PATH does not count (buildpack.md, "Launch").
const BASH: &str = "/bin/bash";

pub(super) fn direct(process: &Process, working_dir: &Path, env: &Env) -> Result<Infallible> {
    let [name, fixed_args @ ..] = process.command.as_slice() else {
        return Err(Error::new(format!("no command provided for process type \"{}\"", process.kind)));
    };
    let program = look_up(name, env.get("PATH").unwrap_or_default())
        .with_context(|| format!("exec: \"{}\"", name.display()))
        .context("path lookup")?;
    process::change_dir(working_dir).context("change directory")?;
    become_program(&program, name, fixed_args.iter().chain(&process.args), env).context("direct exec")
}

/// `as_tokens`: each of command and args is evaluated by the shell to one word. Otherwise the command is a script.
pub(super) fn in_shell(
    process: &Process,
    as_tokens: bool,
    profiles: &[PathBuf],
    working_dir: &Path,
    caller: &OsStr,
    env: &Env,
) -> Result<Infallible> {
    let mut script = OsString::new();
    for profile in profiles {
        for part in [OsStr::new("source \""), profile.as_os_str(), OsStr::new("\"\n")] {
            script.push(part);
        }
    }
    for part in [OsStr::new("cd \""), working_dir.as_os_str(), OsStr::new("\"\n")] {
        script.push(part);
    }
    script.push(if as_tokens { token_script(process.args.len()) } else { r#"exec bash -c "$@""#.to_owned() });
    let args = [OsString::from("-c"), script, caller.to_owned(), process.command.join(OsStr::new(" "))];
    let failed = become_program(Path::new(BASH), OsStr::new("bash"), args.iter().chain(&process.args), env);
    if fs::metadata(BASH).is_err() {
        let what = if process.kind.is_empty() {
            "this command runs in a shell (put -- in front of it to run it without)".to_owned()
        } else {
            format!("process type '{}' runs in a shell", process.kind)
        };
        return failed.map_err(|e| Error::new(format!("{e}: {what}, and the image has no {BASH}"))).context("bash exec");
    }
    failed.context("bash exec")
}

/// A script that evaluates the command and `args` arguments, each to one word as `echo` would print it.
///
/// It is not `echo` itself, which takes a word like -e or -n for its own option. It is one simple command, which bash
/// replaces itself by, so that signals reach the program.
fn token_script(args: usize) -> String {
    let mut script = r#"exec bash -c '"#.to_owned();
    for n in 0..=args {
        let space = if n == 0 { "" } else { " " };
        let _ = write!(script, r#"{space}"$(__cnb_token() {{ printf "%s\n" "$*"; }}; eval __cnb_token \"${{{n}}}\")""#);
    }
    script.push_str(r#"' "${@:1}""#);
    script
}

/// Replaces this process. Returns what was in the way.
fn become_program<'a>(program: &Path, name: &OsStr, args: impl Iterator<Item = &'a OsString>, env: &Env) -> Result<Infallible> {
    let mut command = Command::new(program);
    command.arg0(name).args(args).env_clear().envs(env.vars());
    Err(unstartable::explain(program, command.exec()))
}

/// Finds a program as the reference does: names with a slash are paths, others are searched in PATH. A file found
/// by way of a relative element of PATH is refused.
fn look_up(name: &OsStr, path: &OsStr) -> Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        check_executable(&file)?;
        return Ok(file);
    }
    for dir in path.as_bytes().split(|b| *b == b':').filter(|_| !path.is_empty()) {
        let dir = if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) };
        let file = dir.join(name);
        if check_executable(&file).is_err() {
            continue;
        }
        if file.is_relative() {
            return Err(Error::new("cannot run executable found relative to current directory"));
        }
        return Ok(file);
    }
    Err(Error::new("executable file not found in $PATH"))
}

fn check_executable(file: &Path) -> Result<()> {
    let metadata = fs::metadata(file).map_err(|e| Error::io("stat", file, &e))?;
    if metadata.is_dir() {
        return Err(Error::new("is a directory"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(std::io::Error::from(ErrorKind::PermissionDenied).into());
    }
    Ok(())
}
