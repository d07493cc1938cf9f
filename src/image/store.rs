//! What all image stores (registry, OCI layout directory, docker daemon) have in common.

use std::io::{Read, Write};
use std::sync::Arc;

use super::config::ImageConfig;
use super::draft::ImageDraft;
use super::manifest::Manifest;
use super::reference::{DiffId, Digest};
use crate::error::Result;
use crate::layers::source::LayerSource;

/// An image that exists in a store; never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// As the platform named it.
    pub name: String,
    /// What analyzed.toml and labels call it: `name@sha256:…` in a registry, a path or `name@sha256:…` for a layout,
    /// 64 hex digits in a daemon.
    pub identifier: String,
    pub config: ImageConfig,
    /// `None` in a daemon.
    pub manifest: Option<Manifest>,
    /// Digest of the manifest; `None` in a daemon.
    pub digest: Option<Digest>,
    /// `None` in a daemon.
    pub originals: Option<Originals>,
}

/// Manifest and config byte for byte as a store holds them: only these bytes have their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Originals {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
}

/// A layer as a store holds it. `digest` and `size` are those of the blob as stored (compressed in a registry or layout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    pub diff_id: DiffId,
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// What became of an image that was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Names under which it was saved, see [`ImageWriter::shown_names`].
    pub names: Vec<String>,
    /// As [`Image::identifier`] when the image is opened under its main name.
    pub identifier: String,
    /// Image ID (daemon), 64 hex digits.
    pub image_id: Option<String>,
    /// Digest of the manifest; only in a registry, as report.toml has it.
    pub digest: Option<Digest>,
    pub manifest_size: u64,
}

pub trait ImageStore: Send + Sync {
    /// `None` if the store has no such image. Faults and refused access are errors.
    fn open(&self, name: &str) -> Result<Option<Arc<Image>>>;

    /// The image's name as messages and `run-image.image` of analyzed.toml have it: a path in a layout directory.
    fn display_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// For messages: what the store said when [`Self::open`] found no image under this name.
    fn why_absent(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Stands in for an image that is gone: has those of these layers that can still be had (a launch cache). `None` if there
    /// are none.
    fn remnants(&self, name: &str, diff_ids: &[DiffId]) -> Option<Arc<Image>> {
        let _ = (name, diff_ids);
        None
    }

    /// Whether every blob that the image's manifest names is in the store. An image that has lost blobs cannot give its
    /// layers to a new one; the analyzer treats it as absent. Stores that keep images whole say `true` without looking.
    fn is_complete(&self, image: &Image) -> Result<bool> {
        let _ = image;
        Ok(true)
    }

    /// The layer's uncompressed tar, verified against `diff_id` at its end: a wrong byte ends in an error of the reader.
    fn read_layer(&self, image: &Image, diff_id: &DiffId) -> Result<Box<dyn Read + Send>>;

    /// Removes the image's manifest; its blobs are the store's affair.
    ///
    /// # Errors
    /// If the store cannot or must not.
    fn delete(&self, image: &Image) -> Result<()> {
        crate::bail!("{}: this store deletes no images", image.name)
    }

    /// Starts to write an image that will have these names; the first is the main one. `base` decides media family and
    /// platform.
    fn writer(&self, names: &[String], base: Option<&Image>) -> Result<Box<dyn ImageWriter>>;
}

/// Takes in layers, from several threads if need be, and then the image. Whatever was not committed is not visible.
pub trait ImageWriter: Send + Sync {
    /// The names that the image will have, as the log and report.toml show them: paths in a layout.
    fn shown_names(&self) -> Vec<String>;

    /// Takes in a layer in one pass over its source. Its plain tar is copied to `tee` (a cache's staging file) as it
    /// passes; a `tee` that fails must not fail the layer, so it handles its own errors.
    fn add_layer(&self, source: &LayerSource, tee: Option<&mut (dyn Write + Send)>) -> Result<LayerBlob>;

    /// Takes in a blob that the image `from` of the same store has, without moving its bytes. `false`: that is not
    /// possible, the layer must be added from its source.
    fn take_blob(&self, blob: &LayerBlob, from: &str) -> Result<bool> {
        let _ = (blob, from);
        Ok(false)
    }

    /// Makes the image visible under all names.
    fn commit(self: Box<Self>, draft: &ImageDraft) -> Result<Saved>;
}
