//! clap's view of a command: look-up of values by flag.

use clap::{Arg, ArgAction, ArgMatches};

use crate::api::PlatformApi;

use super::applet::Command;
use super::help;
use super::normalise::{CommandLine, Stop, normalise};
use super::table::{INPUTS, Input};

/// What the command line says about one command.
#[derive(Debug)]
pub struct Parsed {
    matches: ArgMatches,
    pub positional: Vec<String>,
}

impl Parsed {
    /// The values of a flag in the order given; empty if it is not there.
    pub fn values(&self, name: &str) -> Vec<String> {
        // The command may not know the flag under this Platform API.
        self.matches.try_get_many::<String>(name).ok().flatten().map(|v| v.cloned().collect()).unwrap_or_default()
    }
}

/// Reads the command line of `command`.
pub fn parse(command: Command, api: PlatformApi, arguments: &[String]) -> Result<Parsed, Stop> {
    let flag = |name: &str| known(command, api).find(|input| input.name == name);
    let CommandLine { flags, positional } = normalise(flag, arguments).map_err(|stop| match stop {
        Stop::Unknown(name) => Stop::Syntax(unknown(command, api, &name)),
        stop => stop,
    })?;
    let matches = parser(command, api)
        .try_get_matches_from(std::iter::once(command.program().to_owned()).chain(flags))
        .map_err(|error| Stop::Syntax(error.to_string()))?;
    Ok(Parsed { matches, positional })
}

fn unknown(command: Command, api: PlatformApi, name: &str) -> String {
    let message = format!("flag provided but not defined: -{name}");
    match INPUTS.iter().find(|input| input.name == name).and_then(|input| help::range(command, input)) {
        Some(range) => format!("{message} (known under Platform API {range}, CNB_PLATFORM_API is {api})"),
        None => message,
    }
}

fn parser(command: Command, api: PlatformApi) -> clap::Command {
    known(command, api).fold(clap::Command::new(command.program()).disable_help_flag(true), |parser, input| {
        parser.arg(Arg::new(input.name).long(input.name).action(ArgAction::Append).num_args(1).allow_hyphen_values(true))
    })
}

/// The flags of `command` under `api`.
pub fn known(command: Command, api: PlatformApi) -> impl Iterator<Item = &'static Input> {
    INPUTS.iter().filter(move |input| input.is_flag_of(command, api))
}
