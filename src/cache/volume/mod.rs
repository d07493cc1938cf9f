//! A cache in a directory (a volume), laid out as the reference's, so that either can go on with the other's:
//!
//! ```text
//! committed/<diffID>.tar                                 plain layer tars
//! committed/io.buildpacks.lifecycle.cache.metadata       which layer is whose
//! committed/.verified                                    ours: tars that are known to be whole, see [`verified`]
//! committed/.blobs                                       ours: what became of layers in registries, see [`blobs`]
//! committed/.loaded                                      ours, in launch caches: see [`super::launch`]
//! .fingerprints                                          ours: see [`crate::layers::fingerprint`]
//! staging/                                               the next `committed`, while a build writes it
//! committed-backup/                                      the last `committed`, for a moment
//! ```
//!
//! `staging` takes the place of `committed` in one step. A process that is killed leaves the old or the new cache. Of two
//! builds that want to write at the same time one waits a little and then goes without.

pub(super) mod blobs;
mod commit;
mod lock;
mod tidy;
mod verified;
mod writer;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tracing::warn;

use self::blobs::KnownBlobs;
use super::{Cache, CacheWriter, KnownBlob};
use crate::data::cache_metadata::CacheMetadata;
use crate::error::{Error, Result};
use crate::image::DiffId;
use crate::layers::fingerprint::Fingerprints;
use crate::layers::verify::Verified;

pub use writer::{VolumeStage, VolumeWriter};

const METADATA: &str = "io.buildpacks.lifecycle.cache.metadata";
const COMMITTED: &str = "committed";
const STAGING: &str = "staging";
const BACKUP: &str = "committed-backup";

/// A directory with layers of earlier builds.
#[derive(Clone, Debug)]
pub struct VolumeCache {
    dir: PathBuf,
    fingerprints: Arc<Fingerprints>,
    blobs: OnceLock<KnownBlobs>,
}

impl VolumeCache {
    /// # Errors
    /// If there is no such directory. One that cannot be written to is no error: the next build will find an old cache.
    pub fn open(dir: &Path) -> Result<Self> {
        let stat = std::fs::metadata(dir).map_err(|e| Error::io("stat", dir, &e))?;
        if !stat.is_dir() {
            return Err(Error::io("open", dir, &io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error())));
        }
        // As the reference does; whoever cannot write finds out when there is something to write.
        let _ = std::fs::create_dir(dir.join(STAGING));
        if !dir.join(BACKUP).exists() {
            let _ = std::fs::create_dir(dir.join(COMMITTED));
        }
        Ok(Self { dir: dir.to_owned(), fingerprints: Arc::new(Fingerprints::load(dir)), blobs: OnceLock::new() })
    }

    /// The layers of the last finished build. An interrupted exchange may have left them under their other name.
    fn committed(&self) -> PathBuf {
        let committed = self.dir.join(COMMITTED);
        let backup = self.dir.join(BACKUP);
        if !committed.exists() && backup.is_dir() { backup } else { committed }
    }

    fn layer_path(&self, diff_id: &DiffId) -> PathBuf {
        self.committed().join(tar_name(diff_id))
    }

    /// # Errors
    /// If the cache has no such layer, or it cannot be read.
    fn open_layer(&self, diff_id: &DiffId) -> Result<File> {
        let path = self.layer_path(diff_id);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::new(format!("failed to find cache layer with SHA '{diff_id}'")),
            io::ErrorKind::PermissionDenied => {
                Error::new(format!("failed to read cache layer with SHA '{diff_id}' due to insufficient permissions"))
            }
            _ => Error::io("open", &path, &e),
        })
    }

    /// Whether the cache has a file for this layer.
    pub fn has_layer(&self, diff_id: &DiffId) -> bool {
        self.layer_path(diff_id).is_file()
    }

    /// Size of its file, bytes.
    pub fn layer_size(&self, diff_id: &DiffId) -> Option<u64> {
        Some(std::fs::metadata(self.layer_path(diff_id)).ok()?.len())
    }

    /// A file of our own beside the layers.
    pub(super) fn read_note(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.committed().join(name)).ok()
    }

    /// Starts the next state of the cache.
    ///
    /// # Errors
    /// If the directory cannot be written to, or another build is writing to it.
    pub fn start(&self) -> Result<VolumeWriter> {
        VolumeWriter::new(self.clone())
    }
}

impl Cache for VolumeCache {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn metadata(&self) -> Result<CacheMetadata> {
        let path = self.committed().join(METADATA);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(CacheMetadata::default()),
            Err(e) => {
                warn!("Ignoring the cache's metadata: {}", Error::io("open", &path, &e));
                return Ok(CacheMetadata::default());
            }
        };
        Ok(CacheMetadata::from_json(&text).unwrap_or_else(|error| {
            warn!("Ignoring the cache's metadata: {}: {error}", path.display());
            CacheMetadata::default()
        }))
    }

    fn read_layer(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Verified::new(self.open_layer(diff_id)?, diff_id.clone())))
    }

    fn fingerprints(&self) -> Option<Arc<Fingerprints>> {
        Some(Arc::clone(&self.fingerprints))
    }

    fn blob(&self, diff_id: &DiffId) -> Option<KnownBlob> {
        self.blobs.get_or_init(|| KnownBlobs::read(&self.committed())).get(diff_id)
    }

    fn writer(&self) -> Result<Box<dyn CacheWriter>> {
        Ok(Box::new(self.start()?))
    }
}

fn tar_name(diff_id: &DiffId) -> String {
    format!("{diff_id}.tar")
}

#[cfg(test)]
mod tests;
