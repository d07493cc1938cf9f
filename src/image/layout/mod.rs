//! Images in a directory of OCI image layouts (OCI image spec, "image-layout.md"; platform.md, "OCI Image Layout").
//!
//! Each image has a layout of its own at `<layout>/<registry>/<repository>/<tag>`, whose `index.json` names one manifest. A
//! layout may be sparse: blobs of layers may be absent.

mod held;
mod read;
mod write;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blob;
use super::platform::Platform;
use super::reference::{DiffId, Digest, ImageReference};
use super::store::{Image, ImageStore, ImageWriter};
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::layers::compression::Compression;

use held::Held;
pub use read::{blob_path, open_dir};

/// Where layouts keep the name that an image has there.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A directory of layouts.
#[derive(Clone, Debug)]
pub struct LayoutStore {
    dir: PathBuf,
    platform: Platform,
    compression: Compression,
    held: Held,
}

impl LayoutStore {
    /// `platform` chooses from layouts that hold an image for several.
    pub fn new(dir: impl Into<PathBuf>, platform: Platform, compression: Compression) -> Self {
        Self { dir: dir.into(), platform, compression, held: Held::default() }
    }

    /// Opens layers of these images that a user without privileges may not read, so that he can. Names that mean nothing here
    /// are passed over.
    pub fn hold(&self, names: &[&str]) {
        for image in names.iter().filter_map(|name| self.open(name).ok().flatten()) {
            for layer in image.manifest.as_ref().and_then(|manifest| manifest.layers().ok()).unwrap_or_default() {
                self.held.hold(blob_path(Path::new(&image.name), &layer.digest));
            }
        }
    }

    /// Directory of an image: a path below the layout directory stays as it is (also `<path>@<digest>`, as analyzed.toml
    /// has it), a name is mapped.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        if Path::new(name).starts_with(&self.dir) {
            return Ok(PathBuf::from(split_identifier(name).0));
        }
        Ok(self.dir.join(ImageReference::parse(name)?.layout_path()))
    }
}

/// `<path>@<digest>` → path and digest.
pub fn split_identifier(text: &str) -> (&str, Option<Digest>) {
    match text.rsplit_once('@').map(|(path, digest)| (path, Digest::parse(digest))) {
        Some((path, Some(digest))) => (path, Some(digest)),
        _ => (text, None),
    }
}

impl ImageStore for LayoutStore {
    fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
        Ok(open_dir(&self.path(name)?, &self.platform)?.map(Arc::new))
    }

    fn display_name(&self, name: &str) -> String {
        self.path(name).map_or_else(|_| name.to_owned(), |path| path.to_string_lossy().into_owned())
    }

    fn read_layer(&self, image: &Image, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        let Some(index) = image.config.diff_ids().iter().position(|id| id == diff_id) else {
            bail!("failed to find layer with diff ID {:?} in image {}", diff_id.as_str(), image.name);
        };
        let layers = image.manifest.as_ref().map(super::Manifest::layers).transpose()?.unwrap_or_default();
        let Some(layer) = layers.get(index) else { bail!("manifest of {} has no layer {index}", image.name) };
        let path = blob_path(Path::new(&image.name), &layer.digest);
        let file = self.held.open(&path).map_err(|e| Error::io("open", &path, &e)).context("read layer")?;
        Ok(blob::verified(blob::decompress(file)?, diff_id))
    }

    fn writer(&self, names: &[String], base: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
        self.compression.check_fits(base)?;
        let paths = names.iter().map(|name| self.path(name)).collect::<Result<Vec<_>>>()?;
        let ref_name = names.first().and_then(|name| ImageReference::parse(name).ok()).map(|r| r.identifier().to_owned());
        Ok(Box::new(write::LayoutWriter::new(paths, ref_name, self.compression, self.held.clone())?))
    }
}

/// Writes an image whose layers exist elsewhere (`sparse`): an index, manifest and config byte for byte, no layer blobs.
pub fn write_sparse(path: &Path, image: &Arc<Image>) -> Result<()> {
    write::LayoutWriter::new(vec![path.to_owned()], None, Compression::default(), Held::default())?.publish_sparse(image)
}

#[cfg(test)]
mod tests;
