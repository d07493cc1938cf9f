//! `store.toml` (buildpack.md, "store.toml").

use std::path::Path;

use serde::Deserialize;

use super::node::Fields;
use super::value::Table;
use super::{toml_in, toml_out};
use crate::error::Result;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StoreToml {
    pub metadata: Option<Table>,
}

impl StoreToml {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        toml_in::read_optional(path)
    }

    pub(super) fn to_fields(&self) -> Fields {
        Fields::new().with("metadata", self.metadata.as_ref())
    }

    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&self.to_fields())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        toml_out::write(path, &self.to_fields())
    }
}
