//! `run.toml` and `stack.toml` (platform.md).

use std::path::Path;

use serde::Deserialize;
use tracing::info;

use super::node::{Fields, Node};
use super::{json_out, toml_in};
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunToml {
    pub images: Vec<RunImageForExport>,
}

impl RunToml {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file. A missing file holds no images.
    pub fn read(path: &Path) -> Result<Self> {
        let document = toml_in::read_optional(path).context("failed to read run file")?;
        if document.is_none() {
            info!("No run metadata found at path \"{}\"", path.display());
        }
        Ok(document.unwrap_or_default())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StackToml {
    /// JSON key `runImage`.
    #[serde(rename = "run-image", alias = "runImage")]
    pub run_image: RunImageForExport,
}

impl StackToml {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file. A missing file names no image.
    pub fn read(path: &Path) -> Result<Self> {
        let document = toml_in::read_optional(path).context("failed to read stack file")?;
        if document.is_none() {
            info!("No stack metadata found at path \"{}\"", path.display());
        }
        Ok(document.unwrap_or_default())
    }
}

/// A run image and where else it can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunImageForExport {
    pub image: String,
    pub mirrors: Vec<String>,
}

impl RunImageForExport {
    pub(super) fn to_fields(&self) -> Fields {
        Fields::new().with_nonempty("image", &self.image).with_nonempty("mirrors", &self.mirrors)
    }

    /// As shown in log lines and errors.
    pub fn to_json(&self) -> Result<String> {
        json_out::to_string(&Node::from(self.to_fields()))
    }
}
