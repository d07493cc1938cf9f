//! What the export leaves for the next build in the cache (platform.md, "Exporter").
//!
//! A cache never fails a build: a layer that cannot be cached is left out with a warning, a cache that cannot be written
//! stays as it was.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{debug, debug_span, info, warn};

use super::Inputs;
use super::execute::Done;
use super::plan::{Place, Plan, PlannedLayer};
use crate::cache::{Cache, CacheWriter, KnownBlob, StagedLayer};
use crate::data::cache_metadata::CacheMetadata;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata};
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, LayerBlob};
use crate::layers::dir::BuildpackDir;
use crate::layers::fingerprint::{Fingerprints, LayerReader};
use crate::layers::source::LayerSource;

/// What the export of the image already knows of a cached launch layer.
#[derive(Default)]
pub struct Exported {
    diff_id: Option<DiffId>,
    blob: Option<LayerBlob>,
    staged: Option<Box<dyn StagedLayer>>,
}

/// Layers that the image and the cache have in common, by id.
#[derive(Default)]
pub struct Shared {
    layers: HashMap<String, Exported>,
    /// All blobs of the image's new and reused layers.
    blobs: HashMap<DiffId, LayerBlob>,
}

impl Shared {
    /// Takes over what the cache can use.
    pub fn take(plan: &Plan, done: &mut [Done], blobs: HashMap<DiffId, LayerBlob>) -> Self {
        let is_cached = |layer: &PlannedLayer| matches!(layer.place, Place::Buildpack { cached: true, .. });
        let layers = plan.layers.iter().zip(done).filter(|(layer, _)| is_cached(layer)).map(|(layer, done)| {
            let exported = Exported {
                diff_id: Some(done.diff_id.clone()),
                blob: blobs.get(&done.diff_id).cloned(),
                staged: done.staged.take(),
            };
            (layer.id.clone(), exported)
        });
        let layers = layers.collect();
        Self { layers, blobs }
    }

    fn remove(&mut self, id: &str) -> Exported {
        self.layers.remove(id).unwrap_or_default()
    }
}

/// The cache in the making.
pub struct CacheExport {
    fingerprints: Option<Arc<Fingerprints>>,
    pub writer: Box<dyn CacheWriter>,
    /// Metadata of the cache that it replaces.
    pub old: CacheMetadata,
    /// There is no cache that it replaces.
    is_first: bool,
    /// Main name of the app image.
    image: String,
    /// Still without layers, in group order.
    buildpacks: Vec<BuildpackLayersMetadata>,
    layers: Vec<CachedLayer>,
    /// Layers that were put into the cache before [`Self::finish`], by index.
    prepared: Mutex<HashMap<usize, Result<Stored>>>,
}

/// A layer that belongs into the cache.
struct CachedLayer {
    id: String,
    /// Index of the buildpack, and layer; `None` is the SBOM of the cached layers.
    place: Option<(usize, String, LayerMetadata)>,
    source: LayerSource,
    /// The image has it, too.
    launch: bool,
    has_data: bool,
}

/// What became of a layer.
struct Stored {
    diff_id: DiffId,
    reused: bool,
    /// Why it was not reused although the old cache should have it.
    not_reused: Option<Error>,
}

impl CacheExport {
    /// Begins a new cache and lists what belongs into it.
    pub fn new(inputs: &Inputs<'_>, cache: &dyn Cache, dirs: &[BuildpackDir]) -> Result<Self> {
        let old = cache.metadata().context("metadata for previous cache")?;
        let writer = cache.writer()?;
        let directory = |path: &Path| LayerSource::Directory { path: path.to_owned(), uid: inputs.uid, gid: inputs.gid };
        let mut layers = Vec::new();
        for (index, dir) in dirs.iter().enumerate() {
            for layer in &dir.layers {
                let Some(file) = layer.metadata.as_ref().ok().filter(|f| f.cache) else { continue };
                layers.push(CachedLayer {
                    id: format!("{}:{}", dir.buildpack.id, layer.name),
                    place: Some((index, layer.name.clone(), LayerMetadata { sha: String::new(), file: file.clone() })),
                    source: layer.source(inputs.uid, inputs.gid),
                    launch: file.launch,
                    has_data: layer.has_data,
                });
            }
        }
        let sbom = inputs.layers_dir.join("sbom/cache");
        if inputs.api.has_sbom() && sbom.is_dir() {
            debug!("Found SBOM of type cache for at {}", sbom.display());
            let id = "buildpacksio/lifecycle:cache.sbom".into();
            layers.push(CachedLayer { id, place: None, source: directory(&sbom), launch: false, has_data: true });
        }
        let buildpack = |dir: &BuildpackDir| BuildpackLayersMetadata {
            id: dir.buildpack.id.clone(),
            version: dir.buildpack.version.clone(),
            ..BuildpackLayersMetadata::default()
        };
        let buildpacks = dirs.iter().map(buildpack).collect();
        let image = inputs.names.first().cloned().unwrap_or_default();
        Ok(Self {
            fingerprints: cache.fingerprints(),
            writer,
            old,
            is_first: !cache.exists(),
            image,
            buildpacks,
            layers,
            prepared: Mutex::default(),
        })
    }

