//! Restore: metadata of earlier layers come back for the buildpacks to judge, and the data of cached ones
//! (platform.md, "restorer").

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use tracing::{debug, info, warn};

use crate::api::PlatformApi;
use crate::cache::Cache;
use crate::data::cache_metadata::CacheMetadata;
use crate::data::group::GroupElement;
use crate::data::layers_metadata::LayersMetadata;
use crate::error::{Context, Error, Result};
use crate::image::DiffId;
use crate::layers::dir::{BuildpackDir, escape_id};
use crate::layers::extract::{self, Extracted, Fault};
use crate::layers::remove::remove_layer;
use crate::layers::source::LayerSource;

pub mod images;
pub mod plan;
mod sbom;

use plan::{Data, FromCache, FromImage, Known, LayerPlan};

/// What the phase is asked to do.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "a cache has none")]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    pub layers_dir: &'a Path,
    pub buildpacks: &'a [GroupElement],
    /// Of the previous image.
    pub image: &'a LayersMetadata,
    pub cache: Option<&'a dyn Cache>,
    /// No metadata, data or SBOM come back, only store.toml.
    pub skip_layers: bool,
}

/// Runs the phase. A damaged cache costs the layers that are damaged, with a warning for each.
///
/// # Errors
/// The layers directory cannot be read or written.
pub fn restore(inputs: &Inputs<'_>) -> Result<()> {
    let _timing = crate::phase::timing::measure("Restorer");
    let _span = tracing::info_span!("phase", name = "restore").entered();
    let cached = cache_metadata(inputs)?;
    for buildpack in inputs.buildpacks {
        if let Some(store) = inputs.image.buildpack(&buildpack.id).and_then(|b| b.store.as_ref()) {
            store.write(&inputs.layers_dir.join(escape_id(&buildpack.id)).join("store.toml"))?;
        }
    }
    debug!("Restoring Layer Metadata");
    if inputs.skip_layers {
        info!("Skipping buildpack layer analysis");
    }
    let on_disk = inputs.buildpacks.iter().map(|b| names_on_disk(inputs.layers_dir, b)).collect::<Result<Vec<_>>>()?;
    let mut plans = Vec::new();
    for (buildpack, on_disk) in inputs.buildpacks.iter().zip(&on_disk) {
        let known = Known {
            image: inputs.image.buildpack(&buildpack.id),
            cache: cached.buildpack(&buildpack.id),
            on_disk,
            skip_layers: inputs.skip_layers,
            api: inputs.api,
        };
        let mut plan = plan::plan(&known);
        plan.retain(|layer| is_layer_name(buildpack, layer.name));
        write_metadata(inputs, buildpack, &plan)?;
        plans.push((buildpack, plan));
    }
    let wanted = remove_others(inputs, &plans)?;
    restore_data(inputs, &wanted).context("restoring data")?;
    if let Some(fingerprints) = inputs.cache.and_then(Cache::fingerprints) {
        fingerprints.save();
    }
    if inputs.api.has_sbom() {
        sbom::restore(inputs, &cached).context("restoring data")?;
    }
    Ok(())
}

fn cache_metadata(inputs: &Inputs<'_>) -> Result<CacheMetadata> {
    match inputs.cache {
        Some(cache) => {
            if !cache.exists() {
                info!("Layer cache not found");
            }
            cache.metadata().context("retrieving cache metadata")
        }
        None => {
            debug!("Usable cache not provided, using empty cache metadata");
            Ok(CacheMetadata::default())
        }
    }
}

fn names_on_disk(layers_dir: &Path, buildpack: &GroupElement) -> Result<BTreeSet<String>> {
    let dir = BuildpackDir::read(layers_dir, buildpack).context("reading buildpack layer directory")?;
    Ok(dir.layers.into_iter().map(|layer| layer.name).collect())
}

/// Labels and cache metadata are written by others; a name that is a path would lead out of the buildpack's directory.
fn is_layer_name(buildpack: &GroupElement, name: &str) -> bool {
    let good = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    if !good {
        warn!("Ignoring layer {:?}, its name is not a file name", format!("{}:{name}", buildpack.id));
    }
    good
}

fn write_metadata(inputs: &Inputs<'_>, buildpack: &GroupElement, plan: &[LayerPlan<'_>]) -> Result<()> {
    let dir = inputs.layers_dir.join(escape_id(&buildpack.id));
    for layer in plan {
        let identifier = format!("{}:{}", buildpack.id, layer.name);
        match layer.image {
            FromImage::Unknown => {}
            FromImage::NotLaunch => debug!("Not restoring metadata for {identifier:?}, marked as launch=false"),
            FromImage::BuildWithoutCache => {
                debug!("Not restoring metadata for {identifier:?}, marked as build=true, cache=false");
            }
            FromImage::NotInCache => {
                debug!("Not restoring metadata for {identifier:?}, marked as cache=true, but not found in cache");
            }
            FromImage::Metadata(_) => info!("Restoring metadata for {identifier:?} from app image"),
        }
        match layer.cache {
            FromCache::Unknown => {}
            FromCache::NotCached => debug!("Not restoring {identifier:?} from cache, marked as cache=false"),
            FromCache::Launch => debug!("Not restoring {identifier:?} from cache, marked as launch=true"),
            FromCache::Metadata(_) => info!("Restoring metadata for {identifier:?} from cache"),
        }
        if let Some(metadata) = layer.metadata() {
            debug!("Writing layer metadata for {identifier:?}");
            metadata.file.write(&dir.join(format!("{}.toml", layer.name)))?;
        }
    }
    Ok(())
}

