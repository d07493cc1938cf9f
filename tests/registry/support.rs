//! Stores, images and layers for tests.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifecycle::error::Result;
use lifecycle::image::{Image, ImageDraft, ImageStore, MediaFamily, Platform, Saved};
use lifecycle::layers::source::LayerSource;
use lifecycle::process::Invocation;
use lifecycle::registry::RegistryStore;

pub fn invocation(pairs: &[(&str, &str)]) -> Invocation {
    let env = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Invocation { env, ..Invocation::default() }
}

pub fn store(pairs: &[(&str, &str)]) -> RegistryStore {
    RegistryStore::new(&invocation(pairs), &[], Platform::new("linux", "amd64", "")).expect("registry store")
}

pub fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

/// A directory tree that is a layer, with one file of this many bytes that compress badly.
pub fn layer(dir: &Path, name: &str, seed: u64, size: usize) -> LayerSource {
    let path: PathBuf = dir.join(name);
    fs::create_dir_all(&path).expect("create layer");
    fs::write(path.join("file"), noise(seed, size)).expect("write layer");
    LayerSource::Directory { path, uid: 1, gid: 1 }
}

/// Bytes that look random and are the same for the same seed (xorshift).
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Saves an image with these new layers on top of a base.
pub fn save(store: &RegistryStore, to: &[&str], base: Option<&Arc<Image>>, layers: &[LayerSource]) -> Result<Saved> {
    let writer = store.writer(&names(to), base.map(|base| &**base))?;
    let mut draft = match base {
        Some(base) => ImageDraft::from_base(base)?,
        None => ImageDraft::empty("linux", "amd64", MediaFamily::Docker),
    };
    draft.set_label("made-by", "test");
    for source in layers {
        let mut copy = Vec::new();
        let blob = writer.add_layer(source, Some(&mut copy))?;
        assert_eq!(sha256(&copy), blob.diff_id.as_str(), "what was teed is the layer");
        draft.add_layer(blob, "a layer");
    }
    writer.commit(&draft)
}

/// Opens an image anew and reads all its layers to the end.
pub fn check_whole(store: &RegistryStore, name: &str) -> Arc<Image> {
    let image = store.open(name).expect("open image").expect("image is there");
    assert!(store.is_complete(&image).expect("check blobs"));
    for diff_id in image.config.diff_ids() {
        let mut reader = store.read_layer(&image, &diff_id).expect("open layer");
        let mut tar = Vec::new();
        reader.read_to_end(&mut tar).expect("read layer");
        assert_eq!(sha256(&tar), diff_id.as_str());
    }
    image
}

pub fn sha256(bytes: &[u8]) -> String {
    lifecycle::image::Digest::of(bytes).to_string()
}
