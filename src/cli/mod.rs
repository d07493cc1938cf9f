//! The command line: a flag table for all commands and Platform APIs, and nine thin commands.
//!
//! A command reads its flags, opens what needs root, drops privileges, picks the stores, builds the phase's inputs, calls
//! the phase and writes its documents.

pub mod applet;
pub mod fail;
pub mod flags;
pub mod inputs;
pub mod session;

mod arguments;
mod caches;
mod choices;
#[cfg(test)]
mod flags_tests;
mod go_values;
mod help;
mod normalise;
mod parser;
mod paths;
#[cfg(test)]
mod reference_page;
mod stores;
mod table;
mod variables;

mod ahead;
mod analyze;
mod build;
mod create;
mod detect;
mod export;
mod extend;
mod rebase;
mod restore;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use tracing::{debug, error, warn};

use crate::api::PlatformApi;
use crate::bail;
use crate::error::{Error, Failure, Result};
use crate::image;
use crate::log::{self, Level};
use crate::phase;
use crate::process::{Invocation, signals};

use applet::{Applet, Command};
pub use fail::Fail;
pub use flags::Flags;
pub use inputs::Images;
use normalise::Stop;
pub use session::Session;

/// Runs what the program was called as; the only place where an error becomes a line and an exit code.
pub fn main(invocation: &Invocation) -> ExitCode {
    // The launcher knows no `tracing`, and nothing of it may be set up for its sake.
    let applet = Applet::select(invocation);
    if !matches!(applet, Ok(Applet::Launcher(_) | Applet::RunAs(_) | Applet::SocketHelper(_))) {
        log::start(invocation.var("CNB_NO_COLOR").and_then(go_values::boolean) != Some(true));
    }
    match applet {
        Ok(Applet::Launcher(invocation)) => phase::launch::main(&invocation),
        Ok(Applet::SocketHelper(arguments)) => match image::daemon::socket_helper::serve(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Applet::RunAs(arguments)) => match phase::extend::run::helper(arguments) {
            Ok(never) => match never {},
            Err(error) => {
                eprintln!("{error}");
                // As shells say that a command was found and cannot be executed.
                ExitCode::from(126)
            }
        },
        Ok(Applet::Version) => finish(Ok(Done::Version)),
        Ok(Applet::Help) => {
            say(io::stdout(), &help::of_program());
            ExitCode::SUCCESS
        }
        Ok(Applet::Command { command, arguments }) => finish(run(invocation, command, arguments)),
        Err(error) => finish(Err(error)),
    }
}

fn run(invocation: &Invocation, command: Command, arguments: &[OsString]) -> Result<Done> {
    let api = match PlatformApi::requested(invocation.var("CNB_PLATFORM_API")) {
        // Who asks for help may not know of the variable yet.
        Err(_) if asks_for_help(arguments.first()) && invocation.non_empty_var("CNB_PLATFORM_API").is_none() => {
            PlatformApi::latest()
        }
        requested => requested?,
    };
    let parsed = match utf8(arguments).and_then(|arguments| parser::parse(command, api, &arguments)) {
        Ok(parsed) => parsed,
        Err(stop) => return Ok(Done::Usage(command, api, stop)),
    };
    let mut flags = Flags::choose(&parsed, invocation);
    if flags.boolean("version") {
        return Ok(Done::Version);
    }
    let colors = !flags.boolean("no-color");
    log::configure(Level::Info, colors);
    let Some(level) = Level::parse(flags.text("log-level")) else { bail!("failed to parse log level: invalid level") };
    log::configure(level, colors);
    for argument in flags.positional().iter().filter(|argument| argument.starts_with('-')) {
        warn!(
            "Warning: unconsumed flag-like positional arg: \n\t{argument}\n\t This will not be interpreted as a flag.\n\t Did \
             you mean to put this before the first positional argument?"
        );
    }
    debug!("Starting {}...", command.program());
    debug!("Parsing inputs...");
    arguments::check(command, flags.positional())?;
    utf8_variables(invocation).and_then(|()| flags.check(command)).failed_to("resolve inputs")?;
    if invocation.cwd.as_os_str().is_empty() {
        bail!("failed to get the working directory: it does not exist");
    }
    flags.resolve_paths(&invocation.cwd);
    let session = Session { invocation, command, api, flags: &flags };
    match command {
        Command::Analyze => analyze::run(&session),
        Command::Detect => detect::run(&session),
        Command::Restore => restore::run(&session),
        Command::Extend => extend::run(&session),
        Command::Build => build::run(&session),
        Command::Export => export::run(&session),
        Command::Create => create::run(&session),
        Command::Rebase => rebase::run(&session),
    }?;
    Ok(Done::Phase)
}

fn asks_for_help(argument: Option<&OsString>) -> bool {
    argument.is_some_and(|argument| ["-h", "--h", "-help", "--help"].iter().any(|help| argument == help))
}

/// How a call that is no failure of a phase ended.
enum Done {
    Phase,
    Version,
    Usage(Command, PlatformApi, Stop),
}

fn utf8(arguments: &[OsString]) -> Result<Vec<String>, Stop> {
    let text = |argument: &OsString| argument.to_str().map(str::to_owned);
    let not_utf8 = |argument: &OsString| Stop::Syntax(format!("argument is not UTF-8: {}", argument.display()));
    arguments.iter().map(|argument| text(argument).ok_or_else(|| not_utf8(argument))).collect()
}

/// A variable that cannot be read must not pass for one that is not set.
fn utf8_variables(invocation: &Invocation) -> Result<()> {
    let variables = table::INPUTS.iter().flat_map(|input| input.variables);
    for name in variables {
        if invocation.env.get(OsStr::new(name)).is_some_and(|value| value.to_str().is_none()) {
            return Err(Error::new(format!("{name} is not UTF-8")).or_failure(Failure::InvalidArguments));
        }
    }
    Ok(())
}

fn finish(result: Result<Done>) -> ExitCode {
    match result {
        Ok(Done::Phase) => ExitCode::SUCCESS,
        Ok(Done::Version) => {
            say(io::stdout(), &(version() + "\n"));
            ExitCode::SUCCESS
        }
        // Usage is for a person at a terminal: it goes to stderr and leaves stdout to the messages of phases.
        Ok(Done::Usage(command, api, Stop::Help)) => {
            say(io::stderr(), &help::of_command(command, api));
            ExitCode::SUCCESS
        }
        Ok(Done::Usage(command, _, Stop::Syntax(message) | Stop::Unknown(message))) => {
            let program = command.program();
            let usage = help::usage(command);
            say(io::stderr(), &format!("{message}\nUsage: {usage}\n'{program} -h' lists the flags.\n"));
            ExitCode::from(Failure::FlagSyntax.exit_code())
        }
        Err(error) => {
            // A phase may take the end of its program for any failure; what happened is the signal.
            let error = signals::received().unwrap_or(error);
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
/// A reader that went away is no reason to panic.
fn say(mut stream: impl Write, text: &str) {
    let _ = stream.write_all(text.as_bytes());
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
