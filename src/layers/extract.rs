//! Unpacking a layer's tar, safe against hostile ones.
//!
//! Layer tars name absolute paths. One directory is given below which everything must be: an entry elsewhere, a way
//! through a link, a device or a name with `..` ends the extraction. Every directory is entered from its parent's
//! descriptor without following links, so that nothing that is written can lead out.
//!
//! Owners and times are not restored: the files belong to the user of the build. Directories that are there already keep
//! their mode; other files are replaced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Why a tar could not be unpacked.
#[derive(Debug)]
pub enum Fault {
    /// The tar is damaged, hostile or cannot be read to its end.
    Archive(Error),
    /// The directory cannot be written to.
    Disk(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Archive(error) | Fault::Disk(error) => error,
        }
    }
}

/// Unpacks the tar's entries at and below `below`, an absolute path. Entries for the directories above it are
/// passed over; where those do not exist they are made. The tar is read to its end, trailing bytes included, so that a reader that
/// verifies what it passes on has seen everything. Returns the number of bytes of all files.
///
/// # Errors
/// See [`Fault`]; what was unpacked until then stays.
pub fn extract(tar: &mut dyn Read, below: &Path) -> Result<u64, Fault> {
    let mut writer = Writer::new(below);
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(|e| damaged(&e))? {
        let mut entry = entry.map_err(|e| damaged(&e))?;
        let name = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let Some(place) = place(&name, below)? else {
            if !kind.is_dir() {
                return Err(refused(&name, "is not a directory"));
            }
            continue;
        };
        let mode = Mode::from_raw_mode(entry.header().mode().map_err(|e| damaged(&e))? & 0o7777);
        if kind.is_dir() {
            writer.directory(&place, mode)?;
        } else if kind.is_file() || kind.is_contiguous() {
            writer.file(&place, mode, &mut entry)?;
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().ok_or_else(|| refused(&name, "is a link without target"))?;
            writer.symlink(&place, OsStr::from_bytes(&target))?;
        } else {
            return Err(refused(&name, &format!("unknown file type in tar {}", kind.as_byte())));
        }
    }
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(|e| damaged(&e))?;
    writer.finish()
}

fn damaged(error: &std::io::Error) -> Fault {
    Fault::Archive(Error::new(format!("error extracting from archive: {error}")))
}

fn refused(name: &Path, what: &str) -> Fault {
    Fault::Archive(Error::new(format!("error extracting from archive: {} {what}", name.display())))
}

/// Where an entry goes, relative to `below`; `None` for a directory above it.
fn place(name: &Path, below: &Path) -> Result<Option<PathBuf>, Fault> {
    let mut path = PathBuf::from("/");
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(refused(name, "leaves its directory")),
        }
    }
    if let Ok(inside) = path.strip_prefix(below) {
        return Ok(Some(inside.to_owned()));
    }
    if below.starts_with(&path) { Ok(None) } else { Err(refused(name, &format!("is not below {}", below.display()))) }
}

