//! The contents of an image's layers, from wherever they are: a source that was taken in, the launch cache, another image of
//! the daemon. What passes is kept for the next launch cache.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use tracing::warn;

use super::api::Engine;
use super::archive::{Exactly, write_header, write_padding};
use super::save;
use super::write::Taken;
use crate::bail;
use crate::cache::LaunchCache;
use crate::cache::launch::{LaunchCacheWriter, LoadedImage};
use crate::error::{Context, Result};
use crate::image::draft::{ImageDraft, LayerContent};
use crate::image::reference::DiffId;
use crate::image::store::Image;

/// Layers that only other images of the daemon have, by those images.
type Elsewhere = BTreeMap<String, (Arc<Image>, BTreeSet<DiffId>)>;

/// The layers of one image on its way into the daemon.
pub struct Contents<'a> {
    engine: &'a Engine,
    draft: &'a ImageDraft,
    taken: &'a HashMap<DiffId, Taken>,
    launch_cache: Option<(LaunchCache, LaunchCacheWriter)>,
    /// Layers that the new launch cache has.
    kept: HashSet<DiffId>,
}

impl<'a> Contents<'a> {
    pub fn new(
        engine: &'a Engine,
        draft: &'a ImageDraft,
        taken: &'a HashMap<DiffId, Taken>,
        launch_cache: Option<(LaunchCache, LaunchCacheWriter)>,
    ) -> Self {
        Self { engine, draft, taken, launch_cache, kept: HashSet::new() }
    }

    /// Writes the `wanted` layers as files of a tar, each once, under the names that `name` gives them; returns their sizes.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        wanted: &HashSet<DiffId>,
        name: &dyn Fn(&DiffId) -> String,
    ) -> Result<HashMap<DiffId, u64>> {
        let mut sizes = HashMap::new();
        let mut elsewhere = Elsewhere::new();
        let draft = self.draft;
        for layer in draft.layers.iter().filter(|layer| wanted.contains(layer.diff_id())) {
            let diff_id = layer.diff_id();
            if sizes.contains_key(diff_id) {
                continue;
            }
            match (self.write_own(out, diff_id, &name(diff_id))?, &layer.content) {
                (Some(size), _) => drop(sizes.insert(diff_id.clone(), size)),
                (None, LayerContent::From { image, .. }) => add(&mut elsewhere, image, diff_id),
                (None, LayerContent::New(_)) => bail!("layer {diff_id} was not taken in"),
            }
        }
        for (image, mut wanted) in elsewhere.into_values() {
            let list: Vec<_> = wanted.iter().cloned().collect();
            save::fetch(self.engine, &image, &list, &mut |diff_id, layer| {
                wanted.remove(diff_id);
                let size = layer.size();
                sizes.insert(diff_id.clone(), size);
                write_header(out, &name(diff_id), size)?;
                self.keep(diff_id, out, |out| layer.copy_to(out))?;
                write_padding(out, size)
            })?;
            if let Some(missing) = wanted.first() {
                bail!(
                    "layer {missing} is neither on disk nor in the launch cache, and image {} does not have it any more",
                    image.name
                );
            }
        }
        Ok(sizes)
    }

    /// Writes a layer that was taken in, or that the launch cache has; its size, if there is one.
    fn write_own(&mut self, out: &mut dyn Write, diff_id: &DiffId, name: &str) -> Result<Option<u64>> {
        if let Some(taken) = self.taken.get(diff_id) {
            write_header(out, name, taken.size)?;
            self.keep(diff_id, out, |out| {
                let mut counted = Exactly { left: taken.size, out };
                taken.source.write_tar(&mut counted)?;
                match counted.left {
                    0 => Ok(()),
                    _ => bail!("layer {diff_id} changed while it was read"),
                }
            })?;
            write_padding(out, taken.size)?;
            return Ok(Some(taken.size));
        }
        let cached = |cache: &LaunchCache| Some((whole_layer(cache, diff_id)?, cache.size(diff_id)?));
        let Some((mut layer, size)) = self.launch_cache.as_ref().and_then(|(cache, _)| cached(cache)) else { return Ok(None) };
        write_header(out, name, size)?;
        let mut counted = Exactly { left: size, out };
        io::copy(&mut layer, &mut counted).with_context(|| format!("read layer {diff_id} of the launch cache"))?;
        if counted.left > 0 {
            bail!("layer {diff_id} of the launch cache was cut while it was read");
        }
        write_padding(out, size)?;
        Ok(Some(size))
    }

    /// Lets `write` write a layer, and keeps a copy for the launch cache.
    fn keep(&mut self, diff_id: &DiffId, out: &mut dyn Write, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let staged = match &self.launch_cache {
            Some((cache, writer)) if !self.kept.contains(diff_id) && !cache.has(diff_id) => writer.stage().ok(),
            _ => None,
        };
        let Some(mut staged) = staged else { return write(out) };
        write(&mut Both { out, copy: &mut staged })?;
        if let Some((_, writer)) = &self.launch_cache {
            match writer.keep(staged, diff_id) {
                Ok(()) => drop(self.kept.insert(diff_id.clone())),
                Err(error) => warn!("Failed to keep layer {diff_id} in the launch cache: {error}"),
            }
        }
        Ok(())
    }

    /// The image that was loaded when the launch cache was written, if its layers' blobs are known.
    pub fn last_loaded(&self) -> Option<LoadedImage> {
        self.launch_cache.as_ref()?.0.last_loaded()
    }

    /// Leaves word of the image for the next build.
    pub fn remember(&self, image: &LoadedImage) {
        if let Some((_, writer)) = &self.launch_cache {
            writer.remember(image);
        }
    }

    /// Fills the launch cache with the layers of the app that were not sent, and makes it visible. It fails no export.
    pub fn fill_launch_cache(mut self) {
        let Some((_, writer)) = &self.launch_cache else { return };
        let mut elsewhere = Elsewhere::new();
        let base = self.base_layers();
        for layer in &self.draft.layers[base..] {
            let diff_id = layer.diff_id();
            if self.kept.contains(diff_id) || writer.reuse(diff_id).is_ok() {
                self.kept.insert(diff_id.clone());
                continue;
            }
            match (&layer.content, self.taken.get(diff_id)) {
                (_, Some(taken)) => {
                    stage(writer, diff_id, |out| taken.source.write_tar(out));
                    self.kept.insert(diff_id.clone());
                }
                (LayerContent::From { image, .. }, None) => add(&mut elsewhere, image, diff_id),
                (LayerContent::New(_), None) => {}
            }
        }
        for (image, wanted) in elsewhere.into_values() {
            let wanted: Vec<_> = wanted.into_iter().collect();
            let fetched = save::fetch(self.engine, &image, &wanted, &mut |diff_id, layer| {
                stage(writer, diff_id, |out| layer.copy_to(out));
                Ok(())
            });
            if let Err(error) = fetched {
                warn!("The launch cache lacks layers of image {}: {error}", image.name);
            }
        }
        let Some((_, writer)) = self.launch_cache else { return };
        if let Err(error) = writer.commit() {
            warn!("Failed to write the launch cache: {error}");
        }
    }

    /// The layers of the run image, which the launch cache does not keep.
    fn base_layers(&self) -> usize {
        let from = |content: &LayerContent| match content {
            LayerContent::From { image, .. } => Some(image.identifier.clone()),
            LayerContent::New(_) => None,
        };
        let Some(base) = self.draft.layers.first().and_then(|layer| from(&layer.content)) else { return 0 };
        self.draft.layers.iter().take_while(|layer| from(&layer.content).as_ref() == Some(&base)).count()
    }
}

