//! Safe extraction of a cached layer: read once, staged beside its place, moved there when its reader has vouched for it.
//!
//! Everything happens below descriptors and never through a link; the staging directory is ours alone. Owners are not
//! restored: the restorer already runs as the user that builds.

mod merge;
mod stage;

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Archive, Entry, EntryType};

use self::stage::Stage;
use super::tar::walk::absolute;
use super::tar::watch::Skeleton;
use crate::error::{Error, Result};

/// Why a layer was not restored. What was on disk before is untouched, or holds some of the finished entries if moving them
/// to their place failed.
#[derive(Debug)]
pub enum Fault {
    /// The layer cannot be used: its reader failed (wrong content, cut short), it is no tar, or it holds what no layer may
    /// hold. The build can go on without it.
    Archive(Error),
    /// The disk refused it.
    Disk(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Archive(error) | Fault::Disk(error) => error,
        }
    }
}

/// Extracts a layer that holds `below` (a layer's directory, the SBOM directory): this path, all below it, and the
/// directories above, which are made if they are missing. An entry elsewhere makes the layer unusable.
///
/// The tar is read to its end, trailing bytes included; it must fail there if its content is wrong (see
/// [`super::verify::Verified`]). If `below`
/// is on disk already, the layer is merged into it: files and links are replaced, other files and the modes of directories
/// stay. Returns the number of bytes of all files.
pub fn extract(tar: &mut dyn Read, below: &Path) -> Result<u64, Fault> {
    Ok(extract_noting(tar, below)?.bytes)
}

/// What was extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Of all files.
    pub bytes: u64,
    /// Hash of the tar without the content of its files, see [`super::tar::watch::Skeleton`].
    pub skeleton: [u8; 32],
}

/// [`extract`], noting what else is worth knowing.
///
/// # Errors
/// See [`Fault`].
pub fn extract_noting(tar: &mut dyn Read, below: &Path) -> Result<Extracted, Fault> {
    let name = absolute(below);
    let mut stage = Stage::new(&name);
    let in_content = Cell::new(false);
    // Headers are small and many.
    let reader = BufReader::with_capacity(BUFFER, tar);
    let mut archive = Archive::new(Source { reader, fault: None, skeleton: Skeleton::new(), in_content: &in_content });
    let staged = stage_entries(&mut archive, &mut stage, &in_content);
    let mut source = archive.into_inner();
    // What is behind the tar's end counts for its hash. Wrong content explains a bad tar, so it goes first.
    if source.fault.is_none() {
        let _ = io::copy(&mut source, &mut io::sink());
    }
    if let Some(fault) = source.fault {
        return Err(Fault::Archive(Error::new(fault)));
    }
    let bytes = staged?;
    stage.commit().map_err(Fault::Disk)?;
    Ok(Extracted { bytes, skeleton: source.skeleton.finish() })
}

const BUFFER: usize = 128 << 10;

/// Keeps what its reader complained about, which the tar reader may put into other words.
struct Source<'a, R> {
    reader: R,
    fault: Option<String>,
    /// Of all that is no content.
    skeleton: Skeleton,
    in_content: &'a Cell<bool>,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        if let Err(e) = &result
            && e.kind() != io::ErrorKind::Interrupted
        {
            self.fault.get_or_insert_with(|| e.to_string());
        }
        if let Ok(n) = result
            && !self.in_content.get()
        {
            self.skeleton.update(&buffer[..n]);
        }
        result
    }
}

fn stage_entries(archive: &mut Archive<impl Read>, stage: &mut Stage, in_content: &Cell<bool>) -> Result<u64, Fault> {
    let broken = |e: &io::Error| {
        let text = e.to_string();
        let text = match e.kind() {
            io::ErrorKind::UnexpectedEof => "unexpected EOF",
            _ if text.contains("checksum") || text.contains("numeric field") => "archive/tar: invalid tar header",
            _ => &text,
        };
        Fault::Archive(Error::new(format!("error extracting from archive: {text}")))
    };
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    for entry in archive.entries().map_err(|e| broken(&e))? {
        let mut entry = entry.map_err(|e| broken(&e))?;
        let refused =
            |why: &str, name: &[u8]| Fault::Archive(Error::new(format!("entry {:?}: {why}", String::from_utf8_lossy(name))));
        let name = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let Some(path) = parts(&name) else { return Err(refused("the name leads out of its directory", &name)) };
        let mode = entry.header().mode().map_err(|e| broken(&e))? & 0o7777;
        let Some(path) = stage.locate(&path) else {
            if kind.is_dir() && stage.above(&path) {
                stage.ancestor(&path, mode);
                continue;
            }
            return Err(refused(&format!("not in {}", stage.shown()), &name));
        };
        let written = match kind {
            EntryType::Directory => stage.directory(path, mode),
            EntryType::Regular | EntryType::Continuous => {
                bytes += entry.size();
                in_content.set(true);
                let copied = copy_file(stage, &mut entry, path, mode, &mut buffer);
                in_content.set(false);
                match copied {
                    Ok(result) => result,
                    Err(e) => return Err(broken(&e)),
                }
            }
            EntryType::Symlink => stage.symlink(path, &entry.link_name_bytes().unwrap_or_default()),
            EntryType::Fifo => stage.fifo(path, mode),
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                match parts(&target).as_deref().and_then(|t| stage.locate(t)) {
                    Some(target) => stage.hard_link(path, target),
                    None => return Err(refused("a hard link to a file outside", &name)),
                }
            }
            EntryType::Char | EntryType::Block => return Err(refused("a device", &name)),
            other => return Err(refused(&format!("unknown file type in tar {}", other.as_byte()), &name)),
        };
        written.map_err(|e| {
            let name = Path::new(std::ffi::OsStr::from_bytes(&name)).display();
            Fault::Disk(e.context(format!("failed to write {name:?}")))
        })?;
    }
    Ok(bytes)
}

/// `Err`: reading failed. `Ok(Err)`: writing failed.
fn copy_file(
    stage: &mut Stage,
    entry: &mut Entry<'_, impl Read>,
    path: &[&[u8]],
    mode: u32,
    buffer: &mut [u8],
) -> io::Result<Result<()>> {
    let (file, late) = match stage.create(path, mode) {
        Ok(created) => created,
        Err(e) => return Ok(Err(e)),
    };
    let mut left = entry.size();
    while left > 0 {
        let n = entry.read(buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= n as u64;
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(n) => rest = &rest[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Ok(Err(io::Error::from(e).into())),
            }
        }
    }
    // Last, for writing drops the set-user-ID bit.
    Ok(match late {
        true => rustix::fs::fchmod(&file, mode.into()).map_err(|e| io::Error::from(e).into()),
        false => Ok(()),
    })
}

/// The parts of an entry's name, `.` and slashes dropped; `None` if one is `..`.
fn parts(name: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<&[u8]> = name.split(|&c| c == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    (!parts.contains(&&b".."[..])).then_some(parts)
}

#[cfg(test)]
mod tests;
