//! Layers as compressed blobs.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::image::{DiffId, Digest};

/// Tar bytes that make one gzip member. Part of every digest: do not change.
const CHUNK: usize = 1 << 20;

/// A new layer, gzip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub diff_id: DiffId,
    pub digest: Digest,
    /// Of the compressed blob, bytes.
    pub size: u64,
    pub content: BlobContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobContent {
    Memory(Vec<u8>),
    File(PathBuf),
}

impl Blob {
    /// The layer of an instruction that changes no file: an empty tar.
    pub fn empty() -> Result<Self> {
        let mut bytes = Vec::new();
        let (diff_id, digest, size) =
            compress(&mut bytes, |tar| tar.write_all(&[0; 1024]).map_err(|e| Error::io("write", "empty layer", &e)))?;
        Ok(Self { diff_id, digest, size, content: BlobContent::Memory(bytes) })
    }

    /// Makes the blob in a directory, named by its digest's hex digits.
    pub fn create(directory: &Path, write_tar: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Self> {
        let failed = |e: &io::Error| Error::io("create", directory, e);
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory).map_err(|e| failed(&e))?;
        let (diff_id, digest, size) = compress(file.as_file_mut(), write_tar)?;
        let path = directory.join(digest.hex());
        file.persist(&path).map_err(|e| failed(&e.error))?;
        Ok(Self { diff_id, digest, size, content: BlobContent::File(path) })
    }

    /// The compressed bytes.
    pub fn open(&self) -> Result<Box<dyn io::Read + '_>> {
        Ok(match &self.content {
            BlobContent::Memory(bytes) => Box::new(bytes.as_slice()),
            BlobContent::File(path) => Box::new(File::open(path).map_err(|e| Error::io("open", path, &e))?),
        })
    }
}

fn compress(out: &mut dyn Write, write_tar: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<(DiffId, Digest, u64)> {
    let level = CompressionLvl::new(1).map_err(|e| Error::new(format!("gzip level: {e:?}")))?;
    let mut gzip = Gzip {
        out,
        compressor: Compressor::new(level),
        chunk: Vec::with_capacity(CHUNK),
        diff_id: Sha256::new(),
        digest: Sha256::new(),
        size: 0,
    };
    write_tar(&mut gzip)?;
    gzip.member().map_err(|e| Error::io("write", "layer", &e))?;
    let diff_id = DiffId::from_sha256(&gzip.diff_id.finalize().into());
    Ok((diff_id, Digest::from_sha256(&gzip.digest.finalize().into()), gzip.size))
}

struct Gzip<'a> {
    out: &'a mut dyn Write,
    compressor: Compressor,
    chunk: Vec<u8>,
    diff_id: Sha256,
    digest: Sha256,
    size: u64,
}

impl Gzip<'_> {
    fn member(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let mut packed = vec![0; self.compressor.gzip_compress_bound(self.chunk.len())];
        let length = self.compressor.gzip_compress(&self.chunk, &mut packed).map_err(io::Error::other)?;
        self.chunk.clear();
        self.digest.update(&packed[..length]);
        self.size += length as u64;
        self.out.write_all(&packed[..length])
    }
}

impl Write for Gzip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(CHUNK - self.chunk.len());
        self.diff_id.update(&bytes[..length]);
        self.chunk.extend_from_slice(&bytes[..length]);
        if self.chunk.len() == CHUNK {
            self.member()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;
    use std::io::Read;

    #[test]
    fn blobs_are_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let tar: Vec<u8> = (0..3 * CHUNK / 2).map(|n| (n / 1000) as u8).collect();
        let blob = Blob::create(dir.path(), |out| Ok(out.write_all(&tar)?)).unwrap();
        let mut packed = Vec::new();
        blob.open().unwrap().read_to_end(&mut packed).unwrap();
        let mut plain = Vec::new();
        MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, tar);
        assert_eq!(blob.size, packed.len() as u64);
        assert_eq!(blob.digest, Digest::of(&packed));
        assert_eq!(blob.diff_id.as_str(), Digest::of(&tar).as_str());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_empty_layer_is_always_the_same() {
        assert_eq!(Blob::empty().unwrap(), Blob::empty().unwrap());
        assert_eq!(Blob::empty().unwrap().diff_id.as_str(), Digest::of(&[0; 1024]).as_str());
    }
}