/// Writes below one directory. Holds the chain of directories from there to the last entry's.
struct Writer<'a> {
    below: &'a Path,
    /// `below` itself, once it was needed.
    root: Option<OwnedFd>,
    chain: Vec<(OsString, OwnedFd)>,
    umask: Mode,
    /// Made here, with the modes that they get at the end: a read-only directory could not be filled.
    modes: Vec<(PathBuf, Mode)>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl<'a> Writer<'a> {
    fn new(below: &'a Path) -> Self {
        Self { below, root: None, chain: Vec::new(), umask: umask(), modes: Vec::new(), buffer: vec![0; 256 << 10], bytes: 0 }
    }

    fn disk(&self, operation: &str, place: &Path, errno: Errno) -> Fault {
        let path = if place.as_os_str().is_empty() { self.below.to_owned() } else { self.below.join(place) };
        Fault::Disk(Error::io(operation, path, &errno.into()))
    }

    fn directory(&mut self, place: &Path, mode: Mode) -> Result<(), Fault> {
        if self.enter(place)? && mode != Mode::from_raw_mode(0o777) & !self.umask {
            self.modes.push((place.to_owned(), mode));
        }
        Ok(())
    }

    fn file(&mut self, place: &Path, mode: Mode, content: &mut dyn Read) -> Result<(), Fault> {
        let name = self.enter_parent(place)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |dir: BorrowedFd<'_>| rustix::fs::openat(dir, &name, flags, mode);
        let file = self.replacing(&name, open).map_err(|e| self.disk("open", place, e))?;
        if mode.intersects(self.umask) {
            rustix::fs::fchmod(&file, mode).map_err(|e| self.disk("chmod", place, e))?;
        }
        let mut file = File::from(file);
        loop {
            let n = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(damaged(&e)),
            };
            let written = file.write_all(&self.buffer[..n]);
            written.map_err(|e| Fault::Disk(Error::io("write", self.below.join(place), &e)))?;
            self.bytes += n as u64;
        }
    }

    fn symlink(&mut self, place: &Path, target: &OsStr) -> Result<(), Fault> {
        let name = self.enter_parent(place)?;
        let link = |dir: BorrowedFd<'_>| rustix::fs::symlinkat(target, dir, &name);
        self.replacing(&name, link).map_err(|e| self.disk("symlink", place, e))
    }

    /// Makes something in the current directory; a file or link of that name makes room for it.
    fn replacing<T>(&self, name: &OsStr, make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
        let dir = self.current();
        match make(dir) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
                make(dir)
            }
            made => made,
        }
    }

    fn current(&self) -> BorrowedFd<'_> {
        match (self.chain.last(), &self.root) {
            (Some((_, dir)), _) | (None, Some(dir)) => dir.as_fd(),
            (None, None) => CWD,
        }
    }

    /// Enters the directory of a file and returns its name.
    fn enter_parent(&mut self, place: &Path) -> Result<OsString, Fault> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(refused(self.below, "is not a directory"));
        };
        self.enter(parent)?;
        Ok(name.to_owned())
    }

    /// Enters a directory and makes what is missing of it; whether the last one was made.
    fn enter(&mut self, place: &Path) -> Result<bool, Fault> {
        let mut made = false;
        if self.root.is_none() {
            if let Some(parent) = self.below.parent() {
                std::fs::create_dir_all(parent).map_err(|e| Fault::Disk(Error::io("mkdir", parent, &e)))?;
            }
            let (dir, new) = enter(CWD, self.below.as_os_str()).map_err(|e| self.disk("open", Path::new(""), e))?;
            self.root = Some(dir);
            made = new;
        }
        let parts: Vec<&OsStr> = place.iter().collect();
        let common = self.chain.iter().zip(&parts).take_while(|((have, _), want)| have == *want).count();
        self.chain.truncate(common);
        if common < parts.len() {
            made = false;
        }
        for part in &parts[common..] {
            let (dir, new) = enter(self.current(), part).map_err(|e| self.disk("open", place, e))?;
            self.chain.push(((*part).to_owned(), dir));
            made = new;
        }
        Ok(made)
    }

    /// Gives the new directories their modes, the inner ones first.
    fn finish(mut self) -> Result<u64, Fault> {
        for (place, mode) in std::mem::take(&mut self.modes).into_iter().rev() {
            let changed = match place.file_name() {
                Some(name) => {
                    self.enter(place.parent().unwrap_or(Path::new("")))?;
                    rustix::fs::chmodat(self.current(), name, mode, AtFlags::empty())
                }
                None => rustix::fs::chmodat(CWD, self.below, mode, AtFlags::empty()),
            };
            changed.map_err(|e| self.disk("chmod", &place, e))?;
        }
        Ok(self.bytes)
    }
}

/// Opens a directory, which must be no link, and makes it if it is not there; whether it was made.
fn enter(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(OwnedFd, bool), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened.map(|dir| (dir, false)),
    }
    let new = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Err(Errno::EXIST) => false,
        made => {
            made?;
            true
        }
    };
    rustix::fs::openat(parent, name, flags, Mode::empty()).map(|dir| (dir, new))
}

/// This process's umask. Asking for it the classic way would change it for a moment, and for all threads.
fn umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    // Unknown: every mode is set once more.
    Mode::from_raw_mode(line.and_then(|l| u32::from_str_radix(l.trim(), 8).ok()).unwrap_or(0o777))
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
