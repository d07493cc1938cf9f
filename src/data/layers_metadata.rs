//! The label `io.buildpacks.lifecycle.metadata` and its copy in analyzed.toml.
//!
//! Both have the same keys but two: `runImage` and `data` of the label are `run-image` and `metadata` in TOML.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::layer_toml::LayerToml;
use super::node::{Fields, Node};
use super::run::RunImageForExport;
use super::store::StoreToml;
use super::value::Value;
use super::{json_out, toml_in};
use crate::error::Result;

/// platform.md, "io.buildpacks.lifecycle.metadata".
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LayersMetadata {
    pub app: Vec<LayerSha>,
    pub sbom: Option<LayerSha>,
    pub buildpacks: Vec<BuildpackLayersMetadata>,
    pub config: LayerSha,
    pub launcher: LayerSha,
    #[serde(rename = "process-types")]
    pub process_types: LayerSha,
    #[serde(rename = "run-image", alias = "runImage")]
    pub run_image: RunImageForRebase,
    pub stack: Option<Stack>,
}

/// Which keys to use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Json,
}

impl LayersMetadata {
    pub fn buildpack(&self, id: &str) -> Option<&BuildpackLayersMetadata> {
        self.buildpacks.iter().find(|b| b.id == id)
    }

    /// Decodes the label. An `app` that is not a list of layers is an error; the rebaser reads
    /// [`LayersMetadataCompat`] instead.
    pub fn from_json(label: &str) -> Result<Self> {
        toml_in::parse_json(label)
    }

    /// The label.
    pub fn to_json(&self) -> Result<String> {
        json_out::to_string(&Node::from(self.to_fields(Format::Json)))
    }

    pub(super) fn to_fields(&self, format: Format) -> Fields {
        let list = Node::list_or_null(self.app.iter().map(LayerSha::to_fields));
        self.to_fields_with_app(list, format)
    }

    fn to_fields_with_app(&self, app: Node, format: Format) -> Fields {
        let run_image = if format == Format::Json { "runImage" } else { "run-image" };
        Fields::new()
            .with("app", app)
            .with_nonempty("sbom", self.sbom.as_ref().map(LayerSha::to_fields))
            .with("buildpacks", Node::list_or_null(self.buildpacks.iter().map(|b| b.to_fields(format))))
            .with("config", self.config.to_fields())
            .with("launcher", self.launcher.to_fields())
            .with("process-types", self.process_types.to_fields())
            .with(run_image, self.run_image.to_fields(format))
            .with_nonempty("stack", self.stack.as_ref().map(|s| Fields::new().with(run_image, s.run_image.to_fields())))
    }
}

/// The label with an `app` of any form: old images have an object there. For the rebaser, which must pass it on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayersMetadataCompat {
    pub app: Option<Value>,
    /// Its `app` is empty and not used.
    pub rest: LayersMetadata,
}

impl LayersMetadataCompat {
    pub fn from_json(label: &str) -> Result<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct App {
            app: Option<Value>,
        }
        let App { app } = toml_in::parse_json(label)?;
        let rest = toml_in::parse_json_without(label, "app")?;
        Ok(Self { app, rest })
    }

    pub fn to_json(&self) -> Result<String> {
        let app = self.app.as_ref().map_or(Node::Null, Node::from);
        json_out::to_string(&Node::from(self.rest.to_fields_with_app(app, Format::Json)))
    }
}

/// A diffID as text; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LayerSha {
    pub sha: String,
}

impl LayerSha {
    pub(super) fn to_fields(&self) -> Fields {
        Fields::new().with("sha", &self.sha)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "ReadBuildpackLayersMetadata")]
pub struct BuildpackLayersMetadata {
    /// JSON and TOML key: `key`.
    pub id: String,
    pub version: String,
    pub layers: BTreeMap<String, LayerMetadata>,
    /// The document that was read has no such table, and a copy of it has none either.
    pub layers_absent: bool,
    /// Content of store.toml; left out if absent.
    pub store: Option<StoreToml>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadBuildpackLayersMetadata {
    key: String,
    version: String,
    layers: Option<BTreeMap<String, LayerMetadata>>,
    store: Option<StoreToml>,
}

impl From<ReadBuildpackLayersMetadata> for BuildpackLayersMetadata {
    fn from(ReadBuildpackLayersMetadata { key, version, layers, store }: ReadBuildpackLayersMetadata) -> Self {
        Self { id: key, version, layers_absent: layers.is_none(), layers: layers.unwrap_or_default(), store }
    }
}

impl BuildpackLayersMetadata {
    pub(super) fn to_fields(&self, format: Format) -> Fields {
        let layers: Fields = self.layers.iter().map(|(name, layer)| (name.clone(), layer.to_fields(format))).collect();
        let absent = self.layers_absent && self.layers.is_empty();
        Fields::new()
            .with("key", &self.id)
            .with("version", &self.version)
            .with("layers", if absent { Node::Null } else { layers.into() })
            .with_store(self.store.as_ref())
    }
}

impl Fields {
    /// `"store":{"metadata":null}` is written for an empty store.toml, nothing if there was none.
    fn with_store(self, store: Option<&StoreToml>) -> Self {
        match store {
            Some(store) => self.with("store", store.to_fields()),
            None => self,
        }
    }
}

/// A layer's diffID and the content of its `<layer>.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "FlatLayerMetadata")]
pub struct LayerMetadata {
    pub sha: String,
    pub file: LayerToml,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FlatLayerMetadata {
    sha: String,
    #[serde(alias = "data")]
    metadata: Option<Value>,
    build: bool,
    launch: bool,
    cache: bool,
}

impl From<FlatLayerMetadata> for LayerMetadata {
    fn from(FlatLayerMetadata { sha, metadata, build, launch, cache }: FlatLayerMetadata) -> Self {
        Self { sha, file: LayerToml { build, launch, cache, metadata, ..LayerToml::default() } }
    }
}

impl LayerMetadata {
    fn to_fields(&self, format: Format) -> Fields {
        let data = if format == Format::Json { "data" } else { "metadata" };
        Fields::new()
            .with("sha", &self.sha)
            .with(data, self.file.metadata.as_ref())
            .with("build", self.file.build)
            .with("launch", self.file.launch)
            .with("cache", self.file.cache)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "FlatRunImageForRebase")]
pub struct RunImageForRebase {
    /// JSON key `topLayer`.
    pub top_layer: String,
    pub reference: String,
    /// Fields inline: `image`, `mirrors`.
    pub export: RunImageForExport,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FlatRunImageForRebase {
    #[serde(rename = "top-layer", alias = "topLayer")]
    top_layer: String,
    reference: String,
    image: String,
    mirrors: Vec<String>,
}

impl From<FlatRunImageForRebase> for RunImageForRebase {
    fn from(FlatRunImageForRebase { top_layer, reference, image, mirrors }: FlatRunImageForRebase) -> Self {
        Self { top_layer, reference, export: RunImageForExport { image, mirrors } }
    }
}

impl RunImageForRebase {
    fn to_fields(&self, format: Format) -> Fields {
        let top_layer = if format == Format::Json { "topLayer" } else { "top-layer" };
        Fields::new().with(top_layer, &self.top_layer).with("reference", &self.reference).with_all(self.export.to_fields())
    }

    /// As shown in log lines and errors.
    pub fn to_json(&self) -> Result<String> {
        json_out::to_string(&Node::from(self.to_fields(Format::Json)))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// JSON key `runImage`.
    #[serde(rename = "run-image", alias = "runImage")]
    pub run_image: RunImageForExport,
}
