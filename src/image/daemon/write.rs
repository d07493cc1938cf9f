//! Saving an image to a daemon: only what it has not got.
//!
//! A layer that is taken in is hashed, not sent. When all are known, the image is loaded as one tar that is written while it
//! is sent. Layers of the longest chain that the daemon has already are empty files in it, which engines with graph drivers
//! accept; an image that is there already is only tagged.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

use super::api::Engine;
use super::http::BodyWriter;
use super::save;
use crate::bail;
use crate::cache::LaunchCache;
use crate::cache::launch::LaunchCacheWriter;
use crate::error::{Context, Error, Result};
use crate::image::draft::{ImageDraft, LayerContent};
use crate::image::reference::{DiffId, Digest, ImageReference};
use crate::image::store::{Image, ImageWriter, LayerBlob, Saved};
use crate::image::{ImageConfig, MediaFamily, json};
use crate::layers::source::LayerSource;

/// An image in the making.
#[derive(Debug)]
pub struct DaemonWriter {
    engine: Arc<Engine>,
    names: Vec<String>,
    launch_cache: Option<(LaunchCache, LaunchCacheWriter)>,
    taken: Mutex<HashMap<DiffId, Taken>>,
}

/// A layer that was taken in. It is read again when it is sent; the daemon compares its hash with that of the config.
#[derive(Clone, Debug)]
struct Taken {
    source: LayerSource,
    size: u64,
}

impl DaemonWriter {
    pub fn new(engine: Arc<Engine>, names: Vec<String>, launch_cache: Option<(LaunchCache, LaunchCacheWriter)>) -> Self {
        Self { engine, names, launch_cache, taken: Mutex::default() }
    }
}

impl ImageWriter for DaemonWriter {
    fn shown_names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn add_layer(&self, source: &LayerSource, tee: Option<&mut (dyn Write + Send)>) -> Result<LayerBlob> {
        let mut out = Hashing { hash: Sha256::new(), size: 0, tee };
        source.write_tar(&mut out)?;
        let diff_id = DiffId::from_sha256(&out.hash.finalize().into());
        let taken = Taken { source: source.clone(), size: out.size };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone(), taken);
        let digest = Digest::parse(diff_id.as_str()).ok_or_else(|| Error::new(format!("{diff_id} is no digest")))?;
        Ok(LayerBlob { diff_id, digest, size: out.size, media_type: MediaFamily::Docker.plain_layer().to_owned() })
    }

    fn commit(self: Box<Self>, draft: &ImageDraft) -> Result<Saved> {
        let Self { engine, names, launch_cache, taken } = *self;
        let taken = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (config, digest) = draft.encode_config();
        let Some(main) = names.first() else { bail!("an image needs a name") };
        let mut save = Save { engine: &engine, draft, taken: &taken, launch_cache, kept: HashSet::new() };
        let id = match save.find(&config, &digest, main)? {
            Found::Same(id) => {
                debug!("The docker daemon has image {id} already");
                id
            }
            Found::Other { containerd } => save.load(&config, &digest, main, containerd)?,
        };
        tag(&engine, &id, &names)?;
        save.finish_launch_cache();
        let manifest_size = manifest_size(draft, &config, &digest, &taken);
        let id = id.strip_prefix("sha256:").unwrap_or(&id).to_owned();
        Ok(Saved { names, identifier: id.clone(), image_id: Some(id), digest: None, manifest_size })
    }
}

/// What the daemon has of an image that is to be saved.
enum Found {
    /// The image, by this ID.
    Same(String),
    /// `containerd`: images are kept by containerd, which calls them by their manifest and takes no empty layers.
    Other { containerd: bool },
}

/// Gives the image all its names; tries all before it complains.
fn tag(engine: &Engine, id: &str, names: &[String]) -> Result<()> {
    let mut problems = Vec::new();
    for name in names {
        let tagged = ImageReference::parse(name).and_then(|reference| {
            if reference.digest.is_some() {
                bail!("refusing to create a tag with a digest reference");
            }
            engine.tag(id, &reference.context(), reference.identifier())
        });
        if let Err(error) = tagged {
            problems.push(format!("[{name}: {error}]"));
        }
    }
    match problems.len() {
        0 => Ok(()),
        n => bail!("failed to write image to the following tags: {}", problems[..n].join(",")),
    }
}

/// Hashes what passes.
struct Hashing<'a> {
    hash: Sha256,
    size: u64,
    tee: Option<&'a mut (dyn Write + Send)>,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        if let Some(tee) = &mut self.tee {
            tee.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// One image on its way into the daemon.
struct Save<'a> {
    engine: &'a Engine,
    draft: &'a ImageDraft,
    taken: &'a HashMap<DiffId, Taken>,
    launch_cache: Option<(LaunchCache, LaunchCacheWriter)>,
    /// Layers that the new launch cache has.
    kept: HashSet<DiffId>,
}

