//! Layers out of `docker save`, as they pass.
//!
//! The daemon sends the whole image. What is not wanted is skipped, and the transfer ends with the last layer that is.
//! Engines name layers in three ways: `<id>/layer.tar` with an ID that can be computed (docker before 25),
//! `blobs/sha256/<diffID>` (docker since 25, graph drivers), `blobs/sha256/<digest>` (containerd, compressed).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tracing::debug;

use super::api::Engine;
use crate::error::{Context, Result};
use crate::image::Image;
use crate::image::reference::{DiffId, Digest};
use crate::layers::verify::Verified;

/// A layer on its way. The size is known before the content, as a tar needs it.
pub enum Layer<'a> {
    /// Straight from the daemon; verified as it is read.
    Passing { size: u64, tar: &'a mut dyn Read },
    /// From a file without a name.
    Spooled { size: u64, file: File },
}

impl Layer<'_> {
    pub fn size(&self) -> u64 {
        match self {
            Self::Passing { size, .. } | Self::Spooled { size, .. } => *size,
        }
    }

    pub fn copy_to(self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Passing { tar, .. } => io::copy(tar, out)?,
            Self::Spooled { mut file, .. } => io::copy(&mut file, out)?,
        };
        Ok(())
    }

    /// The content in a file without a name, from its beginning.
    pub fn into_file(self) -> Result<File> {
        match self {
            Self::Spooled { file, .. } => Ok(file),
            Self::Passing { tar, .. } => {
                let mut file = tempfile::tempfile().context("create temporary file")?;
                io::copy(tar, &mut file)?;
                file.rewind()?;
                Ok(file)
            }
        }
    }
}

/// Hands each of the `wanted` layers of the image to `take`, once. Layers that the image does not have are not complained
/// about.
pub fn fetch(
    engine: &Engine,
    image: &Image,
    wanted: &[DiffId],
    take: &mut dyn FnMut(&DiffId, Layer<'_>) -> Result<()>,
) -> Result<()> {
    let mut missing: HashSet<DiffId> = wanted.iter().cloned().collect();
    let act = || format!("read layers of image {} from the docker daemon", image.identifier);
    let body = engine.save(&image.identifier).with_context(|| missing_text(&missing))?;
    let names = legacy_names(&image.config.diff_ids());
    let mut archive = tar::Archive::new(body);
    for entry in archive.entries().with_context(act)? {
        if missing.is_empty() {
            break;
        }
        let mut entry = entry.with_context(act)?;
        let path = entry.path().with_context(act)?.into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        match Named::of(&path, &names) {
            Named::Other => {}
            Named::Layer(diff_id) if !missing.contains(&diff_id) => {}
            Named::Layer(diff_id) => {
                let size = entry.size();
                take(&diff_id, Layer::Passing { size, tar: &mut Verified::new(&mut entry, diff_id.clone()) })?;
                missing.remove(&diff_id);
            }
            Named::Maybe => {
                let Some((diff_id, size, file)) = spool(&mut entry).with_context(act)? else { continue };
                if missing.remove(&diff_id) {
                    take(&diff_id, Layer::Spooled { size, file })?;
                }
            }
        }
    }
    if !missing.is_empty() {
        debug!("{}", missing_text(&missing));
    }
    Ok(())
}

fn missing_text(missing: &HashSet<DiffId>) -> String {
    let mut names: Vec<_> = missing.iter().map(DiffId::as_str).collect();
    names.sort_unstable();
    format!("failed to find layers with diff IDs {}", names.join(", "))
}

/// What a file of the archive is, by its name.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Other,
    /// Only its content tells.
    Maybe,
    Layer(DiffId),
}

impl Named {
    fn of(path: &Path, legacy: &HashMap<String, DiffId>) -> Self {
        let Some(path) = path.to_str() else { return Self::Other };
        if let Some(id) = path.strip_suffix("/layer.tar") {
            return legacy.get(id).map_or(Self::Maybe, |diff_id| Self::Layer(diff_id.clone()));
        }
        match path.strip_prefix("blobs/sha256/") {
            // Of an uncompressed layer the name is the diffID; of others, and of configs and manifests, it is not.
            Some(hex) => match legacy.get(hex) {
                Some(diff_id) => Self::Layer(diff_id.clone()),
                None => Self::Maybe,
            },
            // Podman's archives: `<diffID>.tar`.
            None => match path.strip_suffix(".tar").and_then(|hex| legacy.get(hex)) {
                Some(diff_id) => Self::Layer(diff_id.clone()),
                None if path.ends_with(".tar") => Self::Maybe,
                None => Self::Other,
            },
        }
    }
}

