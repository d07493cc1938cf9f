//! Writing layouts: everything is staged beside the target and moved into place at the end, `index.json` last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tracing::warn;

use super::REF_NAME;
use super::held::Held;
use super::read::blob_path;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::image::draft::{Encoded, ImageDraft, LayerContent};
use crate::image::json;
use crate::image::manifest::{Descriptor, MediaFamily};
use crate::image::reference::Digest;
use crate::image::store::{Image, ImageWriter, LayerBlob, Saved};
use crate::layers::compression::Compression;
use crate::layers::pipeline::compress_layer;
use crate::layers::sink::{BlobSink, Chunk};
use crate::layers::source::LayerSource;
use crate::process::temporary::TemporaryDirectory;

#[derive(Debug)]
pub(super) struct LayoutWriter {
    /// The layouts to write, the main one first.
    paths: Vec<PathBuf>,
    ref_name: Option<String>,
    compression: Compression,
    held: Held,
    /// Holds the new blobs until the commit; removed on drop.
    staging: Arc<TemporaryDirectory>,
    /// Number of the next staged file.
    next: AtomicU64,
}

impl LayoutWriter {
    pub(super) fn new(paths: Vec<PathBuf>, ref_name: Option<String>, compression: Compression, held: Held) -> Result<Self> {
        let Some(main) = paths.first() else { bail!("an image needs a name") };
        let staging = staging_dir(main).with_context(|| format!("stage image at {}", main.display()))?;
        Ok(Self { paths, ref_name, compression, held, staging: Arc::new(staging), next: AtomicU64::new(0) })
    }

    /// Makes manifest and config of an image visible as they are, without layers.
    pub(super) fn publish_sparse(self, image: &Arc<Image>) -> Result<()> {
        let (Some(originals), Some(manifest)) = (&image.originals, &image.manifest) else {
            bail!("{} has no manifest", image.name)
        };
        let encoded = Encoded {
            config_digest: Digest::of(&originals.config),
            config: originals.config.clone(),
            manifest_digest: Digest::of(&originals.manifest),
            manifest: originals.manifest.clone(),
            manifest_media_type: manifest.family().manifest(),
        };
        let draft = ImageDraft::from_base(image)?;
        let publish = |path: &PathBuf| self.publish_at(path, &draft, &encoded, &[]);
        self.paths.iter().try_for_each(|path| publish(path).with_context(|| format!("write image to {}", path.display())))
    }

    /// Makes the image visible at all paths, with the blobs of its layers, as far as they exist.
    fn publish(self, draft: &ImageDraft) -> Result<Saved> {
        let mut draft = draft.clone();
        if let Some(name) = &self.ref_name {
            draft.annotations.insert(REF_NAME.to_owned(), name.clone());
        }
        let encoded = draft.encode()?;
        let blobs = self.blobs(&draft)?;
        for path in &self.paths {
            self.publish_at(path, &draft, &encoded, &blobs).with_context(|| format!("write image to {}", path.display()))?;
        }
        let names = self.shown_names();
        let identifier = names.first().map(|name| format!("{name}@{}", encoded.manifest_digest)).unwrap_or_default();
        let manifest_size = encoded.manifest.len() as u64;
        Ok(Saved { names, identifier, image_id: None, digest: None, manifest_size })
    }

    /// Layer blobs and where they lie now. Base images may be sparse; what is absent there stays absent here, and so does what
    /// may not be read, as with the reference.
    fn blobs(&self, draft: &ImageDraft) -> Result<Vec<(Digest, PathBuf)>> {
        let mut blobs: Vec<(Digest, PathBuf)> = Vec::new();
        for layer in &draft.layers {
            let Descriptor { digest, .. } = draft.descriptor(layer)?;
            if blobs.iter().any(|(known, _)| *known == digest) {
                continue;
            }
            match &layer.content {
                LayerContent::New(_) => blobs.push((digest.clone(), self.staging.path().join(digest.hex()))),
                LayerContent::From { image, .. } => {
                    let path = blob_path(Path::new(&image.name), &digest);
                    match self.held.open(&path) {
                        Ok(_) => blobs.push((digest, path)),
                        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                        Err(e) => warn!("The image is saved without a layer of {}: {}", image.name, Error::io("open", &path, &e)),
                    }
                }
            }
        }
        Ok(blobs)
    }

