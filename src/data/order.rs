//! `order.toml` (platform.md, "order.toml") and `[[order]]` of buildpack.toml.

use std::path::Path;

use serde::Deserialize;

use super::group::GroupElement;
use super::toml_in;
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub groups: Vec<Vec<GroupElement>>,
    /// All elements are marked as extensions and as optional.
    pub extension_groups: Vec<Vec<GroupElement>>,
}

/// One `[[order]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderEntry {
    pub(crate) group: Vec<GroupElement>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    order: Vec<OrderEntry>,
    #[serde(rename = "order-extensions")]
    order_extensions: Vec<OrderEntry>,
}

impl From<Document> for Order {
    fn from(document: Document) -> Self {
        let mark = |e: GroupElement| GroupElement { extension: true, optional: true, ..e };
        Self {
            groups: document.order.into_iter().map(|o| o.group).collect(),
            extension_groups: document.order_extensions.into_iter().map(|o| o.group.into_iter().map(mark).collect()).collect(),
        }
    }
}

impl Order {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse::<Document>(text).map(Into::into)
    }

    /// Reads the file. A missing file is an error.
    pub fn read(path: &Path) -> Result<Self> {
        toml_in::read::<Document>(path).map(Into::into).context("failed to read order file")
    }
}
