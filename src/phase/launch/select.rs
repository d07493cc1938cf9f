//! Which process to start: by the name under which the launcher was called, else what the user gave as command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::metadata::{Metadata, Process};
use crate::api::{BuildpackApi, PlatformApi};
use crate::error::{Error, Result};

pub(super) struct Chooser<'a> {
    pub api: PlatformApi,
    pub metadata: &'a Metadata,
    pub exec_env: &'a OsStr,
}

impl Chooser<'_> {
    /// `name` is `argv[0]`: `/cnb/process/<type>` is a link to the launcher.
    pub fn choose(&self, name: &OsStr, user_args: &[OsString]) -> Result<Process> {
        let kind = name.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default();
        let named = |p: &&Process| p.kind.as_bytes() == kind;
        if kind.is_empty() || !self.metadata.processes.iter().any(|p| named(&p)) {
            return user_process(user_args);
        }
        let mut fitting = self.metadata.processes.iter().filter(named).filter(|p| self.is_eligible(p));
        let Some(process) = fitting.next() else {
            return Err(Error::new(format!("process type {} was not found", String::from_utf8_lossy(kind))));
        };
        self.with_user_args(process.clone(), user_args)
    }

    /// platform.md, "launcher": processes of other execution environments do not exist.
    fn is_eligible(&self, process: &Process) -> bool {
        let listed = &process.exec_env;
        !self.api.has_exec_env() || listed.is_empty() || listed.iter().any(|e| e == "*" || e == self.exec_env)
    }

    /// Below Platform API 0.10 arguments of the user follow those of the process. From 0.10 on they replace the
    /// overridable ones: `args` of a process whose command is an array or whose buildpack has API 0.9 or newer.
    fn with_user_args(&self, mut process: Process, user_args: &[OsString]) -> Result<Process> {
        if !self.api.command_is_array() {
            process.args.extend_from_slice(user_args);
            return Ok(process);
        }
        if process.command.len() > 1 {
            let overridable = std::mem::replace(&mut process.args, process.command.split_off(1));
            process.args.extend_from_slice(if user_args.is_empty() { &overridable } else { user_args });
        } else if !user_args.is_empty() {
            let id = &process.buildpack_id;
            let Some(buildpack) = self.metadata.buildpack(id) else {
                let kind = &process.kind;
                return Err(Error::new(format!("failed to find buildpack for process {kind} with buildpack ID {id}")));
            };
            if BuildpackApi::requested("buildpack", id, &buildpack.api)?.command_is_array() {
                process.args.clear();
            }
            process.args.extend_from_slice(user_args);
        }
        Ok(process)
    }
}

/// `-- command arg…` runs the command itself, anything else goes through a shell.
fn user_process(user_args: &[OsString]) -> Result<Process> {
    let (direct, command) = match user_args {
        [dashes, command @ ..] if dashes == "--" && !command.is_empty() => (true, command),
        _ => (false, user_args),
    };
    let [command, args @ ..] = command else {
        return Err(Error::new("when there is no default process a command is required"));
    };
    Ok(Process { command: vec![command.clone()], args: args.to_vec(), direct, ..Process::default() })
}
