//! Whether an image of the daemon is the one that was meant.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tracing::debug;

use super::api::Engine;
use super::config;
use crate::error::Result;
use crate::image::ImageConfig;

/// Whether the daemon's image is the one with this config, as far as the daemon tells of it.
pub fn is_same(engine: &Engine, inspect: &Value, config: &[u8]) -> bool {
    let same = || -> Result<bool> {
        let wanted = ImageConfig::parse(config)?;
        let history = engine.history(inspect["Id"].as_str().unwrap_or_default())?;
        let found = config::image_config(inspect, &history)?;
        let created_by = |config: &ImageConfig| config.history().into_iter().map(|entry| entry.created_by).collect::<Vec<_>>();
        let section = |config: &ImageConfig| -> BTreeMap<String, Value> {
            let section = config.json["config"].as_object();
            let filled = |value: &Value| !(value.is_null() || *value == json!({}) || *value == json!([]) || *value == json!(""));
            section.into_iter().flatten().filter(|(_, v)| filled(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        Ok(found.diff_ids() == wanted.diff_ids()
            && (found.os(), found.architecture(), found.variant(), found.created())
                == (wanted.os(), wanted.architecture(), wanted.variant(), wanted.created())
            && section(&found) == section(&wanted)
            && created_by(&found) == created_by(&wanted))
    };
    same().unwrap_or_else(|error| {
        debug!("Comparing images: {error}");
        false
    })
}
