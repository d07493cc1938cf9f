//! What is noted of the entries of a layer while its tar is written, or instead of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};

use super::out::TarOut;
use crate::error::Result;

/// How a directory is walked.
#[derive(Debug, Default)]
pub struct Watch {
    /// Notes the state of every entry.
    pub trace: Option<Trace>,
    /// Files are not opened; headers and padding are written as if they had been.
    pub skip_content: bool,
}

/// The state of all entries so far, as the system tells it, and what decides whether it can be trusted later.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: Sha256,
    started: SystemTime,
    newest: i128,
    is_fine: bool,
    entries: u64,
    bytes: u64,
}

/// A finished [`Trace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// Hash of the state of all entries.
    pub hash: [u8; 32],
    /// Before the first entry was looked at.
    pub started: SystemTime,
    /// Latest time of change of an entry, nanoseconds since 1970.
    newest: i128,
    /// The file system tells times apart that are milliseconds from each other.
    is_fine: bool,
    pub entries: u64,
    /// Size of all files.
    pub bytes: u64,
}

impl Trace {
    pub fn new() -> Self {
        Self { hash: Sha256::new(), started: SystemTime::now(), newest: i128::MIN, is_fine: false, entries: 0, bytes: 0 }
    }

    /// A directory above the layer: what the tar has of it.
    pub fn ancestor(&mut self, path: &[u8], stat: &Stat) {
        self.hash.update(path);
        for number in [0, u64::from(stat.st_mode), stat.st_uid.into(), stat.st_gid.into()] {
            self.hash.update(number.to_le_bytes());
        }
    }

    /// An entry of the layer. Its content cannot change without its time of change, which nobody can set.
    pub fn entry(&mut self, path: &[u8], stat: &Stat) {
        let nanos = |seconds: i64, nanos: i128| i128::from(seconds) * 1_000_000_000 + nanos;
        let ctime = nanos(stat.st_ctime, stat.st_ctime_nsec.into());
        let mtime = nanos(stat.st_mtime, stat.st_mtime_nsec.into());
        self.newest = self.newest.max(ctime);
        self.is_fine |= ctime % 1_000_000 != 0;
        self.entries += 1;
        self.bytes += stat.st_size.cast_unsigned();
        self.hash.update(path);
        // A path has no NUL, a number of eight bytes can have any: the marker tells where the path ends.
        let mut state = [0; 1 + 7 * 8 + 2 * 16];
        let numbers = [
            stat.st_dev,
            stat.st_ino,
            stat.st_size.cast_unsigned(),
            stat.st_mode.into(),
            stat.st_uid.into(),
            stat.st_gid.into(),
            stat.st_rdev,
        ];
        let mut at = 1;
        for number in numbers {
            state[at..at + 8].copy_from_slice(&number.to_le_bytes());
            at += 8;
        }
        state[at..at + 16].copy_from_slice(&mtime.to_le_bytes());
        state[at + 16..].copy_from_slice(&ctime.to_le_bytes());
        self.hash.update(state);
    }

    pub fn finish(self) -> Print {
        let Self { hash, started, newest, is_fine, entries, bytes } = self;
        Print { hash: hash.finalize().into(), started, newest, is_fine, entries, bytes }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Clocks of file systems tick every 10 ms at the slowest; two changes within a tick look the same.
pub const TICK: Duration = Duration::from_millis(25);
/// Where times are whole seconds, or two.
const COARSE_TICK: Duration = Duration::from_millis(2100);

impl Print {
    /// How much later [`Self::started`] would have to be for every later change to show.
    pub fn unsettled(&self) -> Duration {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().cast_signed();
        let tick = if self.is_fine { TICK } else { COARSE_TICK };
        let wanted = self.newest.saturating_add(tick.as_nanos().cast_signed());
        u64::try_from(wanted.saturating_sub(started)).map_or(Duration::ZERO, Duration::from_nanos)
    }
}

/// Hashes a tar without the content of its files.
#[derive(Debug)]
pub struct Skeleton {
    hash: Sha256,
    buffer: [u8; 4096],
}

impl Skeleton {
    pub fn new() -> Self {
        Self { hash: Sha256::new(), buffer: [0; 4096] }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    pub fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl Default for Skeleton {
    fn default() -> Self {
        Self::new()
    }
}

impl TarOut for Skeleton {
    fn space(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.buffer)
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.hash.update(&self.buffer[..n]);
        Ok(())
    }
}
