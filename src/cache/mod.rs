//! Caches: a directory (volume), an image, and the launch cache of a daemon. **A cache never fails a build.**

use std::io::Read;

use crate::data::cache_metadata::CacheMetadata;
use crate::error::Result;
use crate::image::DiffId;
use crate::layers::source::LayerSource;

/// What an earlier build left.
pub trait Cache: Send + Sync {
    /// As it is named in messages.
    fn name(&self) -> String;

    /// Empty metadata if there is none or it cannot be read (with a warning).
    fn metadata(&self) -> Result<CacheMetadata>;

    /// The layer's plain tar. It is verified against the diffID at its end.
    fn read_layer(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>>;

    /// Starts the cache of this build. The old one stays as it is until the commit.
    fn writer(&self) -> Result<Box<dyn CacheWriter>>;
}

/// The cache in the making. Whatever was not committed is not visible.
pub trait CacheWriter: Send + Sync {
    /// Takes in a layer; returns its diffID.
    fn add_layer(&self, source: &LayerSource) -> Result<DiffId>;

    /// Takes over a layer of the old cache after checking that it is whole.
    fn reuse_layer(&self, diff_id: &DiffId) -> Result<()>;

    fn commit(self: Box<Self>, metadata: &CacheMetadata) -> Result<()>;
}
