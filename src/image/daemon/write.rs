//! Saving an image to a daemon: only what it has not got.
//!
//! A layer that is taken in is hashed, not sent. When all are known, the image is loaded as one tar that is written while it
//! is sent, see [`super::load`]; an image that is there already is only tagged.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::api::Engine;
use super::contents::Contents;
use super::load::Load;
use crate::bail;
use crate::cache::LaunchCache;
use crate::error::{Error, Result};
use crate::image::draft::ImageDraft;
use crate::image::reference::{DiffId, Digest, ImageReference};
use crate::image::store::{ImageWriter, LayerBlob, Saved};
use crate::image::{MediaFamily, json};
use crate::layers::source::LayerSource;

/// An image in the making.
#[derive(Debug)]
pub struct DaemonWriter {
    engine: Arc<Engine>,
    names: Vec<String>,
    launch_cache: Option<LaunchCache>,
    taken: Mutex<HashMap<DiffId, Taken>>,
}

/// A layer that was taken in. It is read again when it is sent; the daemon compares its hash with that of the config.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub source: LayerSource,
    pub size: u64,
}

impl DaemonWriter {
    pub fn new(engine: Arc<Engine>, names: Vec<String>, launch_cache: Option<LaunchCache>) -> Self {
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
        // Not before: one build at a time writes to a launch cache, and buildpacks may take long.
        let launch_cache = launch_cache.and_then(|cache| {
            let writer = cache.writer().inspect_err(|error| warn!("The launch cache is not used: {error}")).ok()?;
            Some((cache, writer))
        });
        let mut contents = Contents::new(&engine, draft, &taken, launch_cache);
        let loaded = Load { engine: &engine, draft, config: &config, digest: &digest, name: main }.run(&mut contents)?;
        tag(&engine, &loaded.id, &names)?;
        contents.fill_launch_cache();
        let manifest_size = loaded.manifest_size.unwrap_or_else(|| manifest_size(draft, &config, &digest, &taken));
        let id = loaded.id.strip_prefix("sha256:").unwrap_or(&loaded.id).to_owned();
        Ok(Saved { names, identifier: id.clone(), image_id: Some(id), digest: None, manifest_size })
    }
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
