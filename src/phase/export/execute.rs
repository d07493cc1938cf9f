//! Carries out a [`Plan`]: layers run through on several threads, what is said of them comes in the plan's order.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use tracing::{debug, debug_span, info};

use super::ahead::Ahead;
use super::plan::{Content, Place, Plan, PlannedLayer};
use crate::cache::{Cache, CacheWriter, StagedLayer};
use crate::data::cache_metadata::CacheMetadata;
use crate::error::{Context, Result};
use crate::image::{DiffId, ImageWriter, LayerBlob};
use crate::layers::fingerprint::LayerReader;
use crate::layers::pipeline::MOST_LAYERS;
use crate::layers::source::LayerSource;

/// Where layers come from and go to.
pub struct Workshop<'a> {
    pub writer: &'a dyn ImageWriter,
    /// The cache in the making, with the metadata of the old one.
    pub cache: Option<(&'a dyn CacheWriter, &'a CacheMetadata)>,
    /// What earlier builds left.
    pub old_cache: Option<&'a dyn Cache>,
    pub reader: LayerReader<'a>,
    /// What was made while buildpacks ran.
    pub ahead: Option<&'a Ahead>,
    pub threads: usize,
}

/// What became of one layer.
pub struct Done {
    pub diff_id: DiffId,
    /// `None`: reused from the previous image.
    pub blob: Option<LayerBlob>,
    /// Its copy for the cache, if it was made in passing.
    pub staged: Option<Box<dyn StagedLayer>>,
}

/// Runs all layers. The error is that of the first layer, in the plan's order, that failed; layers after it are not begun.
pub fn execute(plan: &Plan, workshop: &Workshop<'_>) -> Result<Vec<Done>> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (results, inbox) = mpsc::channel();
    let mut done = Vec::with_capacity(plan.layers.len());
    std::thread::scope(|scope| {
        for _ in 0..workshop.threads.min(MOST_LAYERS).clamp(1, plan.layers.len().max(1)) {
            let (next, stop, results) = (&next, &stop, results.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(layer) = plan.layers.get(index) else { break };
                    let result = workshop.run(layer);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if results.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let mut early = BTreeMap::new();
        for (index, result) in inbox {
            early.insert(index, result);
            while let Some(result) = early.remove(&done.len()) {
                let layer = &plan.layers[done.len()];
                let result = result?;
                tell(layer, &result);
                done.push(result);
                tell_app_layers(plan, &done);
            }
        }
        Ok(done)
    })
}

impl Workshop<'_> {
    fn run(&self, layer: &PlannedLayer) -> Result<Done> {
        let span = debug_span!("layer", id = layer.id, size = tracing::field::Empty);
        let _inside = span.enter();
        let (source, known) = match &layer.content {
            Content::Reused(diff_id) => {
                return Ok(Done { diff_id: diff_id.clone(), blob: None, staged: None });
            }
            Content::Source { source, known } => (source, known),
        };
        if let Some(ahead) = self.ahead {
            ahead.wait_for(source);
        }
        let cached = self.cached_as(&layer.place);
        // Hashing is cheap beside compressing: whatever may be there already is only hashed.
        let hash = match known.is_empty() && cached.is_none() {
            true => self.reader.lookup(source),
            false => Some(self.hash(layer, source)?),
        };
        if let Some(diff_id) = hash.as_ref().filter(|d| known.contains(d)) {
            return Ok(Done { diff_id: diff_id.clone(), blob: None, staged: None });
        }
        if let Some(blob) = hash.as_ref().and_then(|diff_id| self.known_blob(diff_id)) {
            return Ok(Done { diff_id: blob.diff_id.clone(), blob: Some(blob), staged: None });
        }
        let mut staged = match hash {
            Some(diff_id) if cached == Some(diff_id.as_str()) => None,
            _ => self.stage(&layer.place),
        };
        let tee = staged.as_deref_mut().map(|s| s as &mut (dyn Write + Send));
        let blob = self
            .reader
            .read(source, |source| self.writer.add_layer(source, tee), |blob| &blob.diff_id)
            .with_context(|| format!("creating layer '{}'", layer.id))?;
        span.record("size", blob.size);
        Ok(Done { diff_id: blob.diff_id.clone(), blob: Some(blob), staged })
    }

    fn hash(&self, layer: &PlannedLayer, source: &LayerSource) -> Result<DiffId> {
        self.reader.diff_id(source).with_context(|| format!("creating layer '{}'", layer.id))
    }

    /// A blob that was made of the layer while buildpacks ran, or by an earlier build if the store still has it.
    fn known_blob(&self, diff_id: &DiffId) -> Option<LayerBlob> {
        if let Some(blob) = self.ahead.and_then(|ahead| ahead.blob(diff_id)) {
            return Some(blob);
        }
        let known = self.old_cache?.blob(diff_id)?;
        let taken = self.writer.take_blob(&known.blob, &known.image).unwrap_or_else(|error| {
            debug!("Cannot take blob {} from {}: {error}", known.blob.digest, known.image);
            false
        });
        taken.then_some(known.blob)
    }

    /// What the old cache has for the layer.
    fn cached_as(&self, place: &Place) -> Option<&str> {
        let (Some((_, metadata)), Place::Buildpack { id, layer, cached: true }) = (self.cache, place) else { return None };
        metadata.buildpack(id)?.layers.get(layer).map(|l| l.sha.as_str()).filter(|sha| !sha.is_empty())
    }

    /// A place in the new cache for a layer that belongs there. A cache that fails here gets the layer later, with a warning.
    fn stage(&self, place: &Place) -> Option<Box<dyn StagedLayer>> {
        match (self.cache, place) {
            (Some((writer, _)), Place::Buildpack { cached: true, .. }) => writer.stage().ok().flatten(),
            _ => None,
        }
    }
}

fn tell(layer: &PlannedLayer, done: &Done) {
    match layer.place {
        Place::Extension => {}
        Place::App => debug!("Layer '{}' SHA: {}", layer.id, done.diff_id),
        _ => {
            match done.blob {
                None => info!("Reusing layer '{}'", layer.id),
                Some(_) => info!("Adding layer '{}'", layer.id),
            }
            debug!("Layer '{}' SHA: {}", layer.id, done.diff_id);
        }
    }
}

/// App layers are told together, after the last one.
fn tell_app_layers(plan: &Plan, done: &[Done]) {
    let is_app = |layer: Option<&PlannedLayer>| layer.is_some_and(|l| l.place == Place::App);
    if !is_app(plan.layers.get(done.len() - 1)) || is_app(plan.layers.get(done.len())) {
        return;
    }
    let app = || plan.layers.iter().zip(done).filter(|(l, _)| l.place == Place::App);
    let reused = app().filter(|(_, d)| d.blob.is_none()).count();
    let all = app().count();
    if reused > 0 {
        info!("Reused {reused}/{all} app layer(s)");
    }
    if reused < all {
        info!("Added {}/{all} app layer(s)", all - reused);
    }
}
