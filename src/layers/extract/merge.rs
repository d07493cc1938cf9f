//! Moving a staged tree to its place.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::error::{Error, Result};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Moves `name` in `from` to `place`: with one rename if the place is free, else entry by entry.
pub(super) fn merge(from: BorrowedFd<'_>, name: &[u8], place: &Path) -> Result<()> {
    let (Some(parent), Some(last)) = (place.parent(), place.file_name()) else {
        crate::bail!("{}: no place for a layer", place.display());
    };
    let to = rustix::fs::openat(CWD, parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::io("open", parent, &e.into()))?;
    move_entry(from, name, to.as_fd(), last.as_bytes(), place)
}

fn move_entry(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, to_name: &[u8], shown: &Path) -> Result<()> {
    let fault = |act: &str, e: Errno| Error::io(act, shown, &e.into());
    let staged = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(e) => return Err(fault("lstat", e)),
    };
    let there = match rustix::fs::statat(to, to_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(fault("lstat", e)),
    };
    match (staged, there) {
        (FileType::Directory, Some(FileType::Directory)) => {
            let source = rustix::fs::openat(from, name, DIRECTORY, Mode::empty()).map_err(|e| fault("open", e))?;
            let target = rustix::fs::openat(to, to_name, DIRECTORY, Mode::empty()).map_err(|e| fault("open", e))?;
            for child in names(source.as_fd()).map_err(|e| fault("read", e))? {
                let shown = shown.join(OsStr::from_bytes(&child));
                move_entry(source.as_fd(), &child, target.as_fd(), &child, &shown)?;
            }
            return Ok(());
        }
        // A stale file or link gives way to a directory.
        (FileType::Directory, Some(_)) => {
            rustix::fs::unlinkat(to, to_name, AtFlags::empty()).map_err(|e| fault("remove", e))?;
        }
        _ => {}
    }
    rustix::fs::renameat(from, name, to, to_name).map_err(|e| fault("rename", e))
}

fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 8 << 10];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
