//! The staging directory of one layer.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::merge::merge;
use crate::error::{Error, Result};
use crate::process::temporary::TemporaryDirectory;

/// What the layer's topmost entry is called while it is staged.
const ROOT: &[u8] = b"layer";

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::WRONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Bits that new files do not get from the system, all where it does not tell. Asking is a system call saved for most files.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
    })
}

/// A layer in the making. Dropped without [`Stage::commit`], nothing stays on disk.
pub(super) struct Stage {
    /// Where the layer belongs: the parts of its absolute name.
    place: Vec<Vec<u8>>,
    /// Directories above that the tar knows, top-down, with their modes.
    ancestors: Vec<(Vec<Vec<u8>>, u32)>,
    /// Beside the layer's place, made with the first entry: renaming from there works.
    directory: Option<(TemporaryDirectory, OwnedFd)>,
    /// The directories that lead to where the last entry was written.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// Directories in which their owner cannot work: they get their modes at the end.
    late: Vec<(Vec<Vec<u8>>, u32)>,
}

fn fault(act: &str, path: &[&[u8]], errno: Errno) -> Error {
    Error::io(act, Path::new(OsStr::from_bytes(&path.join(&b'/'))), &errno.into())
}

impl Stage {
    pub fn new(place: &[u8]) -> Self {
        let place = place.split(|&c| c == b'/').filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
        Self { place, ancestors: Vec::new(), directory: None, open: Vec::new(), late: Vec::new() }
    }

    pub fn shown(&self) -> String {
        self.path_of(&self.place).display().to_string()
    }

    fn path_of(&self, parts: &[Vec<u8>]) -> PathBuf {
        let mut path = vec![b'/'];
        path.extend_from_slice(&parts.join(&b'/'));
        PathBuf::from(OsStr::from_bytes(&path))
    }

