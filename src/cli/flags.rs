//! The resolved inputs of one command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Failure, Result};
use crate::process::Invocation;

use super::applet::Command;
use super::go_values;
use super::parser::Parsed;
use super::paths;
use super::table::{INPUTS, Input, Kind};

/// Values by the name of the input: command line, even empty, else environment variable, else default. `<layers>` is
/// replaced by the layers directory; directories are absolute.
///
/// Every input of the table has a value in every command. The getters panic for a name that the table does not have: that
/// is a bug, not an input.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    values: BTreeMap<&'static str, Vec<String>>,
    positional: Vec<String>,
}

const LAYERS: &str = "<layers>";
const DEFAULT_ORDER: &str = "<layers>/order.toml";
const BUILDER_ORDER: &str = "/cnb/order.toml";

impl Flags {
    pub fn text(&self, name: &str) -> &str {
        self.values[name].last().map_or("", String::as_str)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.text(name))
    }

    /// `None` if the value is empty.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|t| !t.is_empty())
    }

    /// `None` if the value is empty.
    pub fn optional_path(&self, name: &str) -> Option<PathBuf> {
        self.optional_text(name).map(PathBuf::from)
    }

    pub fn boolean(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Below zero counts as zero.
    pub fn duration(&self, name: &str) -> Duration {
        Duration::from_nanos(go_values::duration(self.text(name)).and_then(|n| n.try_into().ok()).unwrap_or_default())
    }

    /// All values of a repeated flag, comma lists split, empty ones dropped.
    pub fn list(&self, name: &str) -> &[String] {
        &self.values[name]
    }

    pub fn positional(&self) -> &[String] {
        &self.positional
    }

    /// Chooses the value of every input; nothing is checked and no path resolved yet.
    pub fn choose(parsed: &Parsed, invocation: &Invocation) -> Self {
        let values = INPUTS.iter().map(|input| (input.name, choose(input, parsed.values(input.name), invocation))).collect();
        Self { values, positional: parsed.positional.clone() }
    }

    /// Replaces `<layers>` and makes directories absolute. The order file is the builder's unless the platform gave one or
    /// put one into the layers directory.
    pub fn resolve_paths(&mut self, cwd: &Path) {
        let layers = self.text("layers").to_owned();
        // A layers directory explicitly empty leaves names below the working directory.
        let placeholder = if layers.is_empty() { "<layers>/" } else { LAYERS };
        for input in INPUTS.iter().filter(|input| matches!(input.kind, Kind::Path | Kind::Directory)) {
            let Some(value) = self.values.get_mut(input.name).and_then(|values| values.last_mut()) else { continue };
            if input.default.starts_with(LAYERS) && value.contains(LAYERS) {
                let below = value.replacen(placeholder, &layers, 1);
                let falls_back = value == DEFAULT_ORDER && std::fs::metadata(cwd.join(&below)).is_err();
                *value = if falls_back { BUILDER_ORDER.to_owned() } else { below };
            }
            if matches!(input.kind, Kind::Directory) && !value.is_empty() {
                *value = paths::absolute(cwd, value);
            }
        }
    }

    /// Refuses values that our own inputs of `command` cannot have.
    pub fn check(&self, command: Command) -> Result<()> {
        for input in INPUTS.iter().filter(|input| input.concerns(command)) {
            let value = self.text(input.name);
            let good = match input.kind {
                Kind::StrictSwitch if !matches!(value, "true" | "false" | "") => "`true` or `false`",
                Kind::Checked { good, check } if !value.is_empty() && !check(value) => good,
                _ => continue,
            };
            let flag = if input.flag.is_empty() { String::new() } else { format!("-{}, ", input.name) };
            let names = format!("{flag}{}", input.variables.join(", "));
            return Err(
                Error::new(format!("{value:?} is no value of {names}: it must be {good}")).or_failure(Failure::InvalidArguments)
            );
        }
        Ok(())
    }
}

fn choose(input: &Input, given: Vec<String>, invocation: &Invocation) -> Vec<String> {
    let set = || input.variables.iter().filter_map(|name| invocation.non_empty_var(name));
    if let Kind::List = input.kind {
        // The command line adds to the variable, as in the reference.
        let items = set().chain(given.iter().map(String::as_str)).flat_map(|list| list.split(','));
        return items.filter(|item| !item.is_empty()).map(str::to_owned).collect();
    }
    if let Some(last) = given.into_iter().next_back() {
        return vec![last];
    }
    let value = match input.kind {
        Kind::Switch => set().any(|value| go_values::boolean(value) == Some(true)).to_string(),
        Kind::StrictSwitch => {
            set().next().map_or_else(|| "false".into(), |v| go_values::boolean(v).map_or(v.into(), |b| b.to_string()))
        }
        Kind::Integer => set().next().map_or(input.default.into(), |v| go_values::decimal(v).unwrap_or(0).to_string()),
        Kind::Duration => set().next().filter(|v| go_values::duration(v).is_some()).unwrap_or(input.default).into(),
        Kind::Text | Kind::Path | Kind::Directory | Kind::Checked { .. } | Kind::List => {
            set().next().unwrap_or(input.default).into()
        }
    };
    vec![value]
}
