//! The image as it grows, instruction by instruction.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::blob::Blob;
use super::cache::Key;
use crate::error::{Context, Error, Result};
use crate::image::{Descriptor, Digest, ImageConfig, Manifest, MediaFamily};

/// Media type of new layers, in docker's and OCI's words.
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A base image and the layers put on it.
#[derive(Clone, Debug)]
pub struct WorkingImage {
    pub config: ImageConfig,
    manifest: Manifest,
    /// The manifest as it was read, as long as nothing changed.
    original: Option<(Vec<u8>, Vec<u8>)>,
    base_layers: Vec<Descriptor>,
    new_layers: Vec<Blob>,
    /// One entry for each layer, texts of the base as they were.
    history: Vec<Value>,
    /// The base has no usable history: the reference then leaves texts of new entries empty, too.
    texts: bool,
    /// Entries of the history before this one have their final text.
    named: usize,
}

/// The image as bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    /// Of the manifest.
    pub digest: Digest,
    pub config_digest: Digest,
    pub manifest_media_type: String,
}

impl WorkingImage {
    /// Reads a layout that holds manifest and config of one image.
    pub fn read(layout: &Path) -> Result<Self> {
        let index = layout.join("index.json");
        let stat = fs::metadata(&index).map_err(|e| Error::io("stat", &index, &e));
        stat.context("getting layout from path")?;
        let index: Value = serde_json::from_slice(&read(&index)?).map_err(|e| Error::new(format!("parse index.json: {e}")))?;
        let descriptor = Descriptor::from_json(&index["manifests"][0]).context("index.json")?;
        let blob = |digest: &Digest| -> Result<Vec<u8>> {
            let path = layout.join("blobs/sha256").join(digest.hex());
            let bytes = read(&path)?;
            if Digest::of(&bytes) != *digest {
                return Err(Error::new(format!("{} has another digest than its name says", path.display())));
            }
            Ok(bytes)
        };
        let manifest_bytes = blob(&descriptor.digest)?;
        let manifest = Manifest::parse(&manifest_bytes)?;
        let config_bytes = blob(&manifest.config()?.digest)?;
        let config = ImageConfig::parse(&config_bytes)?;
        let base_layers = manifest.layers()?;
        let (history, texts) = history(&config.json, base_layers.len());
        let original = Some((manifest_bytes, config_bytes));
        let named = history.len();
        Ok(Self { config, manifest, original, base_layers, new_layers: Vec::new(), history, texts, named })
    }

    pub fn digest(&self) -> Result<Digest> {
        Ok(self.encode()?.digest)
    }

    pub fn base_layer_count(&self) -> usize {
        self.base_layers.len()
    }

    pub fn base_layers(&self) -> &[Descriptor] {
        &self.base_layers
    }

    pub fn new_layers(&self) -> &[Blob] {
        &self.new_layers
    }

    /// `FROM scratch`: neither config nor layers of the base.
    pub fn clear(&mut self) {
        self.config = ImageConfig::empty(self.config.os(), self.config.architecture());
        self.base_layers.clear();
        self.new_layers.clear();
        self.history.clear();
        self.named = 0;
        self.texts = true;
        self.original = None;
    }

    /// Puts a layer on top.
    pub fn add_layer(&mut self, blob: Blob, created_by: &str) {
        let ids = &mut self.config.json["rootfs"]["diff_ids"];
        match ids.as_array_mut() {
            Some(list) => list.push(json!(blob.diff_id.as_str())),
            None => *ids = json!([blob.diff_id.as_str()]),
        }
        self.new_layers.push(blob);
        self.history.push(json!({ "created_by": created_by }));
        self.original = None;
    }

    /// Gives the entries since the last call their final texts.
    pub fn name_history(&mut self, name: impl Fn(&str) -> String) {
        let texts = std::mem::replace(&mut self.texts, true);
        for entry in &mut self.history[self.named..] {
            let text = if texts { entry["created_by"].as_str().unwrap_or_default() } else { "" };
            *entry = json!({ "created_by": name(text) });
        }
        self.named = self.history.len();
    }

    /// A field of the part of the config that containers are started with.
    pub fn set(&mut self, field: &str, value: Value) {
        self.config.json["config"][field] = value;
        self.original = None;
    }

    pub fn set_label(&mut self, name: &str, value: &str) {
        let labels = &mut self.config.json["config"]["Labels"];
        if !labels.is_object() {
            *labels = json!({});
        }
        labels[name] = json!(value);
        self.original = None;
    }

    /// What instructions on this image depend on: layers, history and config, but neither labels nor times.
    pub fn key(&self) -> Key {
        let mut config = self.config.json.clone();
        config["created"] = Value::Null;
        config["config"]["Labels"] = Value::Null;
        let texts: Vec<&Value> = self.history.iter().map(|entry| &entry["created_by"]).collect();
        config["history"] = json!(texts);
        let layers: Vec<&str> = self.base_layers.iter().map(|l| l.digest.as_str()).collect();
        Key::start(json!([config, layers]).to_string().as_bytes())
    }

    pub fn encode(&self) -> Result<Encoded> {
        let (manifest, config) = match &self.original {
            Some(bytes) => bytes.clone(),
            None => self.changed()?,
        };
        Ok(Encoded {
            digest: Digest::of(&manifest),
            config_digest: Digest::of(&config),
            manifest_media_type: self.manifest.media_type().to_owned(),
            manifest,
            config,
        })
    }

    fn changed(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut config = self.config.clone();
        config.json["created"] = json!("0001-01-01T00:00:00Z");
        config.json["history"] = json!(self.history);
        let config = config.to_bytes();
        let family: MediaFamily = self.manifest.family();
        let new = self.new_layers.iter().map(|blob| Descriptor::new(family.relabel(LAYER), &blob.digest, blob.size).json);
        let layers: Vec<Value> = self.base_layers.iter().map(|layer| layer.json.clone()).chain(new).collect();
        let mut manifest = self.manifest.json.clone();
        let media_type = self.manifest.config()?.media_type;
        manifest["config"] = ImageConfig::descriptor(&media_type, &config).json;
        manifest["layers"] = json!(layers);
        let manifest = serde_json::to_vec(&manifest).map_err(|e| Error::new(format!("encode manifest: {e}")))?;
        Ok((manifest, config))
    }
}

/// One entry for each layer: entries of empty layers are dropped; if the rest does not fit, all are empty.
fn history(config: &Value, layers: usize) -> (Vec<Value>, bool) {
    let entries = config["history"].as_array().into_iter().flatten();
    let entries: Vec<Value> = entries.filter(|e| e["empty_layer"] != true).cloned().collect();
    match entries.len() == layers {
        true => (entries, true),
        false => (vec![json!({}); layers], false),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io("open", path, &e))
}