    /// Puts the layers that the image does not have into the cache; [`Self::finish`] then has less to do.
    pub fn prepare(&self) {
        for (index, layer) in self.layers.iter().enumerate().filter(|(_, l)| l.has_data && !l.launch) {
            let stored = self.store(layer, Exported::default());
            self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(index, stored);
        }
    }

    /// Puts the other layers into the cache and commits it.
    pub fn finish(mut self, mut shared: Shared) -> Result<()> {
        let _span = debug_span!("cache").entered();
        let _timing = crate::phase::timing::measure("Cache");
        if self.is_first {
            info!("Layer cache not found");
        }
        let mut prepared = std::mem::take(self.prepared.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut metadata = CacheMetadata { buildpacks: self.buildpacks.clone(), ..CacheMetadata::default() };
        for (index, layer) in self.layers.iter().enumerate() {
            let id = &layer.id;
            if !layer.has_data {
                warn!("Failed to cache layer '{id}' because it has no contents");
                continue;
            }
            let stored = prepared.remove(&index).unwrap_or_else(|| self.store(layer, shared.remove(id)));
            let stored = match (stored, &layer.place) {
                (Ok(stored), _) => stored,
                (Err(error), Some(_)) => {
                    warn!("Failed to cache layer '{id}': {error}");
                    continue;
                }
                (Err(error), None) => return Err(error),
            };
            stored.tell(id);
            let sha = stored.diff_id.to_string();
            match &layer.place {
                Some((buildpack, name, layer)) => {
                    let layer = LayerMetadata { sha, ..layer.clone() };
                    metadata.buildpacks[*buildpack].layers.insert(name.clone(), layer);
                }
                None => metadata.sbom.sha = sha,
            }
        }
        for blob in shared.blobs.into_values() {
            self.writer.remember(&KnownBlob { blob, image: self.image.clone() });
        }
        self.writer.commit(&metadata).context("committing cache")?;
        if let Some(fingerprints) = self.fingerprints {
            fingerprints.save();
        }
        Ok(())
    }

    fn reader(&self) -> LayerReader<'_> {
        LayerReader(self.fingerprints.as_deref())
    }

    /// What the old cache has in the layer's place; empty if nothing.
    fn old_sha(&self, layer: &CachedLayer) -> &str {
        match &layer.place {
            Some((index, name, _)) => {
                let buildpack = self.old.buildpack(&self.buildpacks[*index].id);
                buildpack.and_then(|b| b.layers.get(name)).map_or("", |l| l.sha.as_str())
            }
            None => &self.old.sbom.sha,
        }
    }

    fn store(&self, layer: &CachedLayer, exported: Exported) -> Result<Stored> {
        let (source, old) = (&layer.source, self.old_sha(layer));
        // Only what the old cache may have is worth being hashed before it is read to be stored.
        let diff_id = match exported.diff_id {
            None if !old.is_empty() => {
                Some(self.reader().diff_id(source).with_context(|| format!("creating layer '{}'", layer.id))?)
            }
            known => known,
        };
        let mut not_reused = None;
        if let Some(diff_id) = diff_id.as_ref().filter(|d| d.as_str() == old) {
            match self.writer.reuse_layer(diff_id) {
                Ok(()) => return Ok(Stored { diff_id: diff_id.clone(), reused: true, not_reused }),
                Err(error) => not_reused = Some(error),
            }
        }
        let diff_id = match (diff_id, exported.staged, exported.blob) {
            (Some(diff_id), Some(staged), _) => {
                staged.keep(&diff_id)?;
                diff_id
            }
            (_, None, Some(blob)) => {
                self.writer.add_exported(source, &blob, &self.image)?;
                blob.diff_id
            }
            _ => self
                .reader()
                .read(source, |source| self.writer.add_layer(source), |diff_id| diff_id)
                .with_context(|| format!("creating layer '{}'", layer.id))?,
        };
        Ok(Stored { diff_id, reused: false, not_reused })
    }
}

impl Stored {
    fn tell(&self, id: &str) {
        if let Some(error) = &self.not_reused {
            warn!("Skipping reuse for layer {id}: {error}");
        }
        match self.reused {
            true => info!("Reusing cache layer '{id}'"),
            false => info!("Adding cache layer '{id}'"),
        }
        debug!("Layer '{id}' SHA: {}", self.diff_id);
    }
}
