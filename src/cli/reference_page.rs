//! docs/inputs.md, the table for people; a test keeps the page equal to the table.

use super::applet::Command;
use super::help;
use super::table::{INPUTS, Input, Kind};
use super::variables::VARIABLES;

fn page() -> String {
    let mut text = String::from(
        "# Inputs\n\n\
         All flags and variables, made from `src/cli/table.rs` (`SNAPSHOTS=overwrite cargo test reference_page` writes this\n\
         page). A flag on the command line, even an empty one, wins over its variable, that over the default. An empty\n\
         variable counts as unset. Flags have Go's syntax: `-name value`, `-name=value`, one dash or two; switches stand alone\n\
         or take `=true` or `=false`; flags end at the first argument.\n\n\
         `<layers>` is the layers directory. Where a command has no flag, the variable still counts. `(0.12+)`: from this\n\
         Platform API on; a command without such a note knows the flag under every Platform API.\n",
    );
    let mut heading = "";
    for input in INPUTS {
        if input.group.heading() != heading {
            heading = input.group.heading();
            text.push_str(&format!(
                "\n## {heading}\n\n| flag | variable | default | commands | meaning |\n|---|---|---|---|---|\n"
            ));
        }
        text.push_str(&row(input));
    }
    text.push_str(
        "\n## Other variables\n\n\
         `CNB_PLATFORM_API` names the version of the Platform API and is needed by every command. Credentials and certificates:\n\
         [registries.md](registries.md). The launcher reads `CNB_PLATFORM_API`, `CNB_LAYERS_DIR` and `CNB_APP_DIR`, which the\n\
         exporter sets in the image, and `CNB_EXEC_ENV` (default `production`) and `CNB_NO_COLOR`.\n\n\
         | variable | commands | meaning |\n|---|---|---|\n",
    );
    for variables in VARIABLES {
        let names: Vec<String> = variables.names.iter().map(|name| format!("`{name}`")).collect();
        let commands: Vec<&str> = variables.commands.iter().map(|command| command.program()).collect();
        text.push_str(&format!("| {} | {} | {} |\n", names.join(", "), commands.join(", "), variables.help));
    }
    text
}

fn row(input: &Input) -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let flag = if input.flag.is_empty() { String::new() } else { code(&format!("-{}", input.name)) };
    let variables: Vec<String> = input.variables.iter().map(|name| code(name)).collect();
    let commands: Vec<String> = Command::ALL.into_iter().filter(|&c| input.concerns(c)).map(|c| command(input, c)).collect();
    let commands = if commands.len() == Command::ALL.len() { "all".into() } else { commands.join(", ") };
    let good = match input.kind {
        Kind::Checked { good, .. } => format!("; {good}"),
        Kind::StrictSwitch => "; `true` or `false`".into(),
        _ => String::new(),
    };
    let default = code(input.default);
    format!("| {flag} | {} | {default} | {commands} | {}{good} |\n", variables.join(", "), input.help)
}

fn command(input: &Input, command: Command) -> String {
    match help::range(command, input) {
        Some(range) => format!("{} ({})", command.program(), range.replace(" and later", "+")),
        None => command.program().to_owned(),
    }
}

#[test]
fn the_page_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/inputs.md");
    snapbox::assert_data_eq!(page(), snapbox::Data::read_from(&path, None));
}
