//! An image in the making: pure edits on a base image, no I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::config::{ImageConfig, child};
use super::manifest::{Descriptor, Manifest, MediaFamily};
use super::reference::{DiffId, Digest};
use super::store::{Image, LayerBlob};
use super::time::NORMALIZED;
use super::{json, manifest};
use crate::bail;
use crate::error::{Context, Result};

#[derive(Clone, Debug)]
pub struct ImageDraft {
    /// Its `rootfs`, `history` and `created` are made from the fields below when the draft is encoded.
    pub config: ImageConfig,
    pub family: MediaFamily,
    /// Bottom first.
    pub layers: Vec<DraftLayer>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; time of the image and of all its history entries.
    pub created: String,
    /// History entries keep their texts (Platform API 0.12); otherwise they hold nothing but the time.
    pub keep_history: bool,
    /// Fields of the base's manifest that this program does not know.
    manifest: Value,
}

#[derive(Clone, Debug)]
pub struct DraftLayer {
    pub content: LayerContent,
    /// The entry of the config's history, a JSON object. Its time is set when the draft is encoded.
    pub history: Value,
}

#[derive(Clone, Debug)]
pub enum LayerContent {
    /// A layer of another image (run image, previous image) that is taken over as it is. `None`: the image is in a daemon.
    From { image: Arc<Image>, diff_id: DiffId, descriptor: Option<Descriptor> },
    /// A layer that an [`super::ImageWriter`] took in.
    New(LayerBlob),
}

impl DraftLayer {
    pub fn diff_id(&self) -> &DiffId {
        match &self.content {
            LayerContent::From { diff_id, .. } => diff_id,
            LayerContent::New(blob) => &blob.diff_id,
        }
    }
}

/// A draft as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub config: Vec<u8>,
    pub config_digest: Digest,
    pub manifest: Vec<u8>,
    pub manifest_digest: Digest,
    pub manifest_media_type: &'static str,
}

impl ImageDraft {
    /// An image without layers.
    pub fn empty(os: &str, architecture: &str, family: MediaFamily) -> Self {
        Self {
            config: ImageConfig::empty(os, architecture),
            family,
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            created: NORMALIZED.to_owned(),
            keep_history: false,
            manifest: json!({}),
        }
    }

    /// A copy of the image, to be edited.
    ///
    /// # Errors
    /// If manifest and config do not have the same number of layers.
    pub fn from_base(base: &Arc<Image>) -> Result<Self> {
        let mut draft = Self::empty("", "", MediaFamily::Docker);
        draft.config = base.config.clone();
        draft.layers = layers_of(base)?;
        if let Some(manifest) = &base.manifest {
            draft.family = manifest.family();
            draft.manifest = manifest.json.clone();
            let annotations = manifest.json["annotations"].as_object();
            draft.annotations =
                annotations.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        }
        Ok(draft)
    }

    /// `app` on another base: the layers of `app` above `old_top` on those of `new_base`; what containers are started with
    /// is `app`'s, the platform is that of `new_base`.
    ///
    /// # Errors
    /// If `app` has no layer `old_top`.
    pub fn rebase(app: &Arc<Image>, old_top: &DiffId, new_base: &Arc<Image>) -> Result<Self> {
        let mut draft = Self::from_base(new_base)?;
        let mut layers = layers_of(app)?;
        let Some(top) = layers.iter().position(|layer| layer.diff_id() == old_top) else {
            bail!("could not find base layer in image");
        };
        draft.layers.extend(layers.drain(top + 1..));
        draft.annotations.clear();
        draft.manifest = json!({});
        draft.config = ImageConfig::empty(new_base.config.os(), new_base.config.architecture());
        // The reference forgets the variant; platform.md, "Rebaser", wants that of the new run image.
        for (key, value) in [("os.version", new_base.config.os_version()), ("variant", new_base.config.variant())] {
            if !value.is_empty() {
                draft.config.json[key] = value.into();
            }
        }
        draft.config.json["config"] = app.config.json["config"].clone();
        Ok(draft)
    }

    pub fn diff_ids(&self) -> Vec<DiffId> {
        self.layers.iter().map(|layer| layer.diff_id().clone()).collect()
    }

    pub fn top_layer(&self) -> Option<&DiffId> {
        self.layers.last().map(DraftLayer::diff_id)
    }

    /// Puts a new layer on top.
    pub fn add_layer(&mut self, blob: LayerBlob, created_by: &str) {
        self.layers.push(DraftLayer { content: LayerContent::New(blob), history: entry(created_by) });
    }

    /// Puts a layer of another image on top.
    ///
    /// # Errors
    /// If the other image has no such layer.
    pub fn take_layer(&mut self, image: &Arc<Image>, diff_id: &DiffId, created_by: &str) -> Result<()> {
        let Some(layer) = layers_of(image)?.into_iter().find(|layer| layer.diff_id() == diff_id) else {
            bail!("failed to find layer with diff ID {:?} in image {}", diff_id.as_str(), image.name);
        };
        self.layers.push(DraftLayer { content: layer.content, history: entry(created_by) });
        Ok(())
    }

    /// Replaces what containers are started with by that of another config (extended run images).
    pub fn replace_config(&mut self, other: &ImageConfig) {
        self.config.json["config"] = other.json["config"].clone();
    }

