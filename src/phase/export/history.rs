//! `created_by` of the history entries that the exporter writes from Platform API 0.12 on.
//!
//! Tools show these texts and find a buildpack's layers by them.

use crate::data::group::GroupElement;

pub const SBOM: &str = "Software Bill-of-Materials";
pub const LAUNCHER: &str = "Buildpacks Application Launcher";
pub const CONFIG: &str = "Buildpacks Launcher Config";
pub const PROCESS_TYPES: &str = "Buildpacks Process Types";

pub fn buildpack_layer(layer: &str, buildpack: &GroupElement) -> String {
    format!("Layer: '{layer}', Created by buildpack: {buildpack}")
}

/// Text of the app layer at `index` of `count`; the last one holds what no slice took.
pub fn app_layer(index: usize, count: usize) -> String {
    match count {
        1 => "Application Layer".into(),
        _ => format!("Application Slice: {}", index + 1),
    }
}

/// The extension's id in the text that the extender gave its layer, for messages.
pub fn extension_id(created_by: &str) -> &str {
    created_by.rsplit_once("Created by extension: ").map_or("from extensions", |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sliced_apps_number_their_layers() {
        assert_eq!(app_layer(0, 1), "Application Layer");
        assert_eq!(app_layer(0, 2), "Application Slice: 1");
        assert_eq!(app_layer(1, 2), "Application Slice: 2");
    }

    #[test]
    fn extension_layers_are_named_by_their_extension() {
        assert_eq!(extension_id("Layer: 'RUN x', Created by extension: x/ext"), "x/ext");
        assert_eq!(extension_id("RUN x"), "from extensions");
    }
}
