//! The user of this process: who it is, whom volumes belong to, dropping to another.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use crate::error::{Error, Result};

use super::Invocation;

/// A user with his group. The numbers are checked when they are used: a platform may pass any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: i64,
    pub gid: i64,
}

impl User {
    fn ids(self) -> Result<(u32, u32)> {
        // All bits set means "leave it as it is" to the system calls.
        let id = |n: i64| u32::try_from(n).ok().filter(|&n| n != u32::MAX);
        id(self.uid).zip(id(self.gid)).ok_or_else(|| Error::new(format!("{}:{} are no user and group IDs", self.uid, self.gid)))
    }
}

/// True if this process may do everything.
pub fn is_root() -> bool {
    nix::unistd::getuid().is_root()
}

/// Gives each of `paths` to `user`, with all that is in it, unless he may write it: then what is in it is assumed to be his.
/// Missing paths and empty names are passed over.
pub fn ensure_owner(user: User, paths: &[&Path]) -> Result<()> {
    for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("stat", path, &error)),
        };
        if !may_write(user, &found) {
            if !found.is_dir() {
                // A mistaken path, and a file that somebody else wants to keep.
                return Err(Error::io("open", path, &io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error())));
            }
            let (uid, gid) = user.ids()?;
            change_owner(path, uid, gid)?;
        }
    }
    Ok(())
}

fn may_write(user: User, found: &Metadata) -> bool {
    i64::from(found.uid()) == user.uid
        || i64::from(found.gid()) == user.gid && found.mode() & 0o020 != 0
        || found.mode() & 0o002 != 0
}

fn change_owner(path: &Path, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|e| Error::io("chown", path, &e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, path, flags, Mode::empty());
    change_owner_below(directory.map_err(|e| Error::io("open", path, &e.into()))?, path, uid, gid)
}

/// Works by descriptors and follows no link: this runs as root on trees that others may be writing to.
fn change_owner_below(directory: OwnedFd, path: &Path, uid: u32, gid: u32) -> Result<()> {
    use rustix::fs::{Gid, Uid};
    let failed = |act: &str, path: &Path, error: rustix::io::Errno| Error::io(act, path, &error.into());
    let mut entries = Dir::read_from(&directory).map_err(|e| failed("open", path, e))?;
    while let Some(entry) = entries.read() {
        let entry = entry.map_err(|e| failed("readdir", path, e))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let below = path.join(String::from_utf8_lossy(name.to_bytes()).as_ref());
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("chown", &below, e))?;
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
                Ok(inner) => change_owner_below(inner, &below, uid, gid)?,
                Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(error) => return Err(failed("open", &below, error)),
            }
        }
    }
    Ok(())
}

/// Changes this process, all threads, to `user`. Does nothing, and needs no right, if it runs as him already.
///
/// The supplementary groups stay: apps have files that only root's group may read, and containers are given groups
/// (`--group-add`) for the sake of a daemon's socket [conformance: export/owners].
pub fn run_as(user: User) -> Result<()> {
    use nix::unistd::{Gid, Uid, getgid, getuid, setresgid, setresuid};
    if i64::from(getuid().as_raw()) == user.uid && i64::from(getgid().as_raw()) == user.gid {
        return Ok(());
    }
    let (uid, gid) = user.ids()?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let failed = |error: nix::Error| Error::from(io::Error::from(error));
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)
}

/// Leaves the container's root only the group of `user`, before he is changed to. Where a user namespace forbids it there
/// are no groups of the outside to lose.
pub fn leave_groups(user: User) -> Result<()> {
    let (_, gid) = user.ids()?;
    if !is_root() {
        return Ok(());
    }
    match nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(gid)]) {
        Err(nix::Error::EPERM) => Ok(()),
        other => other.map_err(|e| Error::from(io::Error::from(e)).context("change supplementary groups")),
    }
}

impl Invocation {
    /// The same with `HOME` and `USER` of `user`, for buildpacks that are run on his behalf. A process that did not have to
    /// change its user (`changed` is false) may run as one that is in no passwd, as clusters with random ids have it; it
    /// keeps the variables it was given.
    pub fn for_user(&self, user: User, changed: bool) -> Result<Self> {
        let (uid, _) = user.ids()?;
        let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        let Some(found) = found.map_err(|e| Error::from(io::Error::from(e)))? else {
            if changed {
                return Err(Error::new(format!("user: unknown userid {uid}")));
            }
            return Ok(self.clone());
        };
        let mut invocation = self.clone();
        let home = OsString::from(found.dir);
        invocation.env.extend([("HOME".into(), home), ("USER".into(), found.name.into())]);
        Ok(invocation)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn me() -> User {
        User { uid: nix::unistd::getuid().as_raw().into(), gid: nix::unistd::getgid().as_raw().into() }
    }

    #[test]
    fn nothing_to_drop_needs_no_right() {
        run_as(me()).unwrap();
    }

    #[test]
    fn odd_numbers_are_errors() {
        let user = User { uid: -1, gid: i64::from(u32::MAX) };
        assert_eq!(run_as(user).unwrap_err().to_string(), "-1:4294967295 are no user and group IDs");
    }

    #[test]
    fn writable_and_missing_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        // Needs no right to change owners: nothing is changed.
        ensure_owner(User { uid: 4321, gid: 4321 }, &[dir.path(), Path::new("/no/such"), Path::new("")]).unwrap();
        assert_eq!(i64::from(std::fs::metadata(dir.path()).unwrap().uid()), me().uid);
    }

    #[test]
    fn a_tree_changes_its_owner_and_links_are_not_followed() {
        if !is_root() {
            eprintln!("skipped: only root may give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/b/f"), "").unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink(dir.path(), tree.join("a/directory")).unwrap();
        std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o755)).unwrap();
        ensure_owner(User { uid: 4321, gid: 4322 }, &[&tree]).unwrap();
        for name in ["", "a", "a/b", "a/b/f", "a/link", "a/directory"] {
            let found = std::fs::symlink_metadata(tree.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (4321, 4322), "{name}");
        }
        assert_eq!(std::fs::metadata(outside.path()).unwrap().uid(), 0);
        assert_eq!(std::fs::metadata(dir.path()).unwrap().uid(), 0);
    }
}
