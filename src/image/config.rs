//! Image configs (OCI image spec, "config.md").

use serde_json::Value;

/// A config as it was read, unknown fields and order kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig {
    pub json: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub created: String,
    pub created_by: String,
    pub empty_layer: bool,
}
