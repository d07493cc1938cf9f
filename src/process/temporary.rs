//! Directories that do not outlive this process, even if a signal ends it.

use std::path::Path;

use tempfile::{Builder, TempDir};

use crate::error::{Error, Result};

use super::signals::{self, Doomed};

/// A directory of mode 0700 that goes, with all that is in it, on drop or with a signal.
#[derive(Debug)]
pub struct TemporaryDirectory {
    directory: TempDir,
    _doomed: Doomed,
}

impl TemporaryDirectory {
    /// Below `TMPDIR`, or `/tmp`.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::within(&std::env::temp_dir(), prefix)
    }

    /// Within `parent`: what is staged in it can be renamed to where it belongs.
    pub fn within(parent: &Path, prefix: &str) -> Result<Self> {
        let directory = Builder::new().prefix(prefix).tempdir_in(parent);
        let directory = directory.map_err(|e| Error::io("mkdir", parent.join(prefix), &e))?;
        let doomed = signals::doom(directory.path());
        Ok(Self { directory, _doomed: doomed })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes the directory, and says so if that fails.
    pub fn close(self) -> std::io::Result<()> {
        self.directory.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_drop() {
        let parent = tempfile::tempdir().unwrap();
        let directory = TemporaryDirectory::within(parent.path(), ".staging-").unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        drop(directory);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_the_parent_that_is_not_there() {
        let error = TemporaryDirectory::within(Path::new("/no/such"), "x-").unwrap_err();
        assert_eq!(error.to_string(), "mkdir /no/such/x-: no such file or directory");
    }
}
