//! The layers that are no directories: launcher and process types (layer-tar-rules.md §2.4).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::header::Header;
use super::out::TarOut;
use crate::error::{Error, Result};

const LAUNCHER: &str = "/cnb/lifecycle/launcher";

/// The launcher binary at its place in the image, owned by root.
pub fn launcher(path: &Path, out: &mut dyn TarOut) -> Result<()> {
    let stat = std::fs::metadata(path)
        .map_err(|e| Error::io("stat", path, &e).context(format!("failed to stat launcher at path '{}'", path.display())))?;
    put(out, b'5', "/cnb", "", 0)?;
    put(out, b'5', "/cnb/lifecycle", "", 0)?;
    let opening = || format!("failed to open launcher at path '{}'", path.display());
    let mut file = File::open(path).map_err(|e| Error::io("open", path, &e).context(opening()))?;
    put(out, b'0', LAUNCHER, "", stat.len())?;
    let copied =
        copy(&mut file, stat.len(), out).map_err(|e| e.context(path.display()).context("failed to write launcher to layer"))?;
    if !copied {
        crate::bail!("failed to write launcher to layer: {}: changed while it was read", path.display());
    }
    out.pad(stat.len())
}

/// A link to the launcher for every process type.
pub fn process_types(types: &[String], out: &mut dyn TarOut) -> Result<()> {
    put(out, b'5', "/cnb", "", 0)?;
    put(out, b'5', "/cnb/process", "", 0)?;
    for process_type in types {
        if process_type.is_empty() {
            crate::bail!("type is required for all processes");
        }
        if process_type.contains(FORBIDDEN) {
            let characters: String = FORBIDDEN.iter().collect();
            crate::bail!("invalid process type '{process_type}': type may not contain characters '{characters}'");
        }
        put(out, b'2', &format!("/cnb/process/{process_type}"), LAUNCHER, 0)?;
    }
    Ok(())
}

/// A process type is a file name and a word of shell scripts on any system.
const FORBIDDEN: [char; 7] = ['/', '>', '<', ':', '|', '&', '\\'];

fn put(out: &mut dyn TarOut, typeflag: u8, name: &str, link: &str, size: u64) -> Result<()> {
    let header = Header {
        typeflag,
        name: name.as_bytes(),
        link: link.as_bytes(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: size.cast_signed(),
        device: (0, 0),
        origin: None,
    };
    let mut blocks = Vec::new();
    header.encode(&mut blocks).map_err(|why| Error::new(format!("{name}: {why}")))?;
    out.put(&blocks)
}

/// Copies exactly `size` bytes; false if there are more or fewer.
pub(super) fn copy(from: &mut impl Read, size: u64, out: &mut dyn TarOut) -> Result<bool> {
    let mut left = size;
    while left > 0 {
        let space = out.space()?;
        let due = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = from.read(&mut space[..due]).map_err(|e| Error::from(e).context("read"))?;
        if n == 0 {
            return Ok(false);
        }
        out.advance(n)?;
        left -= n as u64;
    }
    Ok(from.read(&mut [0]).map_err(|e| Error::from(e).context("read"))? == 0)
}
