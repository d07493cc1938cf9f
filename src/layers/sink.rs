//! Where a compressed layer goes.

use std::ops::Deref;

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

/// A piece of a blob, at most a few MiB. Owned, so that a sink may keep it or hand it to another thread.
#[derive(Debug, Default)]
pub struct Chunk(Vec<u8>);

impl Chunk {
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