/// Names by which engines may call the layers: the hex digits of the diffID, and the IDs that docker computed before 25.
/// Those of the topmost layer depend on the whole config and are left out.
fn legacy_names(diff_ids: &[DiffId]) -> HashMap<String, DiffId> {
    let mut names: HashMap<String, DiffId> = diff_ids.iter().map(|id| (id.hex().to_owned(), id.clone())).collect();
    let mut chain = String::new();
    let mut parent = String::new();
    for diff_id in diff_ids.iter().take(diff_ids.len().saturating_sub(1)) {
        chain = if chain.is_empty() {
            diff_id.as_str().to_owned()
        } else {
            Digest::of(format!("{chain} {diff_id}").as_bytes()).to_string()
        };
        let id = legacy_id(&chain, &parent);
        names.insert(id.hex().to_owned(), diff_id.clone());
        parent = id.to_string();
    }
    names
}

/// The ID of a layer that is not the topmost one: the hash of a config without anything in it, of its chain and its parent.
fn legacy_id(chain: &str, parent: &str) -> Digest {
    let empty = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null}"#;
    let parent = if parent.is_empty() { String::new() } else { format!(r#","parent":"{parent}""#) };
    let json = format!(r#"{{"container_config":{empty},"created":"1970-01-01T00:00:00Z","layer_id":"{chain}"{parent}}}"#);
    Digest::of(json.as_bytes())
}

/// Copies a layer to a file without a name and hashes it; `None` if it is no layer.
fn spool(entry: &mut impl Read) -> Result<Option<(DiffId, u64, File)>> {
    let mut head = Vec::new();
    entry.by_ref().take(512).read_to_end(&mut head)?;
    let compressed = matches!(head[..], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..]);
    // An empty tar is all zeros; any other names a file first. Configs and manifests are JSON.
    if !compressed && head.first() == Some(&b'{') {
        return Ok(None);
    }
    let zstd = head.first() == Some(&0x28);
    let whole = io::BufReader::new(io::Cursor::new(head).chain(entry));
    let mut tar: Box<dyn Read + '_> = match (compressed, zstd) {
        (false, _) => Box::new(whole),
        (true, false) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        (true, true) => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
    };
    let mut file = tempfile::tempfile().context("create temporary file")?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        let n = tar.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n])?;
        size += n as u64;
    }
    file.rewind()?;
    Ok(Some((DiffId::from_sha256(&hash.finalize().into()), size, file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DiffId {
        DiffId::parse(&format!("sha256:{}", text.repeat(64))).unwrap()
    }

    #[test]
    fn layers_are_known_by_their_names() {
        let names = legacy_names(&[id("a"), id("b")]);
        let of = |path: &str| Named::of(Path::new(path), &names);
        let hex = "b".repeat(64);
        assert_eq!(of(&format!("blobs/sha256/{hex}")), Named::Layer(id("b")));
        assert_eq!(of(&format!("{hex}.tar")), Named::Layer(id("b")));
        assert_eq!(of(&format!("{}/layer.tar", "c".repeat(64))), Named::Maybe);
        assert_eq!(of(&format!("blobs/sha256/{}", "c".repeat(64))), Named::Maybe);
        assert_eq!(of("manifest.json"), Named::Other);
        assert_eq!(of(&format!("{hex}/json")), Named::Other);
    }

    /// What docker 20.10 calls the layers of an image with these diffIDs.
    #[test]
    fn computes_the_ids_of_older_dockers() {
        let diff_ids = [
            "sha256:b404fdfc42487f515654432ec99cb28d869296e068e10f92ade8a63f607bec85",
            "sha256:fca11ad225b2109263c15dd0bae01269718e3407fd0925f77057c4572531a77d",
            "sha256:15063c93a743b62c28b5e0538330f1cabb753f880e1b01ae23a92fa76fabbdbc",
        ]
        .map(|id| DiffId::parse(id).unwrap());
        let names = legacy_names(&diff_ids);
        for (id, layer) in [
            ("07eb3d861245cbcb1e0c2f4a0adf293bb7d9b085317253f8b815e8e92d5df493", 0),
            ("c36e7038e82e0317249a8fa0aaf89056367926a23ad729938aeaf9602bf0e010", 1),
        ] {
            assert_eq!(Named::of(Path::new(&format!("{id}/layer.tar")), &names), Named::Layer(diff_ids[layer].clone()));
        }
        let topmost = "76b24c95b8025e4e1ea5d206c1440e746fcc2b83489d2d40ac25e9c76ac776b3/layer.tar";
        assert_eq!(Named::of(Path::new(topmost), &names), Named::Maybe);
    }

    #[test]
    fn spools_what_is_a_layer() {
        let plain = vec![b'x'; 3000];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        let want = DiffId::from_sha256(&Sha256::digest(&plain).into());
        for stored in [plain.clone(), gz.finish().unwrap(), zstd] {
            let (diff_id, size, mut file) = spool(&mut &stored[..]).unwrap().unwrap();
            assert_eq!((&diff_id, size), (&want, 3000));
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content, plain);
        }
        assert!(spool(&mut &br#"{"architecture": "amd64"}"#[..]).unwrap().is_none());
    }
}
