//! The lifecycle archive, which `pack builder create` takes as `[lifecycle] uri`: lifecycle.toml and `lifecycle/`.

use std::io::Write;
use std::path::Path;

use lifecycle::api::{ApiVersion, BuildpackApi, PlatformApi};
use lifecycle::cli::VERSION;
use lifecycle::error::{Context, Error, Result};

use crate::sbom::{self, Binary};

/// 1980-01-01T00:00:01Z, the time of all files in layers (layer-tar-rules.md).
const MTIME: u64 = 315_532_801;

/// A file or symlink of the archive, by its name below `lifecycle/`.
pub struct Entry {
    pub name: String,
    pub content: Content,
}

pub enum Content {
    Program(Vec<u8>),
    Document(Vec<u8>),
    Link(&'static str),
}

/// Everything that `/cnb/lifecycle` holds, by name.
pub fn entries(binaries: &Path, target: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for binary in Binary::ALL {
        let path = binaries.join(binary.name());
        let program = std::fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
        for (extension, document) in sbom::documents(binary, target).with_context(|| format!("SBOM of {}", binary.name()))? {
            entries.push(Entry { name: format!("{}.{extension}", binary.name()), content: Content::Document(document) });
        }
        entries.push(Entry { name: binary.name().to_owned(), content: Content::Program(program) });
    }
    for phase in ["analyzer", "builder", "creator", "detector", "exporter", "extender", "rebaser", "restorer"] {
        entries.push(Entry { name: phase.to_owned(), content: Content::Link("lifecycle") });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The descriptor (RFC 0011, RFC 0049): which APIs this version supports.
pub fn descriptor() -> String {
    let list = |versions: &[ApiVersion]| versions.iter().map(|v| format!("\"{v}\"")).collect::<Vec<_>>().join(", ");
    format!(
        r#"[apis]
[apis.buildpack]
  deprecated = []
  supported = [{}]
[apis.platform]
  deprecated = []
  supported = [{}]

# For platforms that know no lists of APIs (RFC 0011): the lowest ones.
[api]
  platform = "{}"
  buildpack = "{}"

[lifecycle]
  version = "{VERSION}"
  sbom-formats = ["application/vnd.cyclonedx+json", "application/spdx+json", "application/vnd.syft+json"]
"#,
        list(BuildpackApi::SUPPORTED),
        list(PlatformApi::SUPPORTED),
        PlatformApi::SUPPORTED[0],
        BuildpackApi::SUPPORTED[0],
    )
}

/// Writes the archive: a gzip'd tar with names sorted, root as owner and no time of this day.
pub fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, "lifecycle.toml", descriptor().as_bytes(), 0o644)?;
    directory(&mut tar, "lifecycle", 0o755)?;
    append(&mut tar, "lifecycle/", entries)?;
    let tar = tar.into_inner()?;
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let mut out = vec![0; compressor.gzip_compress_bound(tar.len())];
    let size = compressor.gzip_compress(&tar, &mut out).map_err(|e| Error::new(e.to_string()))?;
    std::fs::File::create(path)?.write_all(&out[..size])?;
    Ok(())
}

/// The entries below a directory of the tar.
pub fn append(tar: &mut tar::Builder<Vec<u8>>, prefix: &str, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let name = format!("{prefix}{}", entry.name);
        match &entry.content {
            Content::Program(bytes) => file(tar, &name, bytes, 0o755)?,
            Content::Document(bytes) => file(tar, &name, bytes, 0o644)?,
            Content::Link(target) => link(tar, &name, target)?,
        }
    }
    Ok(())
}

pub fn directory(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32) -> Result<()> {
    let mut header = header(tar::EntryType::Directory, mode, 0);
    Ok(tar.append_data(&mut header, name, std::io::empty())?)
}

pub fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
    Ok(tar.append_data(&mut header, name, content)?)
}

pub fn link(tar: &mut tar::Builder<Vec<u8>>, name: &str, target: &str) -> Result<()> {
    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
    Ok(tar.append_link(&mut header, name, target)?)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(MTIME);
    header
}
