//! What every phase that opens a volume cache does to it first.

use std::fs::File;

use rustix::fs::FlockOperation;
use tracing::debug;

use super::{COMMITTED, STAGING, VolumeCache, commit};

impl VolumeCache {
    /// Removes what an interrupted build left, and makes the directories that platforms find in a cache. Not while another
    /// build writes to it; a directory that may not be written to stays as it is.
    pub fn tidy(&self) {
        let Ok(dir) = File::open(&self.dir) else { return };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            return;
        }
        let tidied = commit::recover(&self.dir).and_then(|()| {
            for name in [STAGING, COMMITTED] {
                std::fs::create_dir_all(self.dir.join(name))?;
            }
            Ok(())
        });
        if let Err(error) = tidied {
            debug!("Leaving cache {} as it is: {error}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_the_cache_stays() {
        let temp = tempfile::tempdir().unwrap();
        for file in ["staging/f", "committed-backup/f", "committed/f"] {
            let path = temp.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let cache = VolumeCache::open(temp.path()).unwrap();
        let writer = cache.start().unwrap();
        cache.tidy();
        assert!(temp.path().join("staging").exists());
        drop(writer);
        cache.tidy();
        let mut names: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["committed", "staging"]);
        assert!(temp.path().join("committed/f").exists());
        assert_eq!(std::fs::read_dir(temp.path().join("staging")).unwrap().count(), 0);
    }
}
