//! `group.toml` (platform.md, "group.toml").

use std::path::Path;

use serde::Deserialize;

use super::node::{Fields, Node};
use super::{toml_in, toml_out};
use crate::error::{Context, Result};

/// The buildpacks and extensions that passed detection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Group {
    pub group: Vec<GroupElement>,
    #[serde(rename = "group-extensions")]
    pub extensions: Vec<GroupElement>,
}

impl Group {
    /// Extensions are marked as such, and as optional.
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text).map(Self::with_marked_extensions)
    }

    /// Reads the file. A missing file is an error.
    pub fn read(path: &Path) -> Result<Self> {
        toml_in::read(path).map(Self::with_marked_extensions).context("failed to read group file")
    }

    fn with_marked_extensions(mut self) -> Self {
        for extension in &mut self.extensions {
            extension.extension = true;
            extension.optional = true;
        }
        self
    }

    /// Extensions are not marked: their table says it.
    fn to_fields(&self) -> Fields {
        let extensions = self.extensions.iter().map(|e| GroupElement { extension: false, optional: false, ..e.clone() });
        Fields::new()
            .with("group", Node::list_or_null(self.group.iter().map(GroupElement::to_fields)))
            .with_nonempty("group-extensions", Node::list(extensions.map(|e| e.to_fields())))
    }

    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&self.to_fields())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        toml_out::write(path, &self.to_fields()).context("failed to write group file")
    }
}

/// A buildpack or an extension in an order or a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GroupElement {
    pub id: String,
    pub version: String,
    /// Buildpack API as written in its descriptor; group.toml only.
    pub api: String,
    /// group.toml only.
    pub homepage: String,
    pub extension: bool,
    pub optional: bool,
    /// Execution environments of an order's element (buildpack.md, "order.group.exec-env"); empty means any.
    #[serde(rename = "exec-env", deserialize_with = "super::exec_env::names")]
    pub exec_env: Vec<String>,
}

impl GroupElement {
    /// As in group.toml, plan.toml and metadata.toml.
    pub(super) fn to_fields(&self) -> Fields {
        Fields::new()
            .with("id", &self.id)
            .with("version", &self.version)
            .with_nonempty("api", &self.api)
            .with_nonempty("homepage", &self.homepage)
            .with_nonempty("extension", self.extension)
            .with_nonempty("optional", self.optional)
    }

    /// As in labels: without API.
    pub(super) fn to_json_fields(&self) -> Fields {
        Fields::new()
            .with("id", &self.id)
            .with("version", &self.version)
            .with_nonempty("homepage", &self.homepage)
            .with_nonempty("optional", self.optional)
    }
}

impl std::fmt::Display for GroupElement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}
