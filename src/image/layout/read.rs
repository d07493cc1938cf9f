//! Opening a layout directory.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::image::config::ImageConfig;
use crate::image::manifest::{Descriptor, Manifest, is_index};
use crate::image::platform::Platform;
use crate::image::reference::Digest;
use crate::image::store::{Image, Originals};

/// Where a layout keeps a blob.
pub fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// The image of a layout directory. `None` if there is no such directory or no `index.json` in it. An index with one
/// manifest is that image whatever its platform; otherwise `platform` chooses.
pub fn open_dir(path: &Path, platform: &Platform) -> Result<Option<Image>> {
    let act = || format!("failed to load image from layout {}", path.display());
    let file = path.join("index.json");
    let index = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::io("open", &file, &e).context(act())),
    };
    let index: Value =
        serde_json::from_slice(&index).map_err(|e| Error::new(format!("parse index.json: {e}"))).with_context(act)?;
    read_image(path, &index, platform).map(Some).with_context(act)
}

fn read_image(path: &Path, index: &Value, platform: &Platform) -> Result<Image> {
    let mut descriptor = choose(index, platform)?;
    if is_index(&descriptor.media_type) {
        let nested: Value =
            serde_json::from_slice(&read_blob(path, &descriptor)?).map_err(|e| Error::new(format!("parse index: {e}")))?;
        descriptor = choose(&nested, platform)?;
    }
    let manifest_bytes = read_blob(path, &descriptor)?;
    let manifest = Manifest::parse(&manifest_bytes)?;
    let config_bytes = read_blob(path, &manifest.config()?)?;
    let config = ImageConfig::parse(&config_bytes)?;
    let name = path.to_string_lossy().into_owned();
    let identifier = format!("{name}@{}", descriptor.digest);
    let originals = Some(Originals { manifest: manifest_bytes, config: config_bytes });
    Ok(Image { name, identifier, config, manifest: Some(manifest), digest: Some(descriptor.digest), originals })
}

fn choose(index: &Value, platform: &Platform) -> Result<Descriptor> {
    match index["manifests"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => bail!("failed to find manifest at index"),
        [only] => Descriptor::from_json(only),
        _ => platform.choose(index)?.ok_or_else(|| Error::new(format!("failed to find manifest matching platform {platform}"))),
    }
}

/// A manifest or config: small, and checked before it is believed.
fn read_blob(path: &Path, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let file = blob_path(path, &descriptor.digest);
    let bytes = std::fs::read(&file).map_err(|e| Error::io("open", &file, &e))?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        bail!("{} is damaged: its content is {found}", file.display());
    }
    Ok(bytes)
}
