//! Lists of execution environments (buildpack.md, "exec-env").

use serde::{Deserialize, Deserializer};

/// A list of names, or of tables with a `name` as the specification shows it: `[[buildpack.exec-env]] name = "test"`.
pub(crate) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "invalid type, expected a string or a table with a name")]
    enum Entry {
        Name(String),
        Table { name: String },
    }
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    Ok(entries.into_iter().map(|(Entry::Name(name) | Entry::Table { name })| name).collect())
}

/// Whether something with these environments is for this one: an empty list and `*` mean all.
pub fn matches(names: &[String], exec_env: &str) -> bool {
    names.is_empty() || names.iter().any(|n| n == "*" || n == exec_env)
}
