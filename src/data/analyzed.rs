//! `analyzed.toml` (platform.md, "analyzed.toml").

use std::path::Path;

use serde::{Deserialize, Deserializer};
use tracing::{debug, warn};

use super::layers_metadata::{Format, LayersMetadata};
use super::node::{Fields, Node};
use super::target::TargetMetadata;
use super::{json_out, toml_in, toml_out};
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Analyzed {
    /// Reference of the previous image, absent if there is none. Key `image.reference`.
    #[serde(rename = "image", deserialize_with = "reference")]
    pub previous_image: Option<String>,
    /// Reference of the build image, if extensions may extend it. Key `build-image.reference`.
    #[serde(rename = "build-image", deserialize_with = "reference")]
    pub build_image: Option<String>,
    /// What the previous image's label says about its layers.
    pub metadata: LayersMetadata,
    #[serde(rename = "run-image")]
    pub run_image: Option<RunImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunImage {
    pub reference: String,
    /// Name as given by the platform or by extensions; written only if not empty.
    pub image: String,
    /// The run image is to be extended by `extender -kind run`.
    pub extend: bool,
    pub target: Option<TargetMetadata>,
}

fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ImageIdentifier {
        reference: String,
    }
    ImageIdentifier::deserialize(deserializer).map(|i| Some(i.reference))
}

impl Analyzed {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file. A missing file says nothing about any image.
    pub fn read(path: &Path) -> Result<Self> {
        let document = toml_in::read_optional(path).context("failed to read analyzed file")?;
        if document.is_none() {
            warn!("No analyzed metadata found at path \"{}\"", path.display());
        }
        Ok(document.unwrap_or_default())
    }

    /// Target data of the run image; all empty if there is none.
    pub fn run_image_target(&self) -> TargetMetadata {
        self.run_image.as_ref().and_then(|r| r.target.clone()).unwrap_or_default()
    }

    fn to_fields(&self) -> Fields {
        let identifier = |r: &Option<String>| Node::from(r.as_ref().map(|r| Fields::new().with("reference", r)));
        Fields::new()
            .with("image", identifier(&self.previous_image))
            .with("build-image", identifier(&self.build_image))
            .with("metadata", self.metadata.to_fields(Format::Toml))
            .with("run-image", self.run_image.as_ref().map(RunImage::to_fields))
    }

    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&self.to_fields())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        debug!("Run image info in analyzed metadata is: ");
        debug!("{}", self.run_image.as_ref().map_or(Ok("null".to_owned()), RunImage::to_log_json)?);
        toml_out::write(path, &self.to_fields()).context("failed to write analyzed file")
    }
}

impl RunImage {
    fn to_fields(&self) -> Fields {
        Fields::new()
            .with("reference", &self.reference)
            .with_nonempty("image", &self.image)
            .with_nonempty("extend", self.extend)
            .with("target", self.target.as_ref().map(TargetMetadata::to_fields))
    }

    /// As the reference shows it in log lines.
    pub fn to_log_json(&self) -> Result<String> {
        let fields = Fields::new()
            .with("Reference", &self.reference)
            .with("Image", &self.image)
            .with("Extend", self.extend)
            .with_nonempty("target", self.target.as_ref().map(TargetMetadata::to_fields));
        json_out::to_string(&Node::from(fields))
    }
}
