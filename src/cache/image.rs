//! A cache in an image of a registry: its layers are the cached layers, a label says which is whose.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::{Cache, CacheWriter, KnownBlob, StagedLayer};
use crate::data::cache_metadata::CacheMetadata;
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, Image, ImageDraft, ImageStore, ImageWriter, LayerBlob, MediaFamily};
use crate::layers::fingerprint::Fingerprints;
use crate::layers::slices::Slice;
use crate::layers::source::LayerSource;

const LABEL: &str = "io.buildpacks.lifecycle.cache.metadata";

/// A cache image, which may not exist yet.
pub struct ImageCache {
    store: Arc<dyn ImageStore>,
    name: String,
    original: Option<Arc<Image>>,
    /// Delete the old manifest when a new one has taken its tag (Platform API below 0.13).
    deletes: bool,
    /// Of what was restored and exported.
    fingerprints: Option<Arc<Fingerprints>>,
}

impl std::fmt::Debug for ImageCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageCache").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ImageCache {
    /// Opens the cache image. One that cannot be read is treated as absent, with a warning, for a cache never fails a build.
    pub fn open(store: Arc<dyn ImageStore>, name: &str, deletes: bool) -> Self {
        let original = store.open(name).unwrap_or_else(|error| {
            warn!("Ignoring cache image {name:?}: {error}");
            None
        });
        let original = original.filter(|image| match store.is_complete(image) {
            Ok(true) => true,
            Ok(false) => {
                info!("Ignoring cache image {name:?} because it was corrupt");
                false
            }
            Err(error) => {
                warn!("Ignoring cache image {name:?}: {error}");
                false
            }
        });
        Self { store, name: name.to_owned(), original, deletes, fingerprints: None }
    }

    /// Uses what is known of layers on disk: by a process that restores layers and exports them, or by an earlier one.
    pub fn with_fingerprints(self, fingerprints: Fingerprints) -> Self {
        Self { fingerprints: Some(Arc::new(fingerprints)), ..self }
    }
}

impl Cache for ImageCache {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn exists(&self) -> bool {
        self.original.is_some()
    }

    fn metadata(&self) -> Result<CacheMetadata> {
        let Some(label) = self.original.as_ref().and_then(|image| image.config.label(LABEL)) else {
            return Ok(CacheMetadata::default());
        };
        Ok(CacheMetadata::from_json(label).unwrap_or_else(|error| {
            warn!("Ignoring the metadata of cache image {:?}: {error}", self.name);
            CacheMetadata::default()
        }))
    }

    fn read_layer(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        match &self.original {
            Some(image) if image.config.diff_ids().contains(diff_id) => {
                self.store.read_layer(image, diff_id).with_context(|| format!("failed to get cache layer with SHA '{diff_id}'"))
            }
            _ => crate::bail!("failed to find cache layer with SHA '{diff_id}'"),
        }
    }

    fn fingerprints(&self) -> Option<Arc<Fingerprints>> {
        self.fingerprints.clone()
    }

    fn blob(&self, diff_id: &DiffId) -> Option<KnownBlob> {
        let original = self.original.as_ref()?;
        let at = original.config.diff_ids().iter().position(|d| d == diff_id)?;
        let layer = original.manifest.as_ref()?.layers().ok()?.into_iter().nth(at)?;
        let blob = LayerBlob { diff_id: diff_id.clone(), digest: layer.digest, size: layer.size, media_type: layer.media_type };
        Some(KnownBlob { blob, image: self.name.clone() })
    }

    fn writer(&self) -> Result<Box<dyn CacheWriter>> {
        let image = self
            .store
            .writer(std::slice::from_ref(&self.name), None)
            .with_context(|| format!("creating new cache image {:?}", self.name))?;
        Ok(Box::new(ImageCacheWriter {
            store: self.store.clone(),
            name: self.name.clone(),
            original: self.original.clone(),
            deletes: self.deletes,
            image,
            added: Mutex::default(),
        }))
    }
}

struct ImageCacheWriter {
    store: Arc<dyn ImageStore>,
    name: String,
    original: Option<Arc<Image>>,
    deletes: bool,
    image: Box<dyn ImageWriter>,
    /// New layers; those that are not here come from the original.
    added: Mutex<HashMap<DiffId, LayerBlob>>,
}

impl ImageCacheWriter {
    fn remember(&self, blob: LayerBlob) {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.diff_id.clone(), blob);
    }

    /// The new image: every layer that the metadata name, once, in their order.
    fn draft(&self, metadata: &CacheMetadata) -> Result<ImageDraft> {
        let mut draft = ImageDraft::empty("linux", "", MediaFamily::Oci);
        draft.set_label(LABEL, &metadata.to_json().context("serializing metadata")?);
        let layers = metadata.buildpacks.iter().flat_map(|b| b.layers.values().map(|l| &l.sha));
        let mut seen = HashSet::new();
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        for sha in layers.chain([&metadata.sbom.sha]).filter(|sha| !sha.is_empty()) {
            let Some(diff_id) = DiffId::parse(sha) else { crate::bail!("invalid SHA {sha:?}") };
            if !seen.insert(diff_id.clone()) {
                continue;
            }
            match (added.remove(&diff_id), &self.original) {
                (Some(blob), _) => draft.add_layer(blob, ""),
                (None, Some(original)) => draft.take_layer(original, &diff_id, "")?,
                (None, None) => crate::bail!("layer {diff_id} was never added"),
            }
        }
        if seen.is_empty() {
            draft.add_layer(self.image.add_layer(&empty_layer(), None)?, "");
        }
        Ok(draft)
    }
}

/// An image must have a layer.
fn empty_layer() -> LayerSource {
    LayerSource::App { path: PathBuf::from("/"), slice: Some(Slice::empty()), uid: 0, gid: 0 }
}

impl CacheWriter for ImageCacheWriter {
    fn add_layer(&self, source: &LayerSource) -> Result<DiffId> {
        let blob = self.image.add_layer(source, None)?;
        let diff_id = blob.diff_id.clone();
        self.remember(blob);
        Ok(diff_id)
    }

    fn stage(&self) -> Result<Option<Box<dyn StagedLayer>>> {
        Ok(None)
    }

    fn add_exported(&self, source: &LayerSource, blob: &LayerBlob, name: &str) -> Result<()> {
        let taken = self.image.take_blob(blob, name)?;
        let mut blob = if taken { blob.clone() } else { self.image.add_layer(source, None)? };
        blob.media_type = MediaFamily::Oci.relabel(&blob.media_type).to_owned();
        self.remember(blob);
        Ok(())
    }

    fn reuse_layer(&self, diff_id: &DiffId) -> Result<()> {
        match &self.original {
            Some(image) if image.config.diff_ids().contains(diff_id) => Ok(()),
            _ => Err(Error::new(format!("failed to find cache layer with SHA '{diff_id}'"))),
        }
    }

    fn commit(self: Box<Self>, metadata: &CacheMetadata) -> Result<()> {
        let draft = self.draft(metadata)?;
        let saved = self.image.commit(&draft).with_context(|| format!("saving image '{}'", self.name))?;
        let old = self.original.filter(|image| self.deletes && image.digest != saved.digest);
        if let Some(old) = old
            && let Err(error) = self.store.delete(&old)
        {
            warn!("Unable to delete cache image: {error}");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
