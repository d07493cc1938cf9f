//! The image store of containerd, as a Docker Engine uses it: blobs by digest, images by the digest of their manifest.
//! Importing an archive puts its blobs into the store and asks for no others: an image that lacks some is taken in, and what
//! is missed is missed when the image is unpacked, if it was not yet (containerd's `client.Import`, moby's
//! `daemon/containerd/image_exporter.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::Image;
use crate::support::{gzip, sha256, tar_of};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Default)]
pub struct Containerd {
    /// By digest without `sha256:`.
    blobs: BTreeMap<String, Vec<u8>>,
    /// Manifests that are images.
    images: BTreeSet<String>,
    /// Chains of diffIDs that are unpacked.
    snapshots: BTreeSet<String>,
    /// Nothing can be unpacked any more.
    pub full: bool,
}

impl Containerd {
    /// Layers of a registry are compressed.
    pub fn pull(&mut self, image: &Image) -> String {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let blob = gzip(layer);
            layers.push(descriptor(GZIP, &sha256(&blob), blob.len()));
            self.add(blob);
        }
        let config = self.add(image.config.clone());
        let config = descriptor("application/vnd.oci.image.config.v1+json", &config, image.config.len());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let id = self.add(manifest.to_string().into_bytes());
        self.images.insert(id.clone());
        self.unpack(&id).expect("a whole image");
        id
    }

    fn add(&mut self, blob: Vec<u8>) -> String {
        let digest = sha256(&blob);
        self.blobs.insert(digest.clone(), blob);
        digest
    }

    /// Loads an OCI archive, whose image has no name; the engine's message.
    pub fn load(&mut self, files: BTreeMap<String, Vec<u8>>) -> Result<String, String> {
        if !files.contains_key("oci-layout") {
            return Err("unrecognized image format".into());
        }
        let index = files.get("index.json").ok_or("missing index.json in OCI layout 1.0.0")?;
        let index: Value = serde_json::from_slice(index).map_err(|e| e.to_string())?;
        for (name, content) in files {
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, self.add(content), "{name}");
            }
        }
        let [target] = index["manifests"].as_array().map_or(&[][..], Vec::as_slice) else { return Err("no manifest".into()) };
        assert_eq!(target["annotations"], Value::Null, "the image has a name before it is known to be good");
        let id = hex(target);
        assert_eq!(self.blobs.get(&id).map(Vec::len), target["size"].as_u64().map(|s| s as usize), "the manifest's size");
        self.images.insert(id.clone());
        match self.unpack(&id) {
            Ok(()) => Ok(format!("Loaded image ID: sha256:{id}\n")),
            Err(error) => Ok(format!("Error unpacking image sha256:{id}: {error}\n")),
        }
    }

    /// Unpacks what is not unpacked yet; the diffID of each layer is compared with the config's.
    fn unpack(&mut self, id: &str) -> Result<(), String> {
        let (config, layers) = self.parts(id);
        let mut chain = String::new();
        for (diff_id, layer) in config["rootfs"]["diff_ids"].as_array().expect("diffIDs").iter().zip(layers) {
            chain.push_str(diff_id.as_str().expect("a diffID"));
            if self.snapshots.contains(&chain) {
                continue;
            }
            let blob = self.blobs.get(&hex(&layer)).ok_or_else(|| format!("content digest {}: not found", layer["digest"]))?;
            if format!("sha256:{}", sha256(&plain(blob, &layer))) != *diff_id {
                return Err(format!("wrong diff id calculated on extraction {diff_id}"));
            }
            if self.full {
                return Err("apply layer error: write /data: no space left on device".into());
            }
            self.snapshots.insert(chain.clone());
        }
        Ok(())
    }

    fn parts(&self, id: &str) -> (Value, Vec<Value>) {
        let json = |digest: &str| -> Value { serde_json::from_slice(&self.blobs[digest]).expect("JSON") };
        let manifest = json(id);
        (json(&hex(&manifest["config"])), manifest["layers"].as_array().expect("layers").clone())
    }

    pub fn has_image(&self, id: &str) -> bool {
        self.images.contains(id)
    }

    pub fn config(&self, id: &str) -> Vec<u8> {
        let manifest: Value = serde_json::from_slice(&self.blobs[id]).expect("manifest");
        self.blobs[&hex(&manifest["config"])].clone()
    }

    /// Of the manifest.
    pub fn size(&self, id: &str) -> usize {
        self.blobs[id].len()
    }

    /// `None`: blobs are missing.
    pub fn image(&self, id: &str) -> Option<Image> {
        self.images.get(id)?;
        let layer = |layer: &Value| self.blobs.get(&hex(layer)).map(|blob| Arc::new(plain(blob, layer)));
        let layers = self.parts(id).1.iter().map(layer).collect::<Option<_>>()?;
        Some(Image { config: self.config(id), layers })
    }

    /// Removes an image, and the blobs that no other one has.
    pub fn remove(&mut self, id: &str) {
        self.images.remove(id);
        let used: BTreeSet<String> = self.images.iter().flat_map(|id| self.reachable(id)).collect();
        self.blobs.retain(|digest, _| used.contains(digest));
    }

    fn reachable(&self, id: &str) -> Vec<String> {
        let manifest: Value = serde_json::from_slice(&self.blobs[id]).expect("manifest");
        let layers = manifest["layers"].as_array().expect("layers");
        [id.to_owned(), hex(&manifest["config"])].into_iter().chain(layers.iter().map(hex)).collect()
    }

    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// The largest blob gets lost, though an image names it.
    pub fn lose_largest_blob(&mut self) {
        let largest = self.blobs.iter().max_by_key(|(_, blob)| blob.len()).map(|(digest, _)| digest.clone());
        self.blobs.remove(&largest.expect("a blob"));
    }

    pub fn lose_snapshots(&mut self) {
        self.snapshots.clear();
    }

    /// `docker save`: sorted by name.
    pub fn save(&self, id: &str) -> Vec<u8> {
        let mut blobs = self.reachable(id);
        if !blobs.iter().all(|digest| self.blobs.contains_key(digest)) {
            blobs.truncate(1);
        }
        let blobs: BTreeSet<String> = blobs.into_iter().collect();
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, id, self.blobs[id].len())]});
        let files = blobs.iter().map(|digest| (format!("blobs/sha256/{digest}"), self.blobs[digest].clone()));
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let last = [("index.json".to_owned(), index.to_string().into_bytes()), ("oci-layout".to_owned(), layout)];
        tar_of(files.chain(last))
    }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

fn hex(descriptor: &Value) -> String {
    descriptor["digest"].as_str().and_then(|d| d.strip_prefix("sha256:")).expect("a digest").to_owned()
}

fn plain(blob: &[u8], descriptor: &Value) -> Vec<u8> {
    match descriptor["mediaType"].as_str() {
        Some(GZIP) => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(blob).read_to_end(&mut plain).expect("decompress");
            plain
        }
        Some("application/vnd.oci.image.layer.v1.tar") => blob.to_vec(),
        other => panic!("media type {other:?}"),
    }
}
