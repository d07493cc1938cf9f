//! `<layers>/<layer>.toml` (buildpack.md, "Layer Content Metadata").

use std::path::Path;

use serde::Deserialize;

use super::node::Fields;
use super::value::Value;
use super::{toml_in, toml_out};
use crate::bail;
use crate::error::Result;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerToml {
    pub build: bool,
    pub launch: bool,
    pub cache: bool,
    /// `[metadata]`, JSON key `data`; `None` is null in JSON.
    pub metadata: Option<Value>,
    /// `[types] load-order`, not checked (layer-protection-and-order.md §5).
    pub load_order: Option<Value>,
    /// `[types] load_order`, the spelling of the proposal's prose.
    pub load_order_alias: Option<Value>,
    /// `load-order` stands outside of `[types]`, in either spelling.
    pub has_misplaced_load_order: bool,
    /// `[types] build-write` (layer-protection-and-order.md §4.3).
    pub build_write: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: Option<Value>,
    types: Types,
    build: Option<Value>,
    launch: Option<Value>,
    cache: Option<Value>,
    #[serde(rename = "load-order")]
    load_order: Option<Value>,
    #[serde(rename = "load_order")]
    load_order_alias: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Types {
    build: bool,
    launch: bool,
    cache: bool,
    #[serde(rename = "load-order")]
    load_order: Option<Value>,
    #[serde(rename = "load_order")]
    load_order_alias: Option<Value>,
    #[serde(rename = "build-write")]
    build_write: Option<Value>,
}

impl LayerToml {
    /// `path` is for errors only.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        Self::from_document(toml_in::parse(text)?, path)
    }

    /// Reads the file; a missing one says that the layer is of no type.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_document(toml_in::read_optional(path)?.unwrap_or_default(), path)
    }

    fn from_document(document: Document, path: &Path) -> Result<Self> {
        let Document { metadata, types, build, launch, cache, load_order, load_order_alias } = document;
        if build.is_some() || launch.is_some() || cache.is_some() {
            bail!("the launch, cache and build flags should be in the types table of {}", path.display());
        }
        Ok(Self {
            build: types.build,
            launch: types.launch,
            cache: types.cache,
            metadata,
            load_order: types.load_order,
            load_order_alias: types.load_order_alias,
            has_misplaced_load_order: load_order.is_some() || load_order_alias.is_some(),
            build_write: types.build_write == Some(Value::Bool(true)),
        })
    }

    /// Only the metadata: the types are for the buildpack to say in each build (buildpack.md, "Layer Types").
    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&Fields::new().with("metadata", self.metadata.as_ref()))
    }

    /// Writes the metadata, see [`Self::to_toml`].
    pub fn write(&self, path: &Path) -> Result<()> {
        toml_out::write(path, &Fields::new().with("metadata", self.metadata.as_ref()))
    }
}