    fn publish_at(&self, path: &Path, draft: &ImageDraft, encoded: &Encoded, blobs: &[(Digest, PathBuf)]) -> Result<()> {
        if path.symlink_metadata().is_ok() {
            return self.fill(path, draft, encoded, blobs);
        }
        // A whole layout appears at once.
        let whole = self.staging.path().join(format!("image-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        self.fill(&whole, draft, encoded, blobs)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("mkdir", parent, &e))?;
        }
        match fs::rename(&whole, path) {
            Ok(()) => Ok(()),
            // Another file system is mounted there, or somebody else was faster.
            Err(_) => self.fill(path, draft, encoded, blobs),
        }
    }

    fn fill(&self, path: &Path, draft: &ImageDraft, encoded: &Encoded, blobs: &[(Digest, PathBuf)]) -> Result<()> {
        let dir = path.join("blobs/sha256");
        fs::create_dir_all(&dir).map_err(|e| Error::io("mkdir", &dir, &e))?;
        for (digest, source) in blobs {
            self.place(source, &blob_path(path, digest))?;
        }
        for (digest, bytes) in [(&encoded.config_digest, &encoded.config), (&encoded.manifest_digest, &encoded.manifest)] {
            replace(&blob_path(path, digest), bytes, 0o666)?;
        }
        replace(&path.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o777)?;
        replace(&path.join("index.json"), &index(draft, encoded), 0o777)
    }

    /// Puts a blob in its place by a hard link, else by a copy that appears whole.
    fn place(&self, source: &Path, target: &Path) -> Result<()> {
        let blob = self.held.open(source).map_err(|e| Error::io("open", source, &e))?;
        let size = blob.size().map_err(|e| Error::io("stat", source, &e))?;
        if target.metadata().is_ok_and(|there| there.is_file() && there.len() == size) {
            return Ok(());
        }
        if !blob.is_held {
            match fs::hard_link(source, target) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) if source.starts_with(self.staging.path()) && fs::rename(source, target).is_ok() => return Ok(()),
                Err(_) => {}
            }
        }
        let dir = target.parent().unwrap_or(target);
        let mut copy = tempfile::Builder::new()
            .prefix(".lifecycle-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(|e| Error::io("create file in", dir, &e))?;
        blob.copy_to(copy.as_file_mut()).and_then(|_| copy.as_file().sync_data()).map_err(|e| Error::io("copy", source, &e))?;
        copy.persist(target).map_err(|e| Error::io("rename", target, &e.error))?;
        Ok(())
    }
}

impl ImageWriter for LayoutWriter {
    fn shown_names(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    fn add_layer(&self, source: &LayerSource, tee: Option<&mut (dyn Write + Send)>) -> Result<LayerBlob> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sink = FileSink::new(Arc::clone(&self.staging), number)?;
        let layer = compress_layer(source, self.compression, tee, Box::new(sink))?;
        // The draft relabels it into the family of its manifest.
        let media_type = self.compression.media_type(MediaFamily::Oci).unwrap_or_default().to_owned();
        Ok(LayerBlob { diff_id: layer.diff_id, digest: layer.digest, size: layer.size, media_type })
    }

    fn commit(self: Box<Self>, draft: &ImageDraft) -> Result<Saved> {
        self.publish(draft)
    }
}

/// A directory of our own in the nearest existing ancestor of `target`, so that moving is renaming.
fn staging_dir(target: &Path) -> Result<TemporaryDirectory> {
    let mut parent = target;
    while !parent.is_dir() {
        parent = match parent.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    TemporaryDirectory::within(parent, ".lifecycle-")
}

fn index(draft: &ImageDraft, encoded: &Encoded) -> Vec<u8> {
    let mut descriptor =
        Descriptor::new(encoded.manifest_media_type, &encoded.manifest_digest, encoded.manifest.len() as u64).json;
    if let Some(name) = draft.annotations.get(REF_NAME) {
        descriptor["annotations"] = json!({REF_NAME: name});
    }
    json::to_bytes(&json!({"schemaVersion": 2, "mediaType": MediaFamily::Oci.index(), "manifests": [descriptor]}))
}

/// Writes a file so that it is there whole or not at all, also after a crash.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new()
        .prefix(".lifecycle-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(dir)
        .map_err(|e| Error::io("create file in", dir, &e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| Error::io("write", path, &e))?;
    file.persist(path).map_err(|e| Error::io("rename", path, &e.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", dir, &e))
}

/// A blob on its way into the staging directory, where it gets its digest for a name.
struct FileSink {
    staging: Arc<TemporaryDirectory>,
    path: PathBuf,
    file: Option<File>,
}

impl FileSink {
    fn new(staging: Arc<TemporaryDirectory>, number: u64) -> Result<Self> {
        let path = staging.path().join(format!("blob-{number}"));
        let file =
            File::options().write(true).create_new(true).mode(0o666).open(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(Self { staging, path, file: Some(file) })
    }
}

impl BlobSink for FileSink {
    fn write(&mut self, chunk: Chunk) -> Result<()> {
        let Some(file) = &mut self.file else { bail!("blob is already closed") };
        file.write_all(&chunk).map_err(|e| Error::io("write", &self.path, &e))
    }

    fn finish(mut self: Box<Self>, digest: &Digest, _size: u64) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_data().map_err(|e| Error::io("sync", &self.path, &e))?;
        let target = self.staging.path().join(digest.hex());
        fs::rename(&self.path, &target).map_err(|e| Error::io("rename", &target, &e))
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
