//! The resolved flags of one command.

use std::path::PathBuf;

/// Values by flag name: command line, else environment variable, else default (compatibility.md §1). `<layers>` in a
/// default is already replaced by the layers directory; directories are absolute.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    values: std::collections::BTreeMap<&'static str, Vec<String>>,
    positional: Vec<String>,
}

/// Every getter panics if the table has no such flag for this command: that is a bug, not an input.
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

    /// All values of a repeated flag, comma lists split, empty ones dropped.
    pub fn list(&self, name: &str) -> &[String] {
        &self.values[name]
    }

    pub fn positional(&self) -> &[String] {
        &self.positional
    }
}

/// The words for "true" of Go's `strconv.ParseBool`.
pub(super) fn is_true(text: &str) -> bool {
    parse_boolean(text) == Some(true)
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
