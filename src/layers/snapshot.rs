//! What a tree looks like from outside: enough to tell later whether anybody changed it, without reading a file.
//!
//! A write, a rename, a link, a change of mode or owner all set an inode's ctime, and nobody can set it back without being
//! root and moving the clock. What the snapshot cannot tell is whether a change left the content as it was.

use std::cmp::Ordering;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// All entries below a directory, in the order of their paths.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The paths of all entries, one behind the other.
    paths: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where in `paths` its path begins and ends.
    path: (usize, usize),
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    mode: u32,
    size: u64,
    inode: (u64, u64),
    ctime: (i64, i64),
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Removed,
    Modified,
    /// Its ctime or inode is another, everything else is as before: it was written, or only touched or linked to.
    Touched,
}

/// A path relative to the snapshot's directory and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: Vec<u8>,
    pub kind: Kind,
}

impl Change {
    /// The first element of the path.
    pub fn top(&self) -> &[u8] {
        self.path.split(|b| *b == b'/').next().unwrap_or_default()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Modified => "modified",
            Kind::Touched => "touched",
        };
        write!(f, "{what} {}", String::from_utf8_lossy(&self.path))
    }
}

impl Snapshot {
    /// Looks at everything below `dir`; a directory that does not exist has nothing below it. Directories at the top for
    /// which `skip` is true are not entered.
    pub fn take(dir: &Path, skip: &dyn Fn(&[u8]) -> bool) -> Result<Self> {
        let mut snapshot = Self::default();
        let fd = match rustix::fs::openat(CWD, dir, OPEN, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(snapshot),
            Err(e) => return Err(Error::io("open", dir, &e.into())),
        };
        Walk { snapshot: &mut snapshot, path: Vec::new(), skip }.directory(fd).map_err(|e| Error::io("read", dir, &e.into()))?;
        Ok(snapshot)
    }

    /// The regular files directly in `dir`.
    pub fn of_files(dir: &Path) -> Result<Self> {
        let mut snapshot = Self::take(dir, &|_| true)?;
        snapshot.entries.retain(|e| FileType::from_raw_mode(e.state.mode) == FileType::RegularFile);
        Ok(snapshot)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is different in `later`.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (self.entries.iter().peekable(), later.entries.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => compare_paths(self.path(a), later.path(b)),
            };
            let mut push = |path: &[u8], kind| changes.push(Change { path: path.to_vec(), kind });
            match order {
                Ordering::Less => old.next().into_iter().for_each(|a| push(self.path(a), Kind::Removed)),
                Ordering::Greater => new.next().into_iter().for_each(|b| push(later.path(b), Kind::Added)),
                Ordering::Equal => {
                    if let (Some(a), Some(b)) = (old.next(), new.next())
                        && let Some(kind) = a.state.change(&b.state)
                    {
                        push(self.path(a), kind);
                    }
                }
            }
        }
    }

    /// Waits until a write would get another ctime than those in here: kernels before 6.13 count them in ticks.
    pub fn let_time_pass(&self) {
        const TICK: Duration = Duration::from_millis(10);
        let Some((seconds, nanos)) = self.entries.iter().map(|e| e.state.ctime).max() else { return };
        let newest = Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if now < newest + TICK {
            std::thread::sleep(TICK);
        }
    }

    fn path(&self, entry: &Entry) -> &[u8] {
        &self.paths[entry.path.0..entry.path.1]
    }
}

/// Element by element, as the walk goes.
fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|b| *b == b'/').cmp(b.split(|b| *b == b'/'))
}

impl State {
    fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode,
            size: stat.st_size.try_into().unwrap_or(0),
            inode: (stat.st_dev, stat.st_ino),
            ctime: (stat.st_ctime, stat.st_ctime_nsec.try_into().unwrap_or(0)),
        }
    }

    fn change(&self, later: &Self) -> Option<Kind> {
        if self.mode != later.mode {
            return Some(Kind::Modified);
        }
        if FileType::from_raw_mode(self.mode) == FileType::Directory {
            // Its ctime and size follow what is in it, which is listed by itself.
            return (self.inode != later.inode).then_some(Kind::Touched);
        }
        if self.size != later.size {
            return Some(Kind::Modified);
        }
        (self != later).then_some(Kind::Touched)
    }
}

const OPEN: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Walk<'a> {
    snapshot: &'a mut Snapshot,
    path: Vec<u8>,
    skip: &'a dyn Fn(&[u8]) -> bool,
}

impl Walk<'_> {
    fn directory(&mut self, dir: OwnedFd) -> Result<(), Errno> {
        let mut arena = Vec::new();
        let mut names: Vec<(usize, usize)> = Vec::new();
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((arena.len(), arena.len() + name.len()));
                arena.extend_from_slice(name);
            }
        }
        drop(buffer);
        names.sort_unstable_by(|a, b| arena[a.0..a.1].cmp(&arena[b.0..b.1]));
        for (begin, end) in names {
            self.entry(&dir, &arena[begin..end])?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It went meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        let parent = self.path.len();
        if parent > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let begin = self.snapshot.paths.len();
        self.snapshot.paths.extend_from_slice(&self.path);
        let path = (begin, self.snapshot.paths.len());
        self.snapshot.entries.push(Entry { path, state: State::of(&stat) });
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && !(parent == 0 && (self.skip)(name)) {
            match rustix::fs::openat(dir.as_fd(), name, OPEN, Mode::empty()) {
                Ok(child) => self.directory(child)?,
                // Closed to everybody of this user: nothing in it can change without its mode changing.
                Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e),
            }
        }
        self.path.truncate(parent);
        Ok(())
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
