//! `<layers>/<layer>.toml` (buildpack.md, "Layer Content Metadata").

use super::value::Value;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerToml {
    pub build: bool,
    pub launch: bool,
    pub cache: bool,
    /// `[metadata]`, JSON key `data`; `None` is null in JSON.
    pub metadata: Option<Value>,
    /// `[types] load-order`, not checked (layer-protection-and-order.md §5).
    pub load_order: Option<Value>,
    /// `[types] build-write` (layer-protection-and-order.md §4.3).
    pub build_write: bool,
}