    /// The parts below the layer's place; `None` if the name is elsewhere.
    pub fn locate<'p, 'n>(&self, path: &'p [&'n [u8]]) -> Option<&'p [&'n [u8]]> {
        let (head, tail) = path.split_at_checked(self.place.len())?;
        head.iter().zip(&self.place).all(|(a, b)| a == b).then_some(tail)
    }

    /// Whether the name is that of a directory above the layer.
    pub fn above(&self, path: &[&[u8]]) -> bool {
        path.len() < self.place.len() && path.iter().zip(&self.place).all(|(a, b)| a == b)
    }

    pub fn ancestor(&mut self, path: &[&[u8]], mode: u32) {
        self.ancestors.push((path.iter().map(|p| p.to_vec()).collect(), mode));
    }

    /// The directory that holds the staged layer.
    fn directory_fd(&mut self) -> Result<BorrowedFd<'_>> {
        if self.directory.is_none() {
            let existing = (0..self.place.len())
                .rev()
                .map(|n| self.path_of(&self.place[..n]))
                .find(|p| p.is_dir())
                .unwrap_or_else(|| PathBuf::from("/"));
            let directory = TemporaryDirectory::within(&existing, ".restoring-")?;
            let fd = rustix::fs::open(directory.path(), DIRECTORY, Mode::empty())
                .map_err(|e| Error::io("open", directory.path(), &e.into()))?;
            self.directory = Some((directory, fd));
        }
        match &self.directory {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => crate::bail!("no staging directory"),
        }
    }

    /// The open directory in which the last part of `path` is to be made, and its name there. Missing ones are made.
    fn parent<'n>(&mut self, path: &[&'n [u8]]) -> Result<(BorrowedFd<'_>, &'n [u8])> {
        let Some((last, above)) = path.split_last() else { return Ok((self.directory_fd()?, ROOT)) };
        self.enter(above)?;
        match self.open.last() {
            Some((_, fd)) => Ok((fd.as_fd(), last)),
            None => crate::bail!("no staging directory"),
        }
    }

    /// Makes [`Self::open`] lead to the directory `path`, ROOT first.
    fn enter(&mut self, path: &[&[u8]]) -> Result<()> {
        let wanted = || std::iter::once(ROOT).chain(path.iter().copied());
        let same = self.open.iter().zip(wanted()).take_while(|((have, _), want)| have == want).count();
        self.open.truncate(same);
        for (depth, name) in wanted().enumerate().skip(same) {
            let at = match self.open.last() {
                Some((_, fd)) => fd.as_fd(),
                None => self.directory_fd()?,
            };
            let fd = match rustix::fs::openat(at, name, DIRECTORY, Mode::empty()) {
                // Not in the tar: made with what the umask leaves.
                Err(Errno::NOENT) => rustix::fs::mkdirat(at, name, 0o777.into())
                    .and_then(|()| rustix::fs::openat(at, name, DIRECTORY, Mode::empty())),
                other => other,
            }
            .map_err(|e| fault("open", &path[..depth], e))?;
            self.open.push((name.to_vec(), fd));
        }
        Ok(())
    }

    /// Runs `make` in the parent of `path`; what is there already (a name that comes twice) goes.
    fn make<T>(&mut self, act: &str, path: &[&[u8]], make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>) -> Result<T> {
        let (at, name) = self.parent(path)?;
        match make(at, name) {
            Err(Errno::EXIST) => rustix::fs::unlinkat(at, name, AtFlags::empty()).and_then(|()| make(at, name)),
            other => other,
        }
        .map_err(|e| fault(act, path, e))
    }

    pub fn directory(&mut self, path: &[&[u8]], mode: u32) -> Result<()> {
        let (at, name) = self.parent(path)?;
        match rustix::fs::mkdirat(at, name, 0o700.into()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(fault("mkdir", path, e)),
        }
        self.enter(path)?;
        // The topmost one must be writable for its owner to be moved.
        if mode & 0o700 != 0o700 {
            self.late.push((path.iter().map(|p| p.to_vec()).collect(), mode));
        } else if let Some((_, fd)) = self.open.last() {
            rustix::fs::fchmod(fd, mode.into()).map_err(|e| fault("chmod", path, e))?;
        }
        Ok(())
    }

    /// A new file, and whether it has yet to get its mode. Nobody else can see it before it is moved to its place.
    pub fn create(&mut self, path: &[&[u8]], mode: u32) -> Result<(OwnedFd, bool)> {
        let late = mode & (umask() | !0o777) != 0;
        let first = if late { 0o600 } else { mode };
        let file = self.make("open", path, |at, name| rustix::fs::openat(at, name, NEW_FILE, first.into()))?;
        Ok((file, late))
    }

    pub fn symlink(&mut self, path: &[&[u8]], target: &[u8]) -> Result<()> {
        self.make("symlink", path, |at, name| rustix::fs::symlinkat(target, at, name))
    }

    pub fn fifo(&mut self, path: &[&[u8]], mode: u32) -> Result<()> {
        self.make("mkfifo", path, |at, name| {
            rustix::fs::mknodat(at, name, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
            rustix::fs::chmodat(at, name, mode.into(), AtFlags::empty())
        })
    }

    pub fn hard_link(&mut self, path: &[&[u8]], target: &[&[u8]]) -> Result<()> {
        let (at, name) = self.parent(target)?;
        let (at, name) = (at.try_clone_to_owned()?, name.to_vec());
        self.make("link", path, |new, new_name| rustix::fs::linkat(&at, &name[..], new, new_name, AtFlags::empty()))
    }

    /// Moves the layer to its place.
    pub fn commit(mut self) -> Result<()> {
        let Some((directory, fd)) = self.directory.take() else { return Ok(()) };
        self.open.clear();
        for n in 1..self.place.len() {
            let path = self.path_of(&self.place[..n]);
            if path.is_dir() {
                continue;
            }
            std::fs::create_dir(&path).map_err(|e| Error::io("mkdir", &path, &e))?;
            if let Some((_, mode)) = self.ancestors.iter().find(|(p, _)| *p == self.place[..n]) {
                rustix::fs::chmod(&path, (*mode).into()).map_err(|e| Error::io("chmod", &path, &e.into()))?;
            }
        }
        let place = self.path_of(&self.place);
        let late: Vec<(PathBuf, u32)> = self
            .late
            .iter()
            .rev()
            .map(|(parts, mode)| (place.join(OsStr::from_bytes(&parts.join(&b'/'))), *mode))
            // A directory that is there keeps its mode.
            .filter(|(path, _)| path.symlink_metadata().is_err())
            .collect();
        merge(fd.as_fd(), ROOT, &place)?;
        for (path, mode) in late {
            rustix::fs::chmodat(CWD, &path, mode.into(), AtFlags::empty()).map_err(|e| Error::io("chmod", &path, &e.into()))?;
        }
        directory.close().map_err(|e| Error::io("remove", &place, &e))
    }
}
