//! `plan.toml` (platform.md, "plan.toml") and the Buildpack Plan passed to bin/build.

use std::path::Path;

use serde::Deserialize;

use super::build_plan::Require;
use super::group::GroupElement;
use super::node::{Fields, Node};
use super::{toml_in, toml_out};
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Plan {
    pub entries: Vec<PlanEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlanEntry {
    pub providers: Vec<GroupElement>,
    pub requires: Vec<Require>,
}

impl Plan {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file. A missing file is an error.
    pub fn read(path: &Path) -> Result<Self> {
        toml_in::read(path).context("failed to read plan file")
    }

    /// Entries which the buildpack or the extension provides: its Buildpack Plan.
    pub fn requires_for(&self, id: &str, extension: bool) -> Vec<Require> {
        let provides = |entry: &&PlanEntry| entry.providers.iter().any(|p| p.id == id && p.extension == extension);
        self.entries.iter().filter(provides).flat_map(|entry| entry.requires.iter().cloned()).collect()
    }

    /// The plan without entries of which some requirement has one of these names: they are met.
    #[must_use]
    pub fn without(&self, met: &[String]) -> Self {
        let is_open = |entry: &&PlanEntry| !entry.requires.iter().any(|r| met.contains(&r.name));
        Self { entries: self.entries.iter().filter(is_open).cloned().collect() }
    }

    fn to_fields(&self) -> Fields {
        let entry = |entry: &PlanEntry| {
            Fields::new()
                .with("providers", Node::list_or_null(entry.providers.iter().map(GroupElement::to_fields)))
                .with("requires", Node::list_or_null(entry.requires.iter().map(Require::to_fields)))
        };
        Fields::new().with("entries", Node::list_or_null(self.entries.iter().map(entry)))
    }

    /// Without entries the document is empty: 0 bytes.
    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&self.to_fields())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        toml_out::write(path, &self.to_fields()).context("failed to write plan file")
    }
}

/// Writes the Buildpack Plan for bin/build (buildpack.md, "Buildpack Plan").
pub fn write_buildpack_plan(path: &Path, entries: &[Require]) -> Result<()> {
    let entries = Node::list_or_null(entries.iter().map(Require::to_fields));
    toml_out::write(path, &Fields::new().with("entries", entries))
}
