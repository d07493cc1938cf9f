//! `project-metadata.toml` and the label `io.buildpacks.project.metadata`.

use std::path::Path;

use serde::Deserialize;
use tracing::debug;

use super::node::{Fields, Node};
use super::value::Table;
use super::{json_out, toml_in};
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProjectMetadata {
    pub source: Option<ProjectSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProjectSource {
    #[serde(rename = "type")]
    pub kind: String,
    pub version: Option<Table>,
    pub metadata: Option<Table>,
}

impl ProjectMetadata {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file. A missing file is no metadata.
    pub fn read(path: &Path) -> Result<Self> {
        let document = toml_in::read_optional(path).context("failed to read project metadata file")?;
        if document.is_none() {
            debug!("No project metadata found at path \"{}\", project metadata will not be exported", path.display());
        }
        Ok(document.unwrap_or_default())
    }

    /// The label.
    pub fn to_json(&self) -> Result<String> {
        let source = |source: &ProjectSource| {
            Fields::new()
                .with_nonempty("type", &source.kind)
                .with_nonempty("version", source.version.as_ref())
                .with_nonempty("metadata", source.metadata.as_ref())
        };
        let source = self.source.as_ref().map(|s| Node::from(source(s)));
        let fields = source.into_iter().fold(Fields::new(), |fields, source| fields.with("source", source));
        json_out::to_string(&Node::from(fields))
    }
}
