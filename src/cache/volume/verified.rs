//! Which committed tars are known to be whole: `committed/.verified`.
//!
//! A line is `<diffID> <inode> <size> <mtime> <ctime>` (times in nanoseconds). A tar that still has these was written or
//! hashed by us and not touched since, so taking it over needs no look into it. What is read back is hashed in any case.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::image::DiffId;

const NAME: &str = ".verified";
/// Smaller tars are hashed as fast as looked up; a cache of small layers needs no such file.
const WORTH_IT: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let stat = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some(Self {
            inode: stat.ino(),
            size: stat.size(),
            mtime: nanos(stat.mtime(), stat.mtime_nsec()),
            ctime: nanos(stat.ctime(), stat.ctime_nsec()),
        })
    }
}

/// The record of a committed directory.
#[derive(Debug, Default)]
pub(super) struct VerifiedTars(HashMap<String, Stamp>);

impl VerifiedTars {
    pub fn read(committed: &Path) -> Self {
        let text = std::fs::read_to_string(committed.join(NAME)).unwrap_or_default();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let diff_id = DiffId::parse(words.next()?)?.to_string();
            let inode = words.next()?.parse().ok()?;
            let size = words.next()?.parse().ok()?;
            let mtime = words.next()?.parse().ok()?;
            let ctime = words.next()?.parse().ok()?;
            Some((diff_id, Stamp { inode, size, mtime, ctime }))
        };
        Self(text.lines().filter_map(parse).collect())
    }

    pub fn has(&self, diff_id: &DiffId, path: &Path) -> bool {
        self.0.get(diff_id.as_str()).is_some_and(|stamp| Stamp::of(path) == Some(*stamp))
    }

    /// Records the tars of a directory that was just committed; a record that cannot be written is none.
    pub fn write<'a>(committed: &Path, diff_ids: impl Iterator<Item = &'a DiffId>) {
        let mut text = String::new();
        for diff_id in diff_ids {
            if let Some(stamp) = Stamp::of(&committed.join(super::tar_name(diff_id))).filter(|s| s.size >= WORTH_IT) {
                text += &format!("{diff_id} {} {} {} {}\n", stamp.inode, stamp.size, stamp.mtime, stamp.ctime);
            }
        }
        if text.is_empty() {
            return;
        }
        let new = committed.join(".verified.new");
        let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, committed.join(NAME)));
    }
}
