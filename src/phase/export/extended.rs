//! The run image as extensions left it: a sparse OCI layout below `<extended>/run`, in which only the blobs of the layers
//! that the extender made are there (image_extension.md; extender.md).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::image::{Digest, ImageConfig, Manifest};

/// An extended run image.
#[derive(Clone, Debug)]
pub struct ExtendedRunImage {
    pub config: ImageConfig,
    /// Files of the layers that extensions made, bottom first, with their history texts.
    pub layers: Vec<(PathBuf, String)>,
}

impl ExtendedRunImage {
    /// Reads the only image below `<extended>/run`; `None` if nothing is there.
    pub fn read(extended: &Path) -> Result<Option<Self>> {
        let parent = extended.join("run");
        let Some(path) = only_entry(&parent)? else { return Ok(None) };
        Self::read_layout(&path).with_context(|| format!("read extended run image {}", path.display())).map(Some)
    }

    fn read_layout(path: &Path) -> Result<Self> {
        let index: Value =
            serde_json::from_slice(&read(&path.join("index.json"))?).map_err(|e| Error::new(format!("parse index.json: {e}")))?;
        let manifests = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
        let [manifest] = manifests else {
            bail!("expected image index at {path:?} to have only 1 manifest; found {}", manifests.len());
        };
        let Some(digest) = manifest["digest"].as_str().and_then(Digest::parse) else {
            bail!("index.json: a manifest without digest");
        };
        let manifest = Manifest::parse(&read(&blob(path, &digest))?)?;
        let config = ImageConfig::parse(&read(&blob(path, &manifest.config()?.digest))?)?;
        let mut layers = Vec::new();
        for (index, layer) in manifest.layers()?.iter().enumerate() {
            let file = blob(path, &layer.digest);
            // What is not there is a layer of the run image itself.
            if file.exists() {
                layers.push((file, config.history_of_layer(index).unwrap_or_default().created_by));
            }
        }
        Ok(Self { config, layers })
    }
}

fn only_entry(dir: &Path) -> Result<Option<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(|e| Error::io("open", dir, &e))?,
    };
    match entries.as_slice() {
        [] => Ok(None),
        [entry] => Ok(Some(entry.path())),
        more => bail!("expected directory {dir:?} to have only 1 item; found {}", more.len()),
    }
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io("open", path, &e))
}
