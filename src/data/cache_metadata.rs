//! Metadata of a cache: the volume cache's `io.buildpacks.lifecycle.cache.metadata` file and the cache image's label.

use super::layers_metadata::{BuildpackLayersMetadata, LayerSha};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheMetadata {
    pub sbom: LayerSha,
    pub buildpacks: Vec<BuildpackLayersMetadata>,
}

impl CacheMetadata {
    pub fn buildpack(&self, id: &str) -> Option<&BuildpackLayersMetadata> {
        self.buildpacks.iter().find(|b| b.id == id)
    }
}
