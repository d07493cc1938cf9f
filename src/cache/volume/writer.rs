//! The next state of a volume cache, in its staging directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::blobs::KnownBlobs;
use super::lock::Lock;
use super::verified::VerifiedTars;
use super::{METADATA, STAGING, VolumeCache, commit, tar_name};
use crate::cache::{CacheWriter, KnownBlob, StagedLayer};
use crate::data::cache_metadata::CacheMetadata;
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, LayerBlob};
use crate::layers::source::LayerSource;
use crate::layers::tar::tee::copy_layer;
use crate::layers::verify::Verified;
use crate::process::signals::{self, Doomed};

/// Layers on their way into a [`VolumeCache`]. Dropped without commit, the cache stays as it was.
#[derive(Debug)]
pub struct VolumeWriter {
    cache: VolumeCache,
    /// Of the state that is being replaced.
    verified: VerifiedTars,
    blobs: Mutex<KnownBlobs>,
    staging: Arc<Staging>,
}

/// The staging directory; removed unless it was committed.
#[derive(Debug)]
struct Staging {
    dir: PathBuf,
    layers: Mutex<BTreeSet<DiffId>>,
    /// Numbers the files of layers whose diffID is not known yet.
    next: AtomicUsize,
    /// Until the exchange.
    doomed: Mutex<Option<Doomed>>,
    /// Given up last.
    _lock: Lock,
}

impl VolumeWriter {
    pub(super) fn new(cache: VolumeCache) -> Result<Self> {
        let lock = Lock::take(&cache.dir)?;
        commit::recover(&cache.dir)?;
        let dir = cache.dir.join(STAGING);
        // Whoever opens the cache makes an empty one, if he comes just now.
        let created = std::fs::create_dir(&dir);
        created
            .or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() { Ok(()) } else { Err(e) })
            .map_err(|e| Error::io("mkdir", &dir, &e))
            .with_context(|| format!("initializing staging directory '{}'", dir.display()))?;
        let verified = VerifiedTars::read(&cache.committed());
        let doomed = Mutex::new(Some(signals::doom(&dir)));
        let staging = Staging { dir, layers: Mutex::default(), next: AtomicUsize::new(0), doomed, _lock: lock };
        Ok(Self { cache, verified, blobs: Mutex::default(), staging: Arc::new(staging) })
    }

    /// A file that takes in a layer's tar.
    pub fn stage_layer(&self) -> Result<VolumeStage> {
        let number = self.staging.next.fetch_add(1, Ordering::Relaxed);
        let path = self.staging.dir.join(format!(".incoming-{number}"));
        let file = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(VolumeStage { staging: self.staging.clone(), path, file: Some(file), fault: None })
    }

    /// Takes over a layer of the old state after checking that it is whole.
    pub fn take_over(&self, diff_id: &DiffId) -> Result<()> {
        let old = self.cache.layer_path(diff_id);
        if !self.verified.has(diff_id, &old) {
            let file = self.cache.open_layer(diff_id)?;
            io::copy(&mut Verified::new(file, diff_id.clone()), &mut io::sink())?;
        }
        let new = self.staging.dir.join(tar_name(diff_id));
        match std::fs::hard_link(&old, &new) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // Not every file system has hard links, nor may everybody link the files of others.
            Err(_) => {
                let mut file = self.cache.open_layer(diff_id)?;
                let mut stage = self.stage_layer()?;
                io::copy(&mut file, &mut stage).map_err(|e| Error::io("copy", &old, &e))?;
                return Box::new(stage).keep(diff_id);
            }
        }
        self.staging.add(diff_id);
        Ok(())
    }

    /// See [`VolumeCache::read_note`]; one that cannot be written is missed by nobody.
    pub(in crate::cache) fn write_note(&self, name: &str, text: &str) {
        let _ = std::fs::write(self.staging.dir.join(name), text);
    }

    /// Puts the layers in place of the old state, with metadata if this cache has some.
    pub fn finish(self, metadata: Option<&CacheMetadata>) -> Result<()> {
        if let Some(metadata) = metadata {
            let path = self.staging.dir.join(METADATA);
            let text = metadata.to_json().context("marshalling metadata")? + "\n";
            let write = || -> io::Result<()> {
                let mut file = File::create(&path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            };
            write().map_err(|e| Error::io("write", &path, &e)).context("creating metadata file")?;
        }
        // From here on the directory may be the new state: a signal must not remove it any more.
        drop(self.staging.doomed.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).write(&self.staging.dir);
        commit::exchange(&self.cache.dir)?;
        let layers = self.staging.layers.lock().unwrap_or_else(PoisonError::into_inner);
        VerifiedTars::write(&self.cache.committed(), layers.iter());
        Ok(())
    }
}

impl Staging {
    fn add(&self, diff_id: &DiffId) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone());
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already if it was committed.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A layer's tar on its way into the cache.
#[derive(Debug)]
pub struct VolumeStage {
    staging: Arc<Staging>,
    path: PathBuf,
    file: Option<File>,
    /// The first error: a cache must not fail the export that feeds it.
    fault: Option<Error>,
}

impl VolumeStage {
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.file = Some(file);
    }

    fn sync_and_rename(&mut self, diff_id: &DiffId) -> Result<()> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_data().map_err(|e| Error::io("sync", &self.path, &e))?;
        let place = self.staging.dir.join(tar_name(diff_id));
        std::fs::rename(&self.path, &place).map_err(|e| Error::io("rename", &self.path, &e))?;
        self.staging.add(diff_id);
        Ok(())
    }
}

impl Write for VolumeStage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            self.fault = Some(Error::io("write", &self.path, &error));
            self.file = None;
            // A full disk needs the space.
            let _ = std::fs::remove_file(&self.path);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for VolumeStage {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl StagedLayer for VolumeStage {
    fn keep(mut self: Box<Self>, diff_id: &DiffId) -> Result<()> {
        self.sync_and_rename(diff_id).with_context(|| format!("caching layer ({diff_id})"))
    }
}

impl CacheWriter for VolumeWriter {
    fn add_layer(&self, source: &LayerSource) -> Result<DiffId> {
        let mut stage = self.stage_layer()?;
        let diff_id = copy_layer(source, &mut stage)?;
        Box::new(stage).keep(&diff_id)?;
        Ok(diff_id)
    }

    fn stage(&self) -> Result<Option<Box<dyn StagedLayer>>> {
        Ok(Some(Box::new(self.stage_layer()?)))
    }

    fn add_exported(&self, source: &LayerSource, _: &LayerBlob, _: &str) -> Result<()> {
        self.add_layer(source).map(|_| ())
    }

    fn reuse_layer(&self, diff_id: &DiffId) -> Result<()> {
        self.take_over(diff_id)
    }

    fn remember(&self, blob: &KnownBlob) {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).add(blob);
    }

    fn commit(self: Box<Self>, metadata: &CacheMetadata) -> Result<()> {
        self.finish(Some(metadata))
    }
}
