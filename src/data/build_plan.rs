//! The build plan that bin/detect writes (buildpack.md, "Build Plan").

use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::node::Fields;
use super::toml_in;
use super::value::Table;
use crate::error::Result;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Document")]
pub struct BuildPlan {
    pub sections: PlanSections,
    pub or: Vec<PlanSections>,
}

/// The document's shape; with serde's `flatten` errors would not know their line.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    requires: Vec<Require>,
    #[serde(deserialize_with = "names")]
    provides: Vec<String>,
    or: Vec<PlanSections>,
}

impl From<Document> for BuildPlan {
    fn from(Document { requires, provides, or }: Document) -> Self {
        Self { sections: PlanSections { requires, provides }, or }
    }
}

impl BuildPlan {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file; an empty plan if there is none.
    pub fn read(path: &Path) -> Result<Self> {
        toml_in::read_optional(path).map(Option::unwrap_or_default)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlanSections {
    pub requires: Vec<Require>,
    /// Names.
    #[serde(deserialize_with = "names")]
    pub provides: Vec<String>,
}

/// A list of tables with nothing but a `name`.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        name: String,
    }
    Ok(Vec::<Named>::deserialize(deserializer)?.into_iter().map(|n| n.name).collect())
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Require {
    pub name: String,
    /// Deprecated top-level version; empty if absent.
    pub version: String,
    pub metadata: Option<Table>,
}

impl Require {
    pub(super) fn to_fields(&self) -> Fields {
        Fields::new().with("name", &self.name).with_nonempty("version", &self.version).with("metadata", self.metadata.as_ref())
    }
}
