//! The launch cache: plain tars of an app image's layers, kept for a docker daemon, which gives layers back only with the
//! whole image (platform.md, "exporter", `-launch-cache`). On disk it is a volume cache without metadata.
//!
//! What it holds is verified as it is read: a damaged file is a missing layer, never a wrong image.

use std::io::Read;
use std::path::Path;

use super::volume::{VolumeCache, VolumeStage, VolumeWriter};
use super::{Cache, StagedLayer};
use crate::error::Result;
use crate::image::DiffId;

#[derive(Clone, Debug)]
pub struct LaunchCache(VolumeCache);

impl LaunchCache {
    /// # Errors
    /// If there is no such directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let cache = VolumeCache::open(dir)?;
        cache.tidy();
        Ok(Self(cache))
    }

    /// Whether it has a file for this layer; only reading it tells whether it is whole.
    pub fn has(&self, diff_id: &DiffId) -> bool {
        self.0.has_layer(diff_id)
    }

    /// The layer's plain tar; a wrong byte ends in an error of the reader.
    pub fn read(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        self.0.read_layer(diff_id)
    }

    /// Starts the launch cache of the image that is being saved.
    pub fn writer(&self) -> Result<LaunchCacheWriter> {
        self.0.start().map(LaunchCacheWriter)
    }
}

/// The launch cache in the making. Dropped without commit, the old one stays.
#[derive(Debug)]
pub struct LaunchCacheWriter(VolumeWriter);

impl LaunchCacheWriter {
    /// Takes in a layer's tar as it passes.
    pub fn stage(&self) -> Result<VolumeStage> {
        self.0.stage_layer()
    }

    /// Keeps a layer that was staged.
    pub fn keep(&self, staged: VolumeStage, diff_id: &DiffId) -> Result<()> {
        Box::new(staged).keep(diff_id)
    }

    /// Takes over a layer of the old state after checking that it is whole.
    pub fn reuse(&self, diff_id: &DiffId) -> Result<()> {
        self.0.take_over(diff_id)
    }

    pub fn commit(self) -> Result<()> {
        self.0.finish(None)
    }
}
