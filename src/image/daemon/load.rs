//! Loading an image: first without what the daemon should have, and whole if it does not like that. What came of it is
//! looked at, for an engine may say yes to an image that it cannot run.

use std::collections::HashMap;
use std::io::Write;

use serde_json::Value;
use tracing::debug;

use super::api::Engine;
use super::archive::write_docker;
use super::contents::Contents;
use super::http::BodyWriter;
use super::oci_archive::write_oci;
use super::same::is_same;
use super::stored;
use crate::bail;
use crate::cache::launch::LoadedImage;
use crate::error::{Context, Error, Result};
use crate::image::draft::{ImageDraft, LayerContent};
use crate::image::manifest::Descriptor;
use crate::image::reference::{DiffId, Digest};

/// An image that is to be in the daemon.
pub struct Load<'a> {
    pub engine: &'a Engine,
    pub draft: &'a ImageDraft,
    pub config: &'a [u8],
    /// Of the config.
    pub digest: &'a Digest,
    pub name: &'a str,
}

/// An image in the daemon.
pub struct Loaded {
    pub id: String,
    /// Of the manifest, where the daemon keeps one and tells of it.
    pub manifest_size: Option<u64>,
}

impl Loaded {
    fn of(inspect: &Value) -> Option<Self> {
        Some(Self { id: inspect["Id"].as_str()?.to_owned(), manifest_size: inspect["Descriptor"]["size"].as_u64() })
    }
}

impl Load<'_> {
    /// The image in the daemon, also if it was there already.
    pub fn run(&self, contents: &mut Contents<'_>) -> Result<Loaded> {
        if let Some(loaded) = self.engine.inspect(self.digest.as_str())?.as_ref().and_then(Loaded::of) {
            debug!("The docker daemon has image {} already", loaded.id);
            return Ok(loaded);
        }
        let loaded =
            if self.engine.uses_containerd() { self.with_containerd(contents) } else { self.with_graph_driver(contents) };
        loaded.with_context(|| format!("loading image {:?}", self.name))
    }

    /// A chain of layers that the engine has needs not be sent again. An image is known by its config.
    fn with_graph_driver(&self, contents: &mut Contents<'_>) -> Result<Loaded> {
        let known = self.known_layers();
        if known > 0 {
            match self.load_docker(contents, known) {
                Err(error) => debug!("The docker daemon refused an image without its lower {known} layers, sending all: {error}"),
                loaded => return loaded,
            }
        }
        self.load_docker(contents, 0)
    }

    fn load_docker(&self, contents: &mut Contents<'_>, known: usize) -> Result<Loaded> {
        send(self.engine, |out| write_docker(out, contents, self.draft, known, (self.config, self.digest), self.name))?;
        match self.engine.inspect(self.digest.as_str())?.as_ref().and_then(Loaded::of) {
            Some(loaded) => Ok(loaded),
            None => bail!("the docker daemon took in another image than {}", self.digest),
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

    /// containerd keeps blobs and knows an image by its manifest. A blob that it has needs not be sent again; an image that
    /// lacks one is taken in without a complaint, so an engine that cannot tell gets everything.
    fn with_containerd(&self, contents: &mut Contents<'_>) -> Result<Loaded> {
        let last = contents.last_loaded();
        // The manifest may be anyone's, so an image can only be known by what it is.
        let same = self.engine.inspect_manifests(self.name)?;
        let same = same.filter(|inspect| !lacks_blobs(inspect) && is_same(self.engine, inspect, self.config));
        if let Some(same) = same.as_ref().and_then(Loaded::of) {
            debug!("The docker daemon has image {} already", same.id);
            last.filter(|last| last.id == same.id).iter().for_each(|last| contents.remember(last));
            return Ok(same);
        }
        if self.engine.tells_missing_blobs() {
            let stored = stored::blobs(self.engine, self.draft, last);
            match self.load_oci(contents, &stored) {
                Err(error) if !stored.is_empty() => {
                    debug!("The docker daemon lacks some of {} known layers, sending all: {error}", stored.len());
                }
                loaded => return loaded,
            }
        }
        self.load_oci(contents, &HashMap::new())
    }

    /// The image gets its names when it is known to be good; until then it has none.
    fn load_oci(&self, contents: &mut Contents<'_>, stored: &HashMap<DiffId, Descriptor>) -> Result<Loaded> {
        let mut written = None;
        let loaded = send(self.engine, |out| {
            written = Some(write_oci(out, contents, self.draft, stored, (self.config, self.digest))?);
            Ok(())
        });
        let Some((manifest, layers)) = written else {
            loaded?;
            bail!("the docker daemon did not read the image");
        };
        match loaded.and_then(|()| self.check(&manifest)) {
            Ok(loaded) => {
                contents.remember(&LoadedImage { id: loaded.id.clone(), layers });
                Ok(loaded)
            }
            Err(error) => {
                self.remove_nameless(&manifest);
                Err(error)
            }
        }
    }

    /// The manifest's digest says what the image is; whether its blobs are there, only the engine can say.
    fn check(&self, manifest: &Digest) -> Result<Loaded> {
        let whole = |inspect: &Value| match inspect["Manifests"] {
            Value::Null => is_same(self.engine, inspect, self.config),
            _ => !lacks_blobs(inspect),
        };
        let inspect = self.engine.inspect_manifests(manifest.as_str())?.filter(whole);
        match inspect.as_ref().and_then(Loaded::of) {
            Some(loaded) if loaded.id == manifest.as_str() => Ok(loaded),
            _ => bail!("the docker daemon took in another image than {manifest}, or not all of it"),
        }
    }

    /// An image that is no good, and that nobody else has named, does not stay.
    fn remove_nameless(&self, manifest: &Digest) {
        let removed = self.engine.inspect(manifest.as_str()).and_then(|inspect| match inspect {
            Some(inspect) if inspect["RepoTags"].as_array().is_none_or(Vec::is_empty) => self.engine.remove(manifest.as_str()),
            _ => Ok(()),
        });
        if let Err(error) = removed {
            debug!("Cannot remove image {manifest}: {error}");
        }
    }
}

/// What the engine says of the blobs that the image's manifests name; engines before API 1.48 say nothing.
fn lacks_blobs(inspect: &Value) -> bool {
    inspect["Manifests"].as_array().is_some_and(|list| list.is_empty() || list.iter().any(|m| m["Available"] == false))
}

/// Loads what `write` writes, while it is written.
fn send(engine: &Engine, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let (mut writer, body) = BodyWriter::pair();
    let (written, loaded) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| engine.load(body));
        let written = write(&mut writer).and_then(|()| Ok(writer.flush()?));
        // Then its answer tells why.
        let hung_up = writer.hung_up();
        drop(writer);
        let loaded = loading.join().unwrap_or_else(|_| Err(Error::new("a thread ended early")));
        (if hung_up { Ok(()) } else { written }, loaded)
    });
    written.and(loaded)
}
