//! Where a compressed layer goes.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::image::Digest;

/// Takes in one blob: a registry upload, a file of a layout.
///
/// A sink that is dropped without [`BlobSink::finish`] aborts and leaves nothing behind.
pub trait BlobSink: Send {
    /// The next bytes of the blob, in order. May block: that is the back-pressure.
    fn write(&mut self, chunk: Chunk) -> Result<()>;

    /// All bytes were written; `digest` and `size` are those of the whole blob.
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()>;
}

/// A piece of a blob, at most a few MiB. Owned, so that a sink may keep it or hand it to another thread. Its memory is used
/// again: to get and give back a MiB from and to the system costs as much as to hash it.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
}

/// Memory that waits for its next use.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// More than is ever on its way at the same time is not kept.
const MOST_SPARE: usize = 32;

impl Chunk {
    /// Empty memory to make a piece in.
    pub fn memory() -> Vec<u8> {
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Leaves out the first `n` bytes.
    pub fn skip(&mut self, n: usize) {
        self.start = self.bytes.len().min(self.start + n);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.capacity() > 0 && spare.len() < MOST_SPARE {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
