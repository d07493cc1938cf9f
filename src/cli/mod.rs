//! The command line: a flag table for all commands and Platform APIs, and nine thin commands.
//!
//! A command reads its flags, opens what needs root, drops privileges, picks the stores, builds the phase's inputs, calls
//! the phase and writes its documents.

pub mod applet;
pub mod fail;
pub mod flags;
pub mod session;

mod analyze;
mod build;
mod create;
mod detect;
mod export;
mod extend;
mod rebase;
mod restore;

use std::process::ExitCode;

use crate::api::PlatformApi;
use crate::error::{Error, Result};
use crate::log;
use crate::phase;
use crate::process::Invocation;

use applet::{Applet, Command};
pub use fail::Fail;
pub use flags::Flags;
pub use session::Session;

/// Runs what the program was called as; the only place where an error becomes a line and an exit code.
pub fn main(invocation: &Invocation) -> ExitCode {
    // The launcher knows no `tracing`, and nothing of it may be set up for its sake.
    let applet = Applet::select(invocation);
    if !matches!(applet, Ok(Applet::Launcher(_))) {
        log::start(!invocation.var("CNB_NO_COLOR").is_some_and(flags::is_true));
    }
    match applet {
        Ok(Applet::Launcher(invocation)) => phase::launch::main(&invocation),
        Ok(Applet::Version) => {
            println!("{}", version());
            ExitCode::SUCCESS
        }
        Ok(Applet::Command { command, arguments }) => exit(run(invocation, command, arguments)),
        Err(error) => exit(Err(error)),
    }
}

fn run(invocation: &Invocation, command: Command, _arguments: &[std::ffi::OsString]) -> Result<()> {
    let api = PlatformApi::requested(invocation.var("CNB_PLATFORM_API"))?;
    let session = Session { invocation, command, api, flags: &Flags::default() };
    match command {
        Command::Analyze => analyze::run(&session),
        Command::Detect => detect::run(&session),
        Command::Restore => restore::run(&session),
        Command::Extend => extend::run(&session),
        Command::Build => build::run(&session),
        Command::Export => export::run(&session),
        Command::Create => create::run(&session),
        Command::Rebase => rebase::run(&session),
    }
}

fn exit(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    report(&error);
    ExitCode::from(error.exit_code())
}

fn report(error: &Error) {
    tracing::error!("{error}");
}

/// `<version>` or `<version>+<commit>`, both injectable at build time by `LIFECYCLE_VERSION` and `LIFECYCLE_COMMIT`.
pub fn version() -> String {
    match COMMIT {
        "" => VERSION.to_owned(),
        commit if VERSION.contains(commit) => VERSION.to_owned(),
        commit => format!("{VERSION}+{commit}"),
    }
}

/// The program's version, a plain `N.N.N`: platforms parse it.
pub const VERSION: &str = match option_env!("LIFECYCLE_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The commit that the program was built from; empty if unknown.
pub const COMMIT: &str = match option_env!("LIFECYCLE_COMMIT") {
    Some(commit) => commit,
    None => "",
};
