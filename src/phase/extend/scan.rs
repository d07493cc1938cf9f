//! One look at all files of a container.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::ignored::Ignored;
use super::layer_tar::capability;
use crate::error::{Error, Result};

/// All files by absolute path, the root itself left out.
pub type Files = HashMap<PathBuf, Node>;

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct Node {
    /// With the type bits.
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, i64),
    content: Content,
    filter: Filter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    None,
    File { sha256: [u8; 32], capability: Option<Vec<u8>> },
    Link(Vec<u8>),
    Device(u64),
}

/// Equal filters mean an untouched inode. They only save reading: what counts as a change is [`Node::differs`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    device: u64,
    inode: u64,
    size: i64,
    ctime: (i64, i64),
    /// Changed so shortly before the look that a later change could have the same time.
    racy: bool,
}

/// Clocks of file systems tick every 10 ms at worst.
const TICK: Duration = Duration::from_millis(20);

impl Node {
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }

    pub fn is_symlink(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }

    /// Whether a layer has to hold the file: type, mode, owner, time of modification, content or capability changed.
    pub fn differs(&self, old: &Self) -> bool {
        (self.mode, self.uid, self.gid, self.mtime) != (old.mode, old.uid, old.gid, old.mtime) || self.content != old.content
    }

    /// Looks at one file.
    pub fn read(path: &Path) -> Result<Self> {
        let stat = rustix::fs::lstat(path).map_err(|e| Error::io("lstat", path, &e.into()))?;
        let mut node = Self::of(&stat, Duration::MAX);
        node.content = content(path, node.mode).map_err(|e| Error::io("read", path, &e))?;
        Ok(node)
    }

    fn of(stat: &Stat, since: Duration) -> Self {
        let ctime = (stat.st_ctime, stat.st_ctime_nsec as i64);
        let changed = Duration::new(ctime.0.try_into().unwrap_or_default(), ctime.1 as u32);
        let device = matches!(FileType::from_raw_mode(stat.st_mode), FileType::CharacterDevice | FileType::BlockDevice);
        Self {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            content: if device { Content::Device(stat.st_rdev) } else { Content::None },
            filter: Filter {
                device: stat.st_dev,
                inode: stat.st_ino,
                size: stat.st_size,
                ctime,
                racy: since == Duration::MAX || changed + TICK >= since,
            },
        }
    }

    fn untouched(&self, old: &Self) -> bool {
        !old.filter.racy
            && Filter { racy: false, ..self.filter.clone() } == old.filter
            && (self.mode, self.uid, self.gid, self.mtime) == (old.mode, old.uid, old.gid, old.mtime)
    }

    fn has_content(&self) -> bool {
        matches!(FileType::from_raw_mode(self.mode), FileType::RegularFile | FileType::Symlink)
    }
}

/// Looks at everything below `root` that is not ignored. Files that are as they were in `before` are not read again.
pub fn scan(root: &Path, ignored: &Ignored, before: Option<&Files>) -> Result<Files> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut walk =
        Walk { ignored, before, since, files: HashMap::with_capacity(before.map_or(0, HashMap::len)), unread: Vec::new() };
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, open, Mode::empty()).map_err(|e| Error::io("open", root, &e.into()))?;
    walk.directory(top, Path::new("/"))?;
    let Walk { mut files, unread, .. } = walk;
    for (path, content) in read_all(root, unread, &files)? {
        match content {
            Some(content) => {
                if let Some(node) = files.get_mut(&path) {
                    node.content = content;
                }
            }
            // Gone since its directory was read.
            None => drop(files.remove(&path)),
        }
    }
    Ok(files)
}

struct Walk<'a> {
    ignored: &'a Ignored,
    before: Option<&'a Files>,
    since: Duration,
    files: Files,
    unread: Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: OwnedFd, path: &Path) -> Result<()> {
        let failed = |operation: &str, path: &Path, e: Errno| Error::io(operation, path, &e.into());
        let entries = rustix::fs::Dir::read_from(&directory).map_err(|e| failed("read", path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| failed("read", path, e))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let full = path.join(OsStr::from_bytes(name.to_bytes()));
            if self.ignored.names(&full) {
                continue;
            }
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed("lstat", &full, e)),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
                continue;
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.file(&full, &stat);
                continue;
            }
            match open_below(directory.as_fd(), name) {
                Ok(below) => {
                    self.file(&full, &stat);
                    self.directory(below, &full)?;
                }
                // A process that a command left behind is at work.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => return Err(failed("open", &full, e)),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, stat: &Stat) {
        let mut node = Node::of(stat, self.since);
        match self.before.and_then(|b| b.get(path)) {
            Some(old) if node.untouched(old) => node.content = old.content.clone(),
            _ if node.has_content() => self.unread.push(path.to_owned()),
            _ => {}
        }
        self.files.insert(path.to_owned(), node);
    }
}

fn open_below(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, open, Mode::empty())
}

type Contents = Vec<(PathBuf, Option<Content>)>;

/// Reads files on all cores.
fn read_all(root: &Path, paths: Vec<PathBuf>, files: &Files) -> Result<Contents> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Vec::with_capacity(paths.len()), None));
    let work = || {
        let mut mine = Vec::new();
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let full = root.join(path.strip_prefix("/").unwrap_or(path));
            match content(&full, files.get(path).map_or(0, |n| n.mode)) {
                Ok(content) => mine.push((path.clone(), Some(content))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => mine.push((path.clone(), None)),
                Err(e) => {
                    let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    results.1.get_or_insert(Error::io("read", &full, &e));
                    return;
                }
            }
        }
        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.append(&mut mine);
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8).min(paths.len() / 64 + 1);
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (contents, None) => Ok(contents),
    }
}

fn content(path: &Path, mode: u32) -> io::Result<Content> {
    Ok(match FileType::from_raw_mode(mode) {
        FileType::Symlink => Content::Link(std::fs::read_link(path)?.into_os_string().into_encoded_bytes()),
        FileType::RegularFile => {
            let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let mut file = File::from(rustix::fs::open(path, open, Mode::empty())?);
            let mut hash = Sha256::new();
            let mut buffer = [0; 64 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
            }
            Content::File { sha256: hash.finalize().into(), capability: capability(&file) }
        }
        FileType::CharacterDevice | FileType::BlockDevice => Content::Device(rustix::fs::lstat(path)?.st_rdev),
        _ => Content::None,
    })
}
