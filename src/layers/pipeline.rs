//! The layer pipeline: source → tar → { sha256 = diffID; copy of the tar for a cache; compress → sha256 = digest } → sink,
//! in one pass and without a temporary tar.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::compression::Compression;
use super::sink::BlobSink;
use super::source::LayerSource;
use crate::error::{Error, Result};
use crate::image::{DiffId, Digest};

/// Tar bytes that are compressed together. Part of every digest: do not change.
const CHUNK: usize = 1 << 20;

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    pub diff_id: DiffId,
    /// Of the compressed blob.
    pub digest: Digest,
    /// Of the compressed blob, bytes.
    pub size: u64,
}

/// Reads the source once, compresses its tar into the sink and finishes the sink. The plain tar is copied to `tee` as it
/// passes; errors of `tee` fail the layer, so a cache handles its own.
///
/// An implementation of `ImageWriter::add_layer` is a call of this function with its sink. May be called from several
/// threads.
pub fn compress_layer(
    source: &LayerSource,
    compression: Compression,
    tee: Option<&mut (dyn Write + Send)>,
    sink: Box<dyn BlobSink>,
) -> Result<Compressed> {
    let mut stream = Stream {
        compression,
        tee,
        sink,
        diff_id: Sha256::new(),
        digest: Sha256::new(),
        size: 0,
        chunk: Vec::with_capacity(CHUNK),
        error: None,
    };
    let written = source.write_tar(&mut stream).map_err(|e| stream.error.take().unwrap_or(e));
    written?;
    stream.flush_chunk()?;
    let diff_id = DiffId::from_sha256(&stream.diff_id.finalize().into());
    let digest = Digest::from_sha256(&stream.digest.finalize().into());
    stream.sink.finish(&digest, stream.size)?;
    Ok(Compressed { diff_id, digest, size: stream.size })
}

struct Stream<'a> {
    compression: Compression,
    tee: Option<&'a mut (dyn Write + Send)>,
    sink: Box<dyn BlobSink>,
    diff_id: Sha256,
    digest: Sha256,
    size: u64,
    chunk: Vec<u8>,
    /// What the sink said: `io::Error` would lose its exit code.
    error: Option<Error>,
}

impl Stream<'_> {
    fn flush_chunk(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let packed = pack(self.compression, &self.chunk)?;
        self.chunk.clear();
        self.digest.update(&packed);
        self.size += packed.len() as u64;
        self.sink.write(packed.into())
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.chunk.len());
        let bytes = &bytes[..n];
        self.diff_id.update(bytes);
        if let Some(tee) = &mut self.tee {
            tee.write_all(bytes)?;
        }
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() == CHUNK
            && let Err(error) = self.flush_chunk()
        {
            let told = io::Error::other(error.to_string());
            self.error = Some(error);
            return Err(told);
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One chunk as a gzip member or zstd frame of its own.
fn pack(compression: Compression, chunk: &[u8]) -> Result<Vec<u8>> {
    match compression {
        Compression::Gzip(level) => {
            let level = libdeflater::CompressionLvl::new(level.into()).map_err(|e| Error::new(format!("gzip level: {e:?}")))?;
            let mut compressor = libdeflater::Compressor::new(level);
            let mut out = vec![0; compressor.gzip_compress_bound(chunk.len())];
            let n = compressor.gzip_compress(chunk, &mut out).map_err(|e| Error::new(format!("gzip: {e}")))?;
            out.truncate(n);
            Ok(out)
        }
        Compression::Zstd(level) => zstd::bulk::compress(chunk, level.into()).map_err(|e| Error::from(e).context("zstd")),
    }
}
