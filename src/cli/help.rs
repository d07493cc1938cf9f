//! `-h` of a command and `lifecycle --help`.

use clap::{Arg, ArgAction};

use crate::api::PlatformApi;

use super::applet::Command;
use super::parser::known;
use super::table::{Group, INPUTS, Input, Kind};
use super::variables::VARIABLES;

/// The flags of `command` under `api`, grouped, with variables, defaults and the Platform APIs that know them; then the
/// inputs that have only a variable.
pub fn of_command(command: Command, api: PlatformApi) -> String {
    let parser = known(command, api).fold(
        clap::Command::new(command.program())
            .about(about(command))
            .override_usage(usage(command))
            .disable_help_flag(true)
            .max_term_width(120)
            .after_help(after(command, api)),
        |parser, input| parser.arg(argument(command, input)),
    );
    { parser }.render_help().to_string().lines().map(|line| one_dash(line) + "\n").collect()
}

/// Go's flags have one dash and no short form to leave room for.
fn one_dash(line: &str) -> String {
    match line.strip_prefix("      --") {
        Some(flag) => format!("  -{flag}"),
        // A text that is continued stays below its beginning.
        None => line.strip_prefix("     ").filter(|rest| rest.starts_with("      ")).unwrap_or(line).to_owned(),
    }
}

/// `analyzer [flags] <image>`
pub fn usage(command: Command) -> String {
    let arguments = match command {
        Command::Analyze | Command::Create => " <image>",
        Command::Export | Command::Rebase => " <image> [<image>...]",
        Command::Detect | Command::Restore | Command::Extend | Command::Build => "",
    };
    format!("{} [flags]{arguments}", command.program())
}

/// What the program is and which commands it has.
pub fn of_program() -> String {
    let mut text = String::from(
        "Turns source code into an OCI image with Cloud Native Buildpacks.\n\n\
         Usage: lifecycle <phase> [flags] [arguments], or a link named as the program of a phase\n\n\
         Phases:\n",
    );
    let phases = Command::ALL.map(|c| (c.phase(), c.program(), about(c)));
    let launch = ("launch", "launcher", "Start a process of an app image");
    for (phase, program, about) in phases.into_iter().chain([launch]) {
        text.push_str(&format!("  {phase:8} {program:9} {about}\n"));
    }
    let (first, last) = (PlatformApi::SUPPORTED[0], PlatformApi::latest());
    text.push_str(&format!(
        "\n`lifecycle <phase> -h` lists a phase's flags and variables, `lifecycle -version` prints the version.\n\
         The launcher has no flags: `launcher -- <command> [arguments]` starts a program, without `--` through bash, and a link\n\
         to it that is named as a process type starts that process.\n\
         CNB_PLATFORM_API must hold the Platform API version of the platform: {first} to {last}.\n"
    ));
    text
}

fn about(command: Command) -> &'static str {
    match command {
        Command::Analyze => "Check access to the images of a build and read what the previous image holds",
        Command::Detect => "Find the group of buildpacks for an app and their build plan",
        Command::Restore => "Bring back layers and their metadata from cache and previous image",
        Command::Extend => "Apply the Dockerfiles of image extensions to build or run image",
        Command::Build => "Run the buildpacks of the group",
        Command::Export => "Write the app image and the cache",
        Command::Create => "Analyze, detect, restore, build and export in one process",
        Command::Rebase => "Put an app image on a new run image",
    }
}

fn argument(command: Command, input: &'static Input) -> Arg {
    let argument = Arg::new(input.name).long(input.name).help(description(command, input)).help_heading(input.group.heading());
    match input.kind {
        Kind::Switch | Kind::StrictSwitch => argument.action(ArgAction::SetTrue),
        Kind::Path | Kind::Directory => argument.value_name("path"),
        Kind::Integer => argument.value_name("number"),
        Kind::Duration => argument.value_name("duration"),
        Kind::Text | Kind::List | Kind::Checked { .. } => argument.value_name(match input.group {
            Group::Images | Group::Caches => "image",
            Group::Stores => "host",
            _ => "text",
        }),
    }
}

fn description(command: Command, input: &Input) -> String {
    let mut text = meaning(input);
    if !input.default.is_empty() {
        text.push_str(&format!(" [default: {}]", input.default));
    }
    if !input.variables.is_empty() {
        text.push_str(&format!(" [env: {}]", input.variables.join(", ")));
    }
    if let Some(range) = range(command, input) {
        text.push_str(&format!(" [Platform API {range}]"));
    }
    text
}

fn meaning(input: &Input) -> String {
    match input.kind {
        Kind::Checked { good, .. } => format!("{}: {}", input.help, good.replace('`', "")),
        _ => input.help.to_owned(),
    }
}

/// Which Platform APIs know the flag; `None` if all do, or none.
pub fn range(command: Command, input: &Input) -> Option<String> {
    let mut apis = PlatformApi::SUPPORTED.iter().filter_map(|&v| PlatformApi::supported(v));
    let first = apis.find(|&api| input.is_flag_of(command, api))?;
    let until = apis.find(|&api| !input.is_flag_of(command, api));
    match (first.version() == PlatformApi::SUPPORTED[0], until) {
        (true, None) => None,
        (false, None) => Some(format!("{first} and later")),
        (_, Some(end)) => Some(format!("below {end}")),
    }
}

fn after(command: Command, api: PlatformApi) -> String {
    let mut text = String::new();
    for input in INPUTS.iter().filter(|input| input.variable_of.contains(&command)) {
        let heading = if text.is_empty() { "Only by variable:\n" } else { "" };
        let default = if input.default.is_empty() { String::new() } else { format!(" [default: {}]", input.default) };
        text.push_str(&format!("{heading}  {}\n          {}{default}\n", input.variables.join(", "), meaning(input)));
    }
    text.push_str("\nAlso read:\n");
    for variables in VARIABLES.iter().filter(|variables| variables.commands.contains(&command)) {
        text.push_str(&format!("  {}\n          {}\n", variables.names.join(", "), variables.help));
    }
    let (first, last) = (PlatformApi::SUPPORTED[0], PlatformApi::latest());
    text.push_str(&format!(
        "\nThese are the flags of Platform API {api}; CNB_PLATFORM_API names the platform's version: {first} to {last}."
    ));
    text
}
