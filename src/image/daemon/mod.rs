//! Images in a docker daemon, or in one that speaks its language (podman).
//!
//! A daemon knows no manifests, tells configs only in parts and gives layers back only with the whole image. What is sent to
//! it is never compressed, and never what it has already: see [`write`] and [`load`]; docs/daemon.md tells it from outside.

mod api;
mod archive;
mod config;
mod connect;
mod contents;
mod host;
mod http;
mod load;
mod oci_archive;
mod same;
mod save;
pub mod socket_helper;
mod stored;
mod write;

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::json;

use super::config::ImageConfig;
use super::platform::Platform;
use super::reference::DiffId;
use super::store::{Image, ImageStore, ImageWriter};
use crate::bail;
use crate::cache::LaunchCache;
use crate::error::{Context, Result};

pub use connect::Connector;
pub use host::Host;

/// The images of one daemon.
#[derive(Debug)]
pub struct DaemonStore {
    engine: Arc<api::Engine>,
    launch_cache_dir: Option<PathBuf>,
    /// Opened when it is first needed, which is when the user was changed.
    launch_cache: OnceLock<Result<LaunchCache>>,
}

impl DaemonStore {
    /// Connects to nobody yet. The launch cache has the layers of earlier app images, so that the daemon need not be asked
    /// for whole images.
    pub fn new(connector: Connector, launch_cache_dir: Option<PathBuf>) -> Self {
        Self { engine: Arc::new(api::Engine::new(connector)), launch_cache_dir, launch_cache: OnceLock::new() }
    }

    fn launch_cache(&self) -> Result<Option<&LaunchCache>> {
        let Some(dir) = &self.launch_cache_dir else { return Ok(None) };
        let cache = self.launch_cache.get_or_init(|| LaunchCache::open(dir).context("creating launch cache"));
        cache.as_ref().map(Some).map_err(Clone::clone)
    }
}

impl ImageStore for DaemonStore {
    fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
        self.launch_cache()?;
        let Some(inspect) = self.engine.inspect(name)? else { return Ok(None) };
        let id = inspect["Id"].as_str().unwrap_or_default().to_owned();
        let history = self.engine.history(&id)?;
        let config = config::image_config(&inspect, &history)?;
        let identifier = id.strip_prefix("sha256:").unwrap_or(&id).to_owned();
        Ok(Some(Arc::new(Image { name: name.to_owned(), identifier, config, manifest: None, digest: None, originals: None })))
    }

    fn remnants(&self, name: &str, diff_ids: &[DiffId]) -> Option<Arc<Image>> {
        let cache = self.launch_cache().ok().flatten()?;
        let left: Vec<&str> = diff_ids.iter().filter(|id| cache.has(id)).map(DiffId::as_str).collect();
        let host = Platform::host();
        let config = json!({
            "os": host.os, "architecture": host.architecture, "rootfs": {"type": "layers", "diff_ids": left}, "config": {},
        });
        let config = ImageConfig::parse(config.to_string().as_bytes()).ok().filter(|_| !left.is_empty())?;
        let name = name.to_owned();
        Some(Arc::new(Image { identifier: name.clone(), name, config, manifest: None, digest: None, originals: None }))
    }

    fn read_layer(&self, image: &Image, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        if let Some(layer) = self.launch_cache()?.and_then(|cache| contents::whole_layer(cache, diff_id)) {
            return Ok(layer);
        }
        let mut found = None;
        save::fetch(&self.engine, image, std::slice::from_ref(diff_id), &mut |_, layer| {
            found = Some(layer.into_file()?);
            Ok(())
        })?;
        match found {
            Some(file) => Ok(Box::new(file)),
            None => bail!("failed to find layer with diff ID {:?} in image {}", diff_id.as_str(), image.name),
        }
    }

    fn writer(&self, names: &[String], _base: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
        let cache = self.launch_cache()?.cloned();
        Ok(Box::new(write::DaemonWriter::new(Arc::clone(&self.engine), names.to_vec(), cache)))
    }
}
