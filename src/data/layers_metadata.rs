//! The label `io.buildpacks.lifecycle.metadata` and its copy in analyzed.toml.

use std::collections::BTreeMap;

use super::layer_toml::LayerToml;
use super::run::RunImageForExport;
use super::value::Table;

/// platform.md, "io.buildpacks.lifecycle.metadata".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayersMetadata {
    pub app: Vec<LayerSha>,
    pub sbom: Option<LayerSha>,
    pub buildpacks: Vec<BuildpackLayersMetadata>,
    pub config: LayerSha,
    pub launcher: LayerSha,
    pub process_types: LayerSha,
    pub run_image: RunImageForRebase,
    pub stack: Option<Stack>,
}

impl LayersMetadata {
    pub fn buildpack(&self, id: &str) -> Option<&BuildpackLayersMetadata> {
        self.buildpacks.iter().find(|b| b.id == id)
    }
}

/// A diffID as text; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSha {
    pub sha: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildpackLayersMetadata {
    /// JSON and TOML key: `key`.
    pub id: String,
    pub version: String,
    pub layers: BTreeMap<String, LayerMetadata>,
    /// `[metadata]` of store.toml. JSON: `"store":{"metadata":{…}}`, left out if absent.
    pub store: Option<Option<Table>>,
}

/// A layer's diffID and the content of its `<layer>.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerMetadata {
    pub sha: String,
    pub file: LayerToml,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunImageForRebase {
    pub top_layer: String,
    pub reference: String,
    /// Fields inline: `image`, `mirrors`.
    pub export: RunImageForExport,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    pub run_image: RunImageForExport,
}
