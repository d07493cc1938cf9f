//! Walking directories into a tar: by descriptors, without an allocation per entry.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::header::{Header, clean};
use super::out::TarOut;
use super::watch::Watch;
use crate::error::{Error, Result};

/// In which order a directory's entries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Names sorted per directory, a directory's content right behind it (rule R1).
    ByName,
    /// Sorted by full path: `a`, `a.txt`, `a/b` (rule R2).
    ByPath,
}

/// Writes entries to a tar.
pub struct Walker<'a> {
    out: &'a mut dyn TarOut,
    watch: &'a mut Watch,
    /// User and group of what is written; `None` keeps those on disk.
    owner: Option<(u64, u64)>,
    /// Name of the entry at hand.
    pub path: Vec<u8>,
    header: Vec<u8>,
    link: Vec<u8>,
    /// Listings that are free for use again.
    spare: Vec<Listing>,
}

impl std::fmt::Debug for Walker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walker").field("path", &self.path.escape_ascii().to_string()).finish_non_exhaustive()
    }
}

const OPEN_DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file that has become a FIFO meanwhile must not block.
const OPEN_FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl<'a> Walker<'a> {
    pub fn new(out: &'a mut dyn TarOut, watch: &'a mut Watch) -> Self {
        Self { out, watch, owner: None, path: Vec::new(), header: Vec::new(), link: Vec::new(), spare: Vec::new() }
    }

    /// The directories above `path`, top-down, without `/`: links followed, with the owners they have (rule R3).
    pub fn ancestors(&mut self, path: &Path) -> Result<()> {
        let name = absolute(path);
        let ends = name.iter().enumerate().skip(1).filter(|&(_, &c)| c == b'/').map(|(i, _)| i);
        for end in ends {
            self.path.clear();
            self.path.extend_from_slice(&name[..end]);
            let stat = rustix::fs::stat(&self.path[..]).map_err(|e| self.fault("stat", e))?;
            self.put_entry(&stat, b"")?;
        }
        Ok(())
    }

    /// From here on entries belong to this user and group.
    pub fn owned_by(&mut self, uid: u64, gid: u64) {
        self.owner = Some((uid, gid));
    }

    /// `path` and all below it. If `path` is a link, `follow` says whether it or the directory behind it is meant.
    pub fn tree(&mut self, path: &Path, order: Order, follow: bool) -> Result<()> {
        self.path = absolute(path);
        let root = self.path.clone();
        let stat = if follow { rustix::fs::stat(&root[..]) } else { rustix::fs::lstat(&root[..]) }
            .map_err(|e| self.fault(if follow { "stat" } else { "lstat" }, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.entry(CWD, &root, &stat);
        }
        self.put_entry(&stat, b"")?;
        let flags = if follow { OPEN_DIRECTORY.difference(OFlags::NOFOLLOW) } else { OPEN_DIRECTORY };
        let dir = self.open(CWD, &root, flags)?;
        self.children(dir, order)
    }

    /// The entry [`Self::path`] itself; a link at the end of `path` is followed.
    pub fn stat_entry(&mut self, path: &[u8]) -> Result<()> {
        let stat = rustix::fs::stat(path).map_err(|e| self.fault("stat", e))?;
        self.put_entry(&stat, b"")
    }

    /// Opens a directory; a link at the end of `path` is followed.
    pub fn open_followed(&self, path: &[u8]) -> Result<OwnedFd> {
        self.open(CWD, path, OPEN_DIRECTORY.difference(OFlags::NOFOLLOW))
    }

    /// Opens a directory to work below it.
    pub fn open_directory(&self, at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        self.open(at, name, OPEN_DIRECTORY)
    }

    fn open(&self, at: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
        rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|e| self.fault("open", e))
    }

    fn children(&mut self, dir: OwnedFd, order: Order) -> Result<()> {
        let mut listing = self.spare.pop().unwrap_or_default();
        listing.read(dir.as_fd(), order).map_err(|e| self.fault("read", e))?;
        let parent = self.path.len();
        if self.path != b"/" {
            self.path.push(b'/');
        }
        let base = self.path.len();
        for item in &listing.items {
            let name = listing.name(item);
            self.path.truncate(base);
            self.path.extend_from_slice(name);
            match item.kind {
                Kind::Content => {
                    let child = self.open(dir.as_fd(), name, OPEN_DIRECTORY)?;
                    self.children(child, order)?;
                }
                Kind::Directory if order == Order::ByName => {
                    let child = self.open(dir.as_fd(), name, OPEN_DIRECTORY)?;
                    let stat = rustix::fs::fstat(&child).map_err(|e| self.fault("stat", e))?;
                    self.put_entry(&stat, b"")?;
                    self.children(child, order)?;
                }
                Kind::File => self.file(dir.as_fd(), name)?,
                Kind::Socket => {}
                Kind::Directory | Kind::Other => self.lstat_entry(dir.as_fd(), name)?,
            }
        }
        self.path.truncate(parent);
        self.spare.push(listing);
        Ok(())
    }

    /// The entry `name` in `at`, called [`Self::path`] in the tar; of a directory itself, not what it holds.
    pub fn lstat_entry(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fault("lstat", e))?;
        self.entry(at, name, &stat)
    }

    fn entry(&mut self, at: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(at, name),
            FileType::Symlink => {
                let link = std::mem::take(&mut self.link);
                let link = rustix::fs::readlinkat(at, name, link).map_err(|e| self.fault("readlink", e))?;
                self.put_entry(stat, link.as_bytes())?;
                self.link = link.into_bytes();
                Ok(())
            }
            // Rule R5.
            FileType::Socket => Ok(()),
            _ => self.put_entry(stat, b""),
        }
    }

    fn file(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        if self.watch.skip_content {
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fault("lstat", e))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(self.changed("is no file any more"));
            }
            self.put_entry(&stat, b"")?;
            return self.out.pad(stat.st_size.cast_unsigned());
        }
        let file = self.open(at, name, OPEN_FILE)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| self.fault("stat", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.changed("is no file any more"));
        }
        self.put_entry(&stat, b"")?;
        let size = stat.st_size.cast_unsigned();
        let mut left = size;
        loop {
            let space = self.out.space()?;
            // One byte more than is due tells a file that has grown.
            let due = space.len().min(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1));
            let n = match rustix::io::read(&file, &mut space[..due]) {
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(self.fault("read", e)),
            };
            if n as u64 > left {
                return Err(self.changed("grew (archive/tar: write too long)"));
            }
            self.out.advance(n)?;
            left -= n as u64;
            if n == 0 && left > 0 {
                return Err(self.changed(format_args!("shrank (archive/tar: missed writing {left} bytes)")));
            }
            // A read that got less than it asked for has met the end.
            if left == 0 && n < due {
                return self.out.pad(size);
            }
        }
    }

    /// Header of the entry [`Self::path`].
    fn put_entry(&mut self, stat: &Stat, link: &[u8]) -> Result<()> {
        if let Some(trace) = &mut self.watch.trace {
            match self.owner {
                Some(_) => trace.entry(&self.path, stat),
                None => trace.ancestor(&self.path, stat),
            }
        }
        let (uid, gid) = self.owner.unwrap_or((stat.st_uid.into(), stat.st_gid.into()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let device = match kind {
            FileType::CharacterDevice | FileType::BlockDevice => {
                (i64::from(rustix::fs::major(stat.st_rdev)), i64::from(rustix::fs::minor(stat.st_rdev)))
            }
            _ => (0, 0),
        };
        let header = Header {
            typeflag: match kind {
                FileType::RegularFile => b'0',
                FileType::Directory => b'5',
                FileType::Symlink => b'2',
                FileType::Fifo => b'6',
                FileType::CharacterDevice => b'3',
                FileType::BlockDevice => b'4',
                _ => return Ok(()),
            },
            name: &self.path,
            link,
            mode: i64::from(stat.st_mode & 0o7777),
            uid: uid.cast_signed(),
            gid: gid.cast_signed(),
            size: if kind == FileType::RegularFile { stat.st_size } else { 0 },
            device,
            origin: None,
        };
        self.header.clear();
        header.encode(&mut self.header).map_err(|why| Error::new(format!("{}: {why}", self.shown())))?;
        self.out.put(&self.header)
    }

    fn shown(&self) -> String {
        Path::new(std::ffi::OsStr::from_bytes(&self.path)).display().to_string()
    }

    fn fault(&self, act: &str, errno: Errno) -> Error {
        Error::io(act, self.shown(), &errno.into())
    }

    fn changed(&self, how: impl Display) -> Error {
        Error::new(format!("{}: changed while it was read: {how}", self.shown()))
    }
}

/// Absolute and clean, as names are in a tar (rule R4).
pub(in crate::layers) fn absolute(path: &Path) -> Vec<u8> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    clean(path.as_os_str().as_bytes(), true)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layers) enum Kind {
    Directory,
    /// What is in a directory, where [`Order::ByPath`] puts it.
    Content,
    File,
    Socket,
    Other,
}

