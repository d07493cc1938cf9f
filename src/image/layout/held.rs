//! Blobs that only the user who started the program may read, opened before he becomes another one.
//!
//! Platforms write the run image into the layout directory as themselves, `pack` with layers of mode 0600.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The open blobs by their paths, the same for all clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<PathBuf, Arc<File>>>>);

impl Held {
    /// Keeps the blob open if not everybody may read it. What cannot be opened is seen when it is needed.
    pub fn hold(&self, path: PathBuf) {
        let Ok(file) = File::open(&path) else { return };
        if file.metadata().is_ok_and(|found| found.permissions().mode() & 0o004 == 0) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, Arc::new(file));
        }
    }

    /// The blob at `path`: the held one, else that of the file system.
    pub fn open(&self, path: &Path) -> io::Result<Blob> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let is_held = held.is_some();
        let file = held.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
        Ok(Blob { file, position: 0, is_held })
    }
}

/// A blob from its beginning. Readers of one file do not get in each other's way.
#[derive(Debug)]
pub(super) struct Blob {
    file: Arc<File>,
    position: u64,
    /// Its file is of no use to others: nobody may link to it.
    pub is_held: bool,
}

impl Blob {
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes all of it; the kernel copies where it can. Of a held blob one copy is made at a time.
    pub fn copy_to(&self, target: &mut File) -> io::Result<u64> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0))?;
        io::copy(&mut file, target)
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