    /// Sets a variable in its place, or adds it at the end.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let line = Value::from(format!("{name}={value}"));
        let env = self.config.section().entry("Env").or_insert_with(|| json!([]));
        if !env.is_array() {
            *env = json!([]);
        }
        let Value::Array(lines) = env else { return };
        match lines.iter_mut().find(|l| l.as_str().is_some_and(|l| l.split('=').next() == Some(name))) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }

    pub fn set_label(&mut self, name: &str, value: &str) {
        self.config.section();
        child(&mut self.config.json["config"], "Labels").insert(name.to_owned(), value.into());
    }

    pub fn remove_label(&mut self, name: &str) {
        if let Some(Value::Object(labels)) = self.config.section().get_mut("Labels") {
            labels.shift_remove(name);
        }
    }

    pub fn set_entrypoint(&mut self, words: &[&str]) {
        self.config.section().insert("Entrypoint".to_owned(), json!(words));
    }

    /// No words: the image has no `Cmd`.
    pub fn set_cmd(&mut self, words: &[&str]) {
        self.config.section().insert("Cmd".to_owned(), json!(words));
    }

    pub fn set_working_dir(&mut self, path: &str) {
        self.config.section().insert("WorkingDir".to_owned(), path.into());
    }

    /// The config with layers, history and times in place.
    pub fn finished_config(&self) -> ImageConfig {
        let mut config = self.config.clone();
        let ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id().as_str()).collect();
        config.json["rootfs"] = json!({"type": "layers", "diff_ids": ids});
        config.json["history"] = self.layers.iter().map(|layer| self.history_entry(layer)).collect();
        config.json["created"] = self.created.as_str().into();
        if let Some(top) = config.json.as_object_mut() {
            // The container an image was committed from is not that of the new image.
            top.shift_remove("container");
        }
        config
    }

    fn history_entry(&self, layer: &DraftLayer) -> Value {
        let mut entry = if self.keep_history { layer.history.clone() } else { json!({}) };
        entry["created"] = self.created.as_str().into();
        if let Some(object) = entry.as_object_mut() {
            object.retain(|_, value| !json::is_empty(value));
        }
        entry
    }

    /// Config and manifest as bytes: the same draft always gives the same ones.
    ///
    /// # Errors
    /// If a layer's blob is not known because its image is in a daemon.
    pub fn encode(&self) -> Result<Encoded> {
        let config = self.finished_config().to_bytes();
        let config_descriptor = ImageConfig::descriptor(self.family.config(), &config);
        let mut json = self.manifest.clone();
        json["schemaVersion"] = 2.into();
        json["mediaType"] = self.family.manifest().into();
        json["config"] = config_descriptor.json;
        json["layers"] = self.layers.iter().map(|layer| Ok(self.descriptor(layer)?.json)).collect::<Result<_>>()?;
        if let Some(object) = json.as_object_mut() {
            object.shift_remove("subject");
            object.shift_remove("annotations");
            if !self.annotations.is_empty() {
                object.insert("annotations".to_owned(), json!(self.annotations));
            }
            json::reorder(object, &["schemaVersion", "mediaType", "config", "layers", "annotations"]);
        }
        let manifest = json::to_bytes(&json);
        Ok(Encoded {
            config,
            config_digest: config_descriptor.digest,
            manifest_digest: Digest::of(&manifest),
            manifest,
            manifest_media_type: self.family.manifest(),
        })
    }

    /// The config alone, for a daemon, which knows images by it; and its digest.
    pub fn encode_config(&self) -> (Vec<u8>, Digest) {
        let config = self.finished_config().to_bytes();
        let digest = Digest::of(&config);
        (config, digest)
    }

    /// The layer as this image's manifest names it.
    pub fn descriptor(&self, layer: &DraftLayer) -> Result<Descriptor> {
        match &layer.content {
            LayerContent::New(blob) => Ok(Descriptor::new(self.family.relabel(&blob.media_type), &blob.digest, blob.size)),
            LayerContent::From { descriptor: Some(descriptor), .. } => Ok(descriptor.clone().relabelled(self.family)),
            LayerContent::From { image, diff_id, .. } => bail!("layer {diff_id} of image {} has no blob", image.name),
        }
    }
}

impl Manifest {
    /// The manifest that [`ImageDraft::encode`] made.
    pub fn of(encoded: &Encoded) -> Result<Self> {
        manifest::Manifest::parse(&encoded.manifest)
    }
}

/// The image's layers with their history: its own texts if there is one entry per layer (entries of empty layers do not
/// count), else nothing.
fn layers_of(image: &Arc<Image>) -> Result<Vec<DraftLayer>> {
    let ids = image.config.diff_ids();
    let descriptors = match &image.manifest {
        Some(manifest) => {
            manifest.layers().with_context(|| format!("manifest of {}", image.name))?.into_iter().map(Some).collect()
        }
        None => vec![None; ids.len()],
    };
    if descriptors.len() != ids.len() {
        bail!("image {} has {} layers in its manifest but {} in its config", image.name, descriptors.len(), ids.len());
    }
    let entries = image.config.json["history"].as_array();
    let mut history: Vec<Value> =
        entries.into_iter().flatten().filter(|e| e.is_object() && e["empty_layer"].as_bool() != Some(true)).cloned().collect();
    if history.len() != ids.len() {
        history = vec![json!({}); ids.len()];
    }
    let parts = ids.into_iter().zip(descriptors).zip(history);
    Ok(parts
        .map(|((diff_id, descriptor), history)| DraftLayer {
            content: LayerContent::From { image: Arc::clone(image), diff_id, descriptor },
            history,
        })
        .collect())
}

fn entry(created_by: &str) -> Value {
    json!({"created_by": created_by})
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
