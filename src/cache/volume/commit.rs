//! Putting a new state of the cache in place of the old one.

use std::fs::File;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tracing::debug;

use super::{BACKUP, COMMITTED, STAGING};
use crate::error::{Context, Error, Result};

/// What an interrupted commit may have left: if the old state was moved away and the new one did not come, the old one goes
/// back. Leftovers are removed.
pub(super) fn recover(dir: &Path) -> Result<()> {
    let (committed, backup) = (dir.join(COMMITTED), dir.join(BACKUP));
    if !committed.exists() && backup.is_dir() {
        std::fs::rename(&backup, &committed).map_err(|e| Error::io("rename", &backup, &e))?;
    }
    remove(&backup).with_context(|| format!("removing backup directory '{}'", backup.display()))?;
    let staging = dir.join(STAGING);
    remove(&staging).with_context(|| format!("initializing staging directory '{}'", staging.display()))
}

/// `staging` becomes `committed`. At every instant one of the two states has a name under which it is found.
pub(super) fn exchange(dir: &Path) -> Result<()> {
    let (committed, staging, backup) = (dir.join(COMMITTED), dir.join(STAGING), dir.join(BACKUP));
    sync(&staging);
    match rustix::fs::renameat_with(CWD, &staging, CWD, &committed, RenameFlags::EXCHANGE) {
        Ok(()) => {
            sync(dir);
            forget(&staging);
            return Ok(());
        }
        // There is none yet.
        Err(Errno::NOENT) => {}
        // The file system cannot: two steps, between which [`recover`] and readers find the backup.
        Err(error) => {
            debug!("Cannot exchange {} and {}: {error}", staging.display(), committed.display());
            std::fs::rename(&committed, &backup).map_err(|e| Error::io("rename", &committed, &e)).context("backing up cache")?;
        }
    }
    if let Err(error) = std::fs::rename(&staging, &committed) {
        let error = Error::io("rename", &staging, &error);
        if backup.exists() {
            std::fs::rename(&backup, &committed).map_err(|e| Error::io("rename", &backup, &e)).context("rolling back cache")?;
        }
        return Err(error.context("committing cache"));
    }
    sync(dir);
    forget(&backup);
    Ok(())
}

/// Names survive a loss of power only when their directory was synced. A disk that refuses is no reason to fail.
fn sync(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

/// The old state; what cannot be removed now is removed by the next build.
fn forget(old: &Path) {
    if let Err(error) = remove(old) {
        debug!("Cannot remove the old cache: {error}");
    }
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| Error::io("unlinkat", dir, &e)),
    }
}
