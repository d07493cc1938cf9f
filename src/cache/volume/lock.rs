//! One writer per volume.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tracing::info;

use crate::error::{Error, Result};

/// How long a build waits for another one that writes to the same volume. An export may take minutes; a cache is not worth
/// that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Held by the build that writes; the system gives it up when the process ends, however it ends. The directory itself is
/// locked, so no file is left behind.
#[derive(Debug)]
pub(super) struct Lock {
    _dir: File,
}

impl Lock {
    pub fn take(dir: &Path) -> Result<Self> {
        let file = File::open(dir).map_err(|e| Error::io("open", dir, &e))?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    if !told {
                        info!("Waiting for another build that writes to cache {}", dir.display());
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(Errno::WOULDBLOCK) => crate::bail!("another build is writing to cache {}", dir.display()),
                // File systems without locks: as good as the reference.
                Ok(()) | Err(_) => return Ok(Self { _dir: file }),
            }
        }
    }
}