impl Save<'_> {
    /// Looks for the image in the daemon.
    fn find(&self, config: &[u8], digest: &Digest, name: &str) -> Result<Found> {
        if self.engine.inspect(digest.as_str())?.is_some() {
            return Ok(Found::Same(digest.to_string()));
        }
        if !self.engine.uses_containerd() {
            return Ok(Found::Other { containerd: false });
        }
        // The manifest is the daemon's own, so an image can only be known by what it is.
        let same = self.engine.inspect(name)?.filter(|inspect| is_same(self.engine, inspect, config));
        let id = same.and_then(|inspect| inspect["Id"].as_str().map(str::to_owned));
        Ok(id.map_or(Found::Other { containerd: true }, Found::Same))
    }

    /// Loads the image, first without the layers that the daemon should have; returns its ID.
    fn load(&mut self, config: &[u8], digest: &Digest, name: &str, containerd: bool) -> Result<String> {
        let known = if containerd { 0 } else { self.known_layers() };
        let mut loaded = self.load_without(known, config, digest, name, containerd);
        if known > 0
            && let Err(error) = &loaded
        {
            debug!("The docker daemon refused an image without its lower {known} layers, sending all: {error}");
            loaded = self.load_without(0, config, digest, name, containerd);
        }
        loaded.with_context(|| format!("loading image {name:?}"))
    }

    fn load_without(&mut self, known: usize, config: &[u8], digest: &Digest, name: &str, containerd: bool) -> Result<String> {
        let (mut writer, body) = BodyWriter::pair();
        let engine = self.engine;
        let (written, loaded) = std::thread::scope(|scope| {
            let loading = scope.spawn(|| engine.load(body));
            let written = self.write_archive(&mut writer, known, config, digest, name).and_then(|()| Ok(writer.flush()?));
            let hung_up = writer.hung_up();
            drop(writer);
            let loaded = loading.join().unwrap_or_else(|_| Err(Error::new("a thread ended early")));
            (if hung_up { Ok(()) } else { written }, loaded)
        });
        written?;
        loaded?;
        let loaded = engine.inspect(if containerd { name } else { digest.as_str() })?;
        let good = loaded.filter(|inspect| !containerd || is_same(engine, inspect, config));
        match good.as_ref().and_then(|inspect| inspect["Id"].as_str()) {
            Some(id) => Ok(id.to_owned()),
            None => bail!("the docker daemon took in another image than {digest}"),
        }
    }

    /// How many of the lower layers the daemon has as one chain: those that the image has in common with one it is made from.
    fn known_layers(&self) -> usize {
        let ids = self.draft.diff_ids();
        let images = self.draft.layers.iter().filter_map(|layer| match &layer.content {
            LayerContent::From { image, .. } => Some(image),
            LayerContent::New(_) => None,
        });
        images.map(|image| image.config.diff_ids().iter().zip(&ids).take_while(|(a, b)| a == b).count()).max().unwrap_or(0)
    }

    /// Writes the tar that `docker load` takes: config, layers, and a manifest that names them.
    fn write_archive(&mut self, out: &mut dyn Write, known: usize, config: &[u8], digest: &Digest, name: &str) -> Result<()> {
        let config_name = format!("{}.json", digest.hex());
        write_file(out, &config_name, config)?;
        let mut files = Vec::new();
        let mut written = HashSet::new();
        // Layers that only a saved image has, by that image.
        let mut elsewhere: BTreeMap<String, (Arc<Image>, BTreeSet<DiffId>)> = BTreeMap::new();
        let draft = self.draft;
        for (index, layer) in draft.layers.iter().enumerate() {
            let diff_id = layer.diff_id();
            if index < known {
                files.push(format!("blank_{index}"));
                write_header(out, &files[index], 0)?;
                continue;
            }
            files.push(file_name(diff_id));
            if !written.insert(diff_id.clone()) || self.write_own(out, diff_id)? {
                continue;
            }
            let LayerContent::From { image, .. } = &layer.content else { bail!("layer {diff_id} was not taken in") };
            let found = elsewhere.entry(image.identifier.clone()).or_insert_with(|| (Arc::clone(image), BTreeSet::new()));
            found.1.insert(diff_id.clone());
        }
        for (image, mut wanted) in elsewhere.into_values() {
            let list: Vec<_> = wanted.iter().cloned().collect();
            save::fetch(self.engine, &image, &list, &mut |diff_id, layer| {
                wanted.remove(diff_id);
                let size = layer.size();
                write_header(out, &file_name(diff_id), size)?;
                self.keep(diff_id, out, |out| layer.copy_to(out))?;
                pad(out, size)
            })?;
            if let Some(missing) = wanted.first() {
                bail!(
                    "layer {missing} is neither on disk nor in the launch cache, and image {} does not have it any more",
                    image.name
                );
            }
        }
        let manifest = json!([{"Config": config_name, "RepoTags": [ImageReference::full_name_or_text(name)], "Layers": files}]);
        write_file(out, "manifest.json", &json::to_bytes(&manifest))?;
        Ok(out.write_all(&[0; 1024])?)
    }

    /// Writes a layer that was taken in, or that the launch cache has; whether there is one.
    fn write_own(&mut self, out: &mut dyn Write, diff_id: &DiffId) -> Result<bool> {
        if let Some(taken) = self.taken.get(diff_id) {
            write_header(out, &file_name(diff_id), taken.size)?;
            self.keep(diff_id, out, |out| {
                let mut counted = Exactly { left: taken.size, out };
                taken.source.write_tar(&mut counted)?;
                match counted.left {
                    0 => Ok(()),
                    _ => bail!("layer {diff_id} changed while it was read"),
                }
            })?;
            pad(out, taken.size)?;
            return Ok(true);
        }
        let Some(mut layer) = self.launch_cache.as_ref().and_then(|(cache, _)| whole_layer(cache, diff_id)) else {
            return Ok(false);
        };
        // Its size is that of the file, which the cache does not tell.
        let mut file = tempfile::tempfile().context("create temporary file")?;
        let size = io::copy(&mut layer, &mut file)?;
        file.rewind()?;
        write_header(out, &file_name(diff_id), size)?;
        io::copy(&mut file, out)?;
        pad(out, size)?;
        Ok(true)
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

    /// Fills the launch cache with the layers of the app that were not sent, and makes it visible. It fails no export.
    fn finish_launch_cache(mut self) {
        let Some((_, writer)) = &self.launch_cache else { return };
        let mut elsewhere: BTreeMap<String, (Arc<Image>, Vec<DiffId>)> = BTreeMap::new();
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
                (LayerContent::From { image, .. }, None) => {
                    let found = elsewhere.entry(image.identifier.clone()).or_insert_with(|| (Arc::clone(image), Vec::new()));
                    found.1.push(diff_id.clone());
                }
                (LayerContent::New(_), None) => {}
            }
        }
        for (image, wanted) in elsewhere.into_values() {
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

/// Whether the daemon's image is the one with this config, as far as the daemon tells of it.
fn is_same(engine: &Engine, inspect: &Value, config: &[u8]) -> bool {
    let same = || -> Result<bool> {
        let wanted = ImageConfig::parse(config)?;
        let history = engine.history(inspect["Id"].as_str().unwrap_or_default())?;
        let found = super::config::image_config(inspect, &history)?;
        let created_by = |config: &ImageConfig| config.history().into_iter().map(|entry| entry.created_by).collect::<Vec<_>>();
        let section = |config: &ImageConfig| -> BTreeMap<String, Value> {
            let section = config.json["config"].as_object();
            let filled = |value: &Value| !(value.is_null() || *value == json!({}) || *value == json!([]) || *value == json!(""));
            section.into_iter().flatten().filter(|(_, v)| filled(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        Ok(found.diff_ids() == wanted.diff_ids()
            && (found.os(), found.architecture(), found.variant(), found.created())
                == (wanted.os(), wanted.architecture(), wanted.variant(), wanted.created())
            && section(&found) == section(&wanted)
            && created_by(&found) == created_by(&wanted))
    };
    same().unwrap_or_else(|error| {
        debug!("Comparing images: {error}");
        false
    })
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

/// Takes as many bytes as were announced.
struct Exactly<'a> {
    left: u64,
    out: &'a mut dyn Write,
}

impl Write for Exactly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left =
            self.left.checked_sub(bytes.len() as u64).ok_or_else(|| io::Error::other("the layer grew while it was read"))?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file_name(diff_id: &DiffId) -> String {
    format!("{}.tar", diff_id.hex())
}

fn write_file(out: &mut dyn Write, name: &str, content: &[u8]) -> Result<()> {
    write_header(out, name, content.len() as u64)?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}

fn write_header(out: &mut dyn Write, name: &str, size: u64) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Ok(out.write_all(header.as_bytes())?)
}

fn pad(out: &mut dyn Write, size: u64) -> Result<()> {
    let over = (size % 512) as usize;
    if over == 0 { Ok(()) } else { Ok(out.write_all(&[0; 512][over..])?) }
}

/// The size of the manifest that the image would have in a registry without compression, for report.toml.
fn manifest_size(draft: &ImageDraft, config: &[u8], digest: &Digest, taken: &HashMap<DiffId, Taken>) -> u64 {
    let family = MediaFamily::Docker;
    let layer = |diff_id: &DiffId| {
        let size = taken.get(diff_id).map_or(0, |taken| taken.size);
        json!({"mediaType": family.plain_layer(), "size": size, "digest": diff_id.as_str()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": family.manifest(),
        "config": {"mediaType": family.config(), "size": config.len(), "digest": digest.as_str()},
        "layers": draft.diff_ids().iter().map(layer).collect::<Vec<_>>(),
    });
    json::to_bytes(&manifest).len() as u64
}
