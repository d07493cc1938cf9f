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

impl Load<'_> {
    /// Returns the image's ID, also if the daemon had it already.
    pub fn run(&self, contents: &mut Contents<'_>) -> Result<String> {
        if let Some(id) = id_of(self.engine.inspect(self.digest.as_str())?.as_ref()) {
            debug!("The docker daemon has image {id} already");
            return Ok(id);
        }
        let loaded =
            if self.engine.uses_containerd() { self.with_containerd(contents) } else { self.with_graph_driver(contents) };
        loaded.with_context(|| format!("loading image {:?}", self.name))
    }

    /// A chain of layers that the engine has needs not be sent again. An image is known by its config.
    fn with_graph_driver(&self, contents: &mut Contents<'_>) -> Result<String> {
        let known = self.known_layers();
        if known > 0 {
            match self.load_docker(contents, known) {
                Err(error) => debug!("The docker daemon refused an image without its lower {known} layers, sending all: {error}"),
                loaded => return loaded,
            }
        }
        self.load_docker(contents, 0)
    }

    fn load_docker(&self, contents: &mut Contents<'_>, known: usize) -> Result<String> {
        send(self.engine, |out| write_docker(out, contents, self.draft, known, (self.config, self.digest), self.name))?;
        match id_of(self.engine.inspect(self.digest.as_str())?.as_ref()) {
            Some(id) => Ok(id),
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
    fn with_containerd(&self, contents: &mut Contents<'_>) -> Result<String> {
        let last = contents.last_loaded();
        // The manifest may be anyone's, so an image can only be known by what it is.
        let same = self.engine.inspect_manifests(self.name)?;
        let same = same.filter(|inspect| !lacks_blobs(inspect) && is_same(self.engine, inspect, self.config));
        if let Some(id) = id_of(same.as_ref()) {
            debug!("The docker daemon has image {id} already");
            last.filter(|last| last.id == id).iter().for_each(|last| contents.remember(last));
            return Ok(id);
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
    fn load_oci(&self, contents: &mut Contents<'_>, stored: &HashMap<DiffId, Descriptor>) -> Result<String> {
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
            Ok(()) => {
                let id = manifest.to_string();
                contents.remember(&LoadedImage { id: id.clone(), layers });
                Ok(id)
            }
            Err(error) => {
                self.remove_nameless(&manifest);
                Err(error)
            }
        }
    }

    /// The manifest's digest says what the image is; whether its blobs are there, only the engine can say.
    fn check(&self, manifest: &Digest) -> Result<()> {
        let whole = |inspect: &Value| match inspect["Manifests"] {
            Value::Null => is_same(self.engine, inspect, self.config),
            _ => !lacks_blobs(inspect),
        };
        match self.engine.inspect_manifests(manifest.as_str())? {
            Some(inspect) if inspect["Id"] == manifest.as_str() && whole(&inspect) => Ok(()),
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

fn id_of(inspect: Option<&Value>) -> Option<String> {
    inspect?["Id"].as_str().map(str::to_owned)
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