/// A layer whose data come from the cache.
struct Wanted<'a> {
    buildpack: &'a GroupElement,
    name: &'a str,
    sha: &'a str,
}

impl Wanted<'_> {
    fn identifier(&self) -> String {
        format!("{}:{}", self.buildpack.id, self.name)
    }
}

/// Removes the layers of which the cache has other data; returns those that it has.
fn remove_others<'a>(inputs: &Inputs<'_>, plans: &[(&'a GroupElement, Vec<LayerPlan<'a>>)]) -> Result<Vec<Wanted<'a>>> {
    let mut wanted = Vec::new();
    for (buildpack, plan) in plans {
        for layer in plan {
            let identifier = format!("{}:{}", buildpack.id, layer.name);
            match layer.data {
                Data::Keep => {}
                Data::Remove { described, cached } => {
                    info!("Removing {identifier:?}, wrong sha");
                    debug!("Layer sha: {described:?}, cache sha: {cached:?}");
                    remove_layer(&inputs.layers_dir.join(escape_id(&buildpack.id)), layer.name).context("removing layer")?;
                }
                Data::Restore(sha) => {
                    info!("Restoring data for {identifier:?} from cache");
                    wanted.push(Wanted { buildpack, name: layer.name, sha });
                }
            }
        }
    }
    Ok(wanted)
}

/// More workers than this only fight for the disk.
const MAX_WORKERS: usize = 8;

fn restore_data(inputs: &Inputs<'_>, wanted: &[Wanted<'_>]) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(wanted.iter());
    let work = || -> Result<()> {
        loop {
            // Not in the loop's head: the queue would stay locked for the whole turn.
            let next = queue.lock().map_or(None, |mut queue| queue.next());
            let Some(layer) = next else { return Ok(()) };
            restore_layer(inputs, layer)?;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(MAX_WORKERS).min(wanted.len())).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().map(|w| w.join().unwrap_or_else(|_| Err(Error::new("a thread ended early"))));
        joined.fold(own, Result::and)
    })
}

fn restore_layer(inputs: &Inputs<'_>, layer: &Wanted<'_>) -> Result<()> {
    let span = tracing::info_span!("layer", name = layer.identifier(), sha = layer.sha, bytes = tracing::field::Empty);
    let _entered = span.enter();
    let dir = inputs.layers_dir.join(escape_id(&layer.buildpack.id)).join(layer.name);
    match extract_cached(inputs, layer.sha, &dir) {
        Ok(extracted) => {
            span.record("bytes", extracted.bytes);
            note_fingerprint(inputs, layer.sha, &dir, &extracted);
            Ok(())
        }
        Err(Fault::Archive(error)) => {
            warn!("Skipping restore for layer {}: {error}", layer.identifier());
            Ok(())
        }
        Err(Fault::Disk(error)) => Err(error.context(format!("restoring layer {}", layer.identifier()))),
    }
}

/// The exporter need not read again what has just been written.
fn note_fingerprint(inputs: &Inputs<'_>, sha: &str, dir: &Path, extracted: &Extracted) {
    let (Some(fingerprints), Some(diff_id)) = (inputs.cache.and_then(Cache::fingerprints), DiffId::parse(sha)) else { return };
    let uid = rustix::process::geteuid().as_raw().into();
    let gid = rustix::process::getegid().as_raw().into();
    fingerprints.restored(&LayerSource::Directory { path: dir.to_owned(), uid, gid }, &diff_id, extracted);
}

/// Unpacks a layer of the cache. Whatever is wrong with the cache is a fault of the archive.
fn extract_cached(inputs: &Inputs<'_>, sha: &str, below: &Path) -> Result<Extracted, Fault> {
    debug!("Retrieving data for {sha:?}");
    let cache = inputs.cache.ok_or_else(|| Fault::Archive(Error::new("cache not provided")))?;
    let missing = || Fault::Archive(Error::new(format!("failed to find cache layer with SHA '{sha}'")));
    let diff_id = DiffId::parse(sha).ok_or_else(missing)?;
    let mut tar = cache.read_layer(&diff_id).map_err(Fault::Archive)?;
    extract::extract_noting(&mut tar, below)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
