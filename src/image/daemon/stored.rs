//! Which layers a containerd store has, and as what blobs. The engine has no answer to that but the image's manifest, and
//! gives that only with the whole image, so what was loaded last is written down in the launch cache.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use serde_json::Value;
use tracing::debug;

use super::api::Engine;
use crate::cache::launch::LoadedImage;
use crate::error::{Context, Result};
use crate::image::draft::{ImageDraft, LayerContent};
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::reference::{DiffId, Digest};
use crate::image::store::Image;

/// Larger files are no manifests, nor configs.
const MAX_JSON: u64 = 8 << 20;

/// The blobs of the draft's layers that the store should have: those of the image that was loaded last, if it is still
/// there, and those of the images that the draft is made from.
pub fn blobs(engine: &Engine, draft: &ImageDraft, last: Option<LoadedImage>) -> HashMap<DiffId, Descriptor> {
    let mut found: HashMap<DiffId, Descriptor> = HashMap::new();
    if let Some(last) = last.filter(|last| engine.inspect(&last.id).is_ok_and(|inspect| inspect.is_some())) {
        found.extend(last.layers.iter().map(|l| (l.diff_id.clone(), Descriptor::new(&l.media_type, &l.digest, l.size))));
    }
    // An image that has more of the layers may spare the other.
    let mut images: BTreeMap<(usize, &str), &Arc<Image>> = BTreeMap::new();
    let ids = draft.diff_ids();
    for layer in &draft.layers {
        if let LayerContent::From { image, .. } = &layer.content {
            let has = image.config.diff_ids().iter().filter(|id| ids.contains(id)).count();
            images.insert((usize::MAX - has, &image.identifier), image);
        }
    }
    for image in images.into_values() {
        let has = image.config.diff_ids();
        if ids.iter().all(|id| found.contains_key(id) || !has.contains(id)) {
            continue;
        }
        match saved_layers(engine, image) {
            // In one form, wherever it is known from: the same image has the same manifest.
            Ok(layers) => found.extend(has.into_iter().zip(layers.into_iter().map(plain))),
            Err(error) => debug!("The layers of image {} in the docker daemon are not known: {error}", image.name),
        }
    }
    found.retain(|diff_id, _| ids.contains(diff_id));
    found
}

/// Without annotations. Foreign layers have the URLs that they come from.
fn plain(layer: Descriptor) -> Descriptor {
    if layer.is_foreign() { layer } else { Descriptor::new(&layer.media_type, &layer.digest, layer.size) }
}

/// The layers of an image by its manifest, which is somewhere in `docker save`; what comes after it is not read.
fn saved_layers(engine: &Engine, image: &Image) -> Result<Vec<Descriptor>> {
    let act = || format!("read the manifest of image {} from the docker daemon", image.identifier);
    let mut archive = tar::Archive::new(engine.save(&image.identifier)?);
    let mut documents = Documents::default();
    for entry in archive.entries().with_context(act)? {
        let mut entry = entry.with_context(act)?;
        let name = entry.path().with_context(act)?.into_owned();
        let Some(hex) = name.to_str().and_then(|n| n.strip_prefix("blobs/sha256/")).map(str::to_owned) else { continue };
        if !entry.header().entry_type().is_file() || entry.size() > MAX_JSON {
            continue;
        }
        let mut content = vec![0; 1];
        if entry.read(&mut content).with_context(act)? == 0 || content != *b"{" {
            continue;
        }
        entry.read_to_end(&mut content).with_context(act)?;
        if let Some(layers) = documents.add(&hex, &content, &image.config.diff_ids()) {
            return Ok(layers);
        }
    }
    crate::bail!("{}: there is none", act())
}

/// Manifests and configs that came by, in any order.
#[derive(Default)]
struct Documents(HashMap<String, Value>);

impl Documents {
    /// The layers of the image with these diffIDs, as soon as its manifest and its config are there.
    fn add(&mut self, hex: &str, content: &[u8], diff_ids: &[DiffId]) -> Option<Vec<Descriptor>> {
        if Digest::of(content).hex() != hex {
            return None;
        }
        self.0.insert(hex.to_owned(), serde_json::from_slice(content).ok()?);
        let same = |config: &Value| {
            let ids = config["rootfs"]["diff_ids"].as_array();
            ids.is_some_and(|ids| ids.iter().map(Value::as_str).eq(diff_ids.iter().map(|id| Some(id.as_str()))))
        };
        self.0.values().find_map(|json| {
            let manifest = Manifest { json: json.clone() };
            let config = manifest.config().ok()?;
            let layers = manifest.layers().ok().filter(|layers| layers.len() == diff_ids.len())?;
            self.0.get(config.digest.hex()).filter(|config| same(config)).map(|_| layers)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(text: &str) -> DiffId {
        DiffId::parse(&format!("sha256:{}", text.repeat(64))).unwrap()
    }

    #[test]
    fn a_manifest_is_known_by_the_diff_ids_of_its_config() {
        let bytes = |json: Value| serde_json::to_vec(&json).unwrap();
        let config = bytes(json!({"rootfs": {"diff_ids": [id("a").as_str()]}}));
        let blob = Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", &Digest::of(b"blob"), 4);
        let manifest = bytes(json!({
            "config": {"digest": Digest::of(&config).as_str(), "size": config.len()}, "layers": [blob.json],
        }));
        for order in [[&config, &manifest], [&manifest, &config]] {
            let find = |wanted: &[DiffId]| {
                let mut documents = Documents::default();
                order.map(|content| documents.add(Digest::of(content).hex(), content, wanted))
            };
            assert_eq!(find(&[id("a")]), [None, Some(vec![blob.clone()])]);
            assert_eq!(find(&[id("b")]), [None, None]);
            assert_eq!(find(&[id("a"), id("a")]), [None, None]);
        }
        let mut documents = Documents::default();
        documents.add(Digest::of(&config).hex(), &config, &[id("a")]);
        assert_eq!(documents.add(Digest::of(b"other").hex(), &manifest, &[id("a")]), None, "damaged");
    }
}
