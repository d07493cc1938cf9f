//! Which command the program was called as.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::error::{Error, Failure, Result};
use crate::image::daemon::socket_helper;
use crate::phase;
use crate::process::Invocation;

use super::asks_for_help;

/// A command that takes flags: every phase but launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Analyze,
    Detect,
    Restore,
    Extend,
    Build,
    Export,
    Create,
    Rebase,
}

impl Command {
    pub const ALL: [Self; 8] =
        [Self::Analyze, Self::Detect, Self::Restore, Self::Extend, Self::Build, Self::Export, Self::Create, Self::Rebase];

    /// The phase, as `lifecycle`'s first argument.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
            Self::Detect => "detect",
            Self::Restore => "restore",
            Self::Extend => "extend",
            Self::Build => "build",
            Self::Export => "export",
            Self::Create => "create",
            Self::Rebase => "rebase",
        }
    }

    /// The file name below `/cnb/lifecycle`.
    pub fn program(self) -> &'static str {
        match self {
            Self::Analyze => "analyzer",
            Self::Detect => "detector",
            Self::Restore => "restorer",
            Self::Extend => "extender",
            Self::Build => "builder",
            Self::Export => "exporter",
            Self::Create => "creator",
            Self::Rebase => "rebaser",
        }
    }
}

/// What the program was called as.
#[derive(Debug)]
pub enum Applet<'a> {
    /// The launch phase, with the arguments that are its own.
    Launcher(Invocation),
    /// `lifecycle -version`.
    Version,
    /// `lifecycle -h`: needs no Platform API, for the person who asks may not know of it yet.
    Help,
    /// The helper of the extender that becomes a user and executes a command.
    RunAs(&'a [OsString]),
    /// The helper that opens a daemon's socket for a program that may not.
    SocketHelper(&'a [OsString]),
    /// A command with the arguments behind its name.
    Command { command: Command, arguments: &'a [OsString] },
}

impl<'a> Applet<'a> {
    /// By the program's file first: a process type may be called `builder`, and `/cnb/process/builder` is a link to the
    /// launcher. Then by `argv[0]`, then by `argv[1]`.
    pub fn select(invocation: &'a Invocation) -> Result<Self> {
        let arguments = &invocation.args;
        let called = arguments.first().and_then(|a| Path::new(a).file_stem()).unwrap_or_default();
        if invocation.exe.file_name() == Some(OsStr::new("launcher")) || called == "launcher" {
            return Ok(Self::Launcher(invocation.clone()));
        }
        if let Some(command) = Command::ALL.into_iter().find(|c| called == c.program()) {
            return Ok(Self::Command { command, arguments: &arguments[1..] });
        }
        if called == phase::extend::run::HELPER {
            return Ok(Self::RunAs(&arguments[1..]));
        }
        if called == socket_helper::APPLET {
            return Ok(Self::SocketHelper(arguments));
        }
        let Some(first) = arguments.get(1) else {
            return Err(Error::new("failed to parse arguments").or_failure(Failure::InvalidArguments));
        };
        match first.to_str() {
            Some("-version" | "--version") => return Ok(Self::Version),
            Some("-h" | "-help" | "--help") => return Ok(Self::Help),
            _ => {}
        }
        if !asks_for_help(arguments.get(2)) {
            crate::api::PlatformApi::requested(invocation.var("CNB_PLATFORM_API"))?;
        }
        let phase = Path::new(first).file_name().unwrap_or_default();
        if phase == "launch" {
            let mut launch = invocation.clone();
            launch.args.remove(0);
            launch.args[0] = "launcher".into();
            return Ok(Self::Launcher(launch));
        }
        match Command::ALL.into_iter().find(|c| phase == c.phase()) {
            Some(command) => Ok(Self::Command { command, arguments: &arguments[2..] }),
            None => Err(Error::new(format!(
                "failed to recognize phase: {} \nValid phases: detect, analyze, restore, build, export, rebase, create, extend",
                phase.display()
            ))
            .or_failure(Failure::InvalidArguments)),
        }
    }
}
