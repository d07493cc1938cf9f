//! The extended run image as an OCI layout that holds only what is new.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::blob::Blob;
use super::working_image::{Encoded, WorkingImage};
use crate::error::{Context, Error, Result};
use crate::image::Descriptor;

/// Writes `<directory>/<digest of the manifest>`; an incomplete layout never stands there.
pub fn write(directory: &Path, image: &WorkingImage) -> Result<()> {
    let encoded = image.encode()?;
    let failed = |e: io::Error| Error::io("mkdir", directory, &e);
    fs::create_dir_all(directory).map_err(failed)?;
    let staging = tempfile::Builder::new().prefix(".new-").tempdir_in(directory).map_err(failed)?;
    layout(staging.path(), &encoded, image).context("failed to save image")?;
    let place = directory.join(encoded.digest.as_str());
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|e| Error::io("remove", &place, &e))?;
    }
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::rename(staging.keep(), &place).map_err(|e| Error::io("rename", &place, &e))
}

fn layout(root: &Path, encoded: &Encoded, image: &WorkingImage) -> Result<()> {
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|e| Error::io("mkdir", &blobs, &e))?;
    let put = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|e| Error::io("write", path, &e));
    put(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let size = encoded.manifest.len() as u64;
    let mut descriptor = Descriptor::new(&encoded.manifest_media_type, &encoded.digest, size).json;
    descriptor["platform"] = json!({ "architecture": image.config.architecture(), "os": image.config.os() });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor] });
    put(&root.join("index.json"), index.to_string().as_bytes())?;
    put(&blobs.join(encoded.digest.hex()), &encoded.manifest)?;
    put(&blobs.join(encoded.config_digest.hex()), &encoded.config)?;
    for blob in image.new_layers() {
        copy(blob, &blobs.join(blob.digest.hex()))?;
    }
    Ok(())
}

fn copy(blob: &Blob, to: &Path) -> Result<()> {
    let failed = |e: io::Error| Error::io("write", to, &e);
    let mut file = match File::create_new(to) {
        // Several instructions made the same layer.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(failed)?,
    };
    let copied = io::copy(&mut blob.open()?, &mut file).map_err(failed)?;
    if copied != blob.size {
        return Err(Error::new(format!("write {}: layer has {copied} bytes instead of {}", to.display(), blob.size)));
    }
    Ok(())
}
