//! Metadata of a cache: the volume cache's `io.buildpacks.lifecycle.cache.metadata` file and the cache image's label.

use serde::Deserialize;

use super::layers_metadata::{BuildpackLayersMetadata, Format, LayerSha};
use super::node::{Fields, Node};
use super::{json_out, toml_in};
use crate::error::Result;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CacheMetadata {
    pub sbom: LayerSha,
    pub buildpacks: Vec<BuildpackLayersMetadata>,
}

impl CacheMetadata {
    pub fn buildpack(&self, id: &str) -> Option<&BuildpackLayersMetadata> {
        self.buildpacks.iter().find(|b| b.id == id)
    }

    pub fn from_json(text: &str) -> Result<Self> {
        toml_in::parse_json(text)
    }

    pub fn to_json(&self) -> Result<String> {
        let fields = Fields::new()
            .with("sbom", self.sbom.to_fields())
            .with("buildpacks", Node::list_or_null(self.buildpacks.iter().map(|b| b.to_fields(Format::Json))));
        json_out::to_string(&Node::from(fields))
    }
}