#[derive(Debug)]
pub(in crate::layers) struct Item {
    start: u32,
    /// Of the name; the key of [`Kind::Content`] has a slash behind it.
    length: u16,
    pub kind: Kind,
}

/// A sorted directory; all names in one piece of memory.
#[derive(Debug, Default)]
pub(in crate::layers) struct Listing {
    names: Vec<u8>,
    pub items: Vec<Item>,
}

impl Listing {
    pub fn name(&self, item: &Item) -> &[u8] {
        &self.names[item.start as usize..][..item.length.into()]
    }

    pub fn read(&mut self, dir: BorrowedFd<'_>, order: Order) -> Result<(), Errno> {
        self.names.clear();
        self.items.clear();
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 32 << 10];
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let stat = rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            let kind = match kind {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                FileType::Socket => Kind::Socket,
                _ => Kind::Other,
            };
            let start = u32::try_from(self.names.len()).map_err(|_| Errno::OVERFLOW)?;
            // A name has at most 255 bytes.
            let length = name.len() as u16;
            self.names.extend_from_slice(name);
            self.names.push(b'/');
            self.items.push(Item { start, length, kind });
            if order == Order::ByPath && kind == Kind::Directory {
                self.items.push(Item { start, length, kind: Kind::Content });
            }
        }
        let names = &self.names;
        let key = |i: &Item| &names[i.start as usize..][..usize::from(i.length) + usize::from(i.kind == Kind::Content)];
        self.items.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        Ok(())
    }
}
