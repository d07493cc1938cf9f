//! What the creator hands to the exporter while buildpacks still run.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::Cache;
use crate::data::cache_metadata::CacheMetadata;
use crate::data::group::GroupElement;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayersMetadata};
use crate::image::{DiffId, Image, ImageStore};
use crate::layers::dir::{BuildpackDir, LayerDir};
use crate::phase::build::LayerOwner;
use crate::phase::export::{Ahead, FinishedLayer};

/// Layers of the previous image and of the cache, and where those of this build are.
pub struct Watch<'a> {
    pub ahead: &'a Ahead,
    pub layers_dir: PathBuf,
    pub owner: LayerOwner,
    pub previous: &'a LayersMetadata,
    pub cached: CacheMetadata,
}

/// Begins the image, if the run image is known.
pub fn start(
    store: &dyn ImageStore,
    names: &[String],
    run_image: Option<&Arc<Image>>,
    cache: Option<&dyn Cache>,
) -> Option<Ahead> {
    // What does not work here does not work for the exporter either, which tells it.
    let writer = store.writer(names, Some(run_image?)).ok()?;
    Ahead::start(writer, cache.and_then(Cache::fingerprints).unwrap_or_default())
}

impl Watch<'_> {
    /// Passes on the layers of a buildpack that was just run. What cannot be read, the exporter tells.
    pub fn finished(&self, buildpack: &GroupElement) {
        let Ok(dir) = BuildpackDir::read(&self.layers_dir, buildpack) else { return };
        let known = [self.previous.buildpack(&buildpack.id), self.cached.buildpack(&buildpack.id)];
        dir.layers.iter().filter_map(|layer| self.layer(layer, &known)).for_each(|layer| self.ahead.add(layer));
    }

    fn layer(&self, layer: &LayerDir, known: &[Option<&BuildpackLayersMetadata>]) -> Option<FinishedLayer> {
        let types = layer.metadata.as_ref().ok().filter(|types| layer.has_data && (types.launch || types.cache))?;
        let known = known.iter().flatten().filter_map(|b| DiffId::parse(&b.layers.get(&layer.name)?.sha));
        let LayerOwner { uid, gid } = self.owner;
        Some(FinishedLayer { path: layer.path.clone(), uid, gid, known: known.collect(), launch: types.launch })
    }
}