fn add(elsewhere: &mut Elsewhere, image: &Arc<Image>, diff_id: &DiffId) {
    let found = elsewhere.entry(image.identifier.clone()).or_insert_with(|| (Arc::clone(image), BTreeSet::new()));
    found.1.insert(diff_id.clone());
}

fn stage(writer: &LaunchCacheWriter, diff_id: &DiffId, write: impl FnOnce(&mut dyn Write) -> Result<()>) {
    let staged = writer.stage().and_then(|mut staged| {
        write(&mut staged)?;
        writer.keep(staged, diff_id)
    });
    if let Err(error) = staged {
        warn!("Failed to keep layer {diff_id} in the launch cache: {error}");
    }
}

/// The layer out of the launch cache, if it is whole. A damaged file is made again by whoever has the layer.
pub fn whole_layer(cache: &LaunchCache, diff_id: &DiffId) -> Option<Box<dyn Read + Send>> {
    if !cache.has(diff_id) {
        return None;
    }
    let checked = cache.read(diff_id).and_then(|mut layer| Ok(io::copy(&mut layer, &mut io::sink())?));
    match checked.and_then(|_| cache.read(diff_id)) {
        Ok(layer) => Some(layer),
        Err(error) => {
            warn!("Not using layer {diff_id} of the launch cache: {error}");
            None
        }
    }
}

/// Writes to both; the copy handles its own errors.
struct Both<'a> {
    out: &'a mut dyn Write,
    copy: &'a mut dyn Write,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.copy.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
