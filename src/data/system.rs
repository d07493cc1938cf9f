//! `system.toml` (platform.md, "system.toml").

use std::path::Path;

use serde::Deserialize;
use tracing::debug;

use super::toml_in;
use crate::error::{Context, Result};

/// Buildpacks that the builder puts before and after every group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    pub pre: Vec<SystemBuildpack>,
    pub post: Vec<SystemBuildpack>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SystemBuildpack {
    pub id: String,
    pub version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    system: Sections,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sections {
    pre: Section,
    post: Section,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    buildpacks: Vec<SystemBuildpack>,
}

impl From<Document> for System {
    fn from(Document { system }: Document) -> Self {
        Self { pre: system.pre.buildpacks, post: system.post.buildpacks }
    }
}

impl System {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse::<Document>(text).map(Into::into)
    }

    /// Reads the file. A missing file means that there are no system buildpacks.
    pub fn read(path: &Path) -> Result<Self> {
        let document = toml_in::read_optional::<Document>(path).context("failed to read system file")?;
        if document.is_none() {
            debug!("No system buildpacks found at path \"{}\"", path.display());
        }
        Ok(document.unwrap_or_default().into())
    }
}
