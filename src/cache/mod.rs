//! Caches: a directory (volume), an image, and the launch cache of a daemon. **A cache never fails a build.**

pub mod image;
pub mod launch;
pub mod volume;

use std::io::{Read, Write};
use std::sync::Arc;

use crate::data::cache_metadata::CacheMetadata;
use crate::error::Result;
use crate::image::{DiffId, LayerBlob};
use crate::layers::fingerprint::Fingerprints;
use crate::layers::source::LayerSource;

pub use image::ImageCache;
pub use launch::LaunchCache;
pub use volume::VolumeCache;

/// What an earlier build left.
pub trait Cache: Send + Sync {
    /// As it is named in messages.
    fn name(&self) -> String;

    /// Whether an earlier build left one.
    fn exists(&self) -> bool {
        true
    }

    /// Empty metadata if there is none or it cannot be read (with a warning).
    fn metadata(&self) -> Result<CacheMetadata>;

    /// The layer's plain tar. It is verified against the diffID at its end.
    fn read_layer(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>>;

    /// What is known of layers on disk without reading them; kept beside the cache, if it is in a directory.
    fn fingerprints(&self) -> Option<Arc<Fingerprints>> {
        None
    }

    /// A blob that an earlier build has made of this layer, and the image in which it was; whether it still is there is to
    /// be asked.
    fn blob(&self, diff_id: &DiffId) -> Option<KnownBlob> {
        let _ = diff_id;
        None
    }

    /// Starts the cache of this build. The old one stays as it is until the commit.
    fn writer(&self) -> Result<Box<dyn CacheWriter>>;
}

/// The cache in the making. Whatever was not committed is not visible.
pub trait CacheWriter: Send + Sync {
    /// Takes in a layer; returns its diffID.
    fn add_layer(&self, source: &LayerSource) -> Result<DiffId>;

    /// Where the plain tar of a layer that is being exported is copied to as it passes, so that it is read only once.
    /// `None` if this cache would rather have the exported blob ([`Self::add_exported`]).
    fn stage(&self) -> Result<Option<Box<dyn StagedLayer>>>;

    /// Takes over a layer that the export wrote as `blob` into the image `name`, where it is by now: a cache image mounts
    /// the blob. Reads `source` if there is no other way.
    fn add_exported(&self, source: &LayerSource, blob: &LayerBlob, name: &str) -> Result<()>;

    /// Takes over a layer of the old cache after checking that it is whole.
    fn reuse_layer(&self, diff_id: &DiffId) -> Result<()>;

    /// Notes a blob of the exported image for [`Cache::blob`] of the next build.
    fn remember(&self, blob: &KnownBlob) {
        let _ = blob;
    }

    fn commit(self: Box<Self>, metadata: &CacheMetadata) -> Result<()>;
}

/// A layer that is in an image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBlob {
    pub blob: LayerBlob,
    /// Name of the image.
    pub image: String,
}

/// A layer on its way into a cache. Its `write` never fails, for a cache must not fail an export: what went wrong is told by
/// [`StagedLayer::keep`]. Dropped without it, nothing stays behind.
pub trait StagedLayer: Write + Send {
    /// All bytes were written; they have this diffID.
    fn keep(self: Box<Self>, diff_id: &DiffId) -> Result<()>;
}
