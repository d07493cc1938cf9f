//! The layer pipeline: source → tar → { sha256 = diffID; copy of the tar for a cache; compress → sha256 = digest } → sink,
//! in one pass and without a temporary tar.
//!
//! The calling thread reads and hashes, the [`super::workers`] compress. A layer has at most [`in_flight`] chunks on their
//! way, so memory does not depend on its size.

use std::collections::VecDeque;
use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::compression::Compression;
use super::sink::BlobSink;
use super::source::LayerSource;
use super::tar::out::TarOut;
use super::workers::{Packed, Pending, Pool};
use crate::error::{Error, Result};
use crate::image::{DiffId, Digest};

/// Tar bytes that are compressed together. Part of every digest: do not change.
const CHUNK: usize = 1 << 20;

/// Layers that are worth being run at the same time: more would not be faster, but need more memory.
pub const MOST_LAYERS: usize = 4;

/// Chunks of one layer that are on their way. Each needs twice its size in the worst case.
fn in_flight(pool: &Pool) -> usize {
    (pool.threads() + 1).min(4)
}

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
    compress_layer_on(Pool::shared(), source, compression, tee, sink)
}

fn compress_layer_on<'a>(
    pool: &'a Pool,
    source: &LayerSource,
    compression: Compression,
    tee: Option<&'a mut (dyn Write + Send)>,
    sink: Box<dyn BlobSink>,
) -> Result<Compressed> {
    let mut stream = Stream {
        pool,
        compression,
        tee,
        sink,
        diff_id: Sha256::new(),
        digest: Sha256::new(),
        size: 0,
        chunk: Vec::new(),
        used: 0,
        hashed: 0,
        spare: Vec::new(),
        pending: VecDeque::new(),
    };
    source.produce(&mut stream)?;
    stream.submit()?;
    while let Some(pending) = stream.pending.pop_front() {
        stream.take(pending.wait())?;
    }
    let diff_id = DiffId::from_sha256(&stream.diff_id.finalize().into());
    let digest = Digest::from_sha256(&stream.digest.finalize().into());
    stream.sink.finish(&digest, stream.size)?;
    Ok(Compressed { diff_id, digest, size: stream.size })
}

struct Stream<'a> {
    pool: &'a Pool,
    compression: Compression,
    tee: Option<&'a mut (dyn Write + Send)>,
    sink: Box<dyn BlobSink>,
    diff_id: Sha256,
    digest: Sha256,
    size: u64,
    /// The chunk that is being filled; empty until the first byte.
    chunk: Vec<u8>,
    used: usize,
    hashed: usize,
    /// Memory of chunks that are done.
    spare: Vec<Vec<u8>>,
    /// On their way, in the order of the blob.
    pending: VecDeque<Pending>,
}

/// Bytes are hashed while the processor still has them at hand.
const HASH_AT_LEAST: usize = 64 << 10;

impl Stream<'_> {
    fn hash(&mut self) {
        self.diff_id.update(&self.chunk[self.hashed..self.used]);
        self.hashed = self.used;
    }

    /// Sends the chunk on its way.
    fn submit(&mut self) -> Result<()> {
        if self.used == 0 {
            return Ok(());
        }
        self.hash();
        self.chunk.truncate(self.used);
        if let Some(tee) = &mut self.tee {
            tee.write_all(&self.chunk).map_err(|e| Error::from(e).context("copy layer"))?;
        }
        while self.pending.len() >= in_flight(self.pool) || self.pending.front().is_some_and(Pending::is_ready) {
            let Some(pending) = self.pending.pop_front() else { break };
            self.take(pending.wait())?;
        }
        self.pending.push_back(self.pool.submit(std::mem::take(&mut self.chunk), self.compression));
        (self.used, self.hashed) = (0, 0);
        Ok(())
    }

    /// The next piece of the blob.
    fn take(&mut self, packed: Packed) -> Result<()> {
        self.spare.push(packed.chunk);
        let bytes = packed.result?;
        self.digest.update(&bytes);
        self.size += bytes.len() as u64;
        self.sink.write(bytes.into())
    }
}

impl TarOut for Stream<'_> {
    fn space(&mut self) -> Result<&mut [u8]> {
        if self.chunk.len() < CHUNK {
            if self.chunk.is_empty() {
                self.chunk = self.spare.pop().unwrap_or_default();
            }
            self.chunk.resize(CHUNK, 0);
        }
        Ok(&mut self.chunk[self.used..])
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.used += n;
        if self.used == CHUNK {
            return self.submit();
        }
        if self.used - self.hashed >= HASH_AT_LEAST {
            self.hash();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::layers::sink::Chunk;

    #[derive(Default)]
    struct Blob {
        bytes: Vec<u8>,
        finished: Option<(Digest, u64)>,
    }

    struct Memory(Arc<Mutex<Blob>>, usize);

    impl BlobSink for Memory {
        fn write(&mut self, chunk: Chunk) -> Result<()> {
            let mut blob = self.0.lock().unwrap();
            if blob.bytes.len() > self.1 {
                return Err(Error::new("the registry hung up").or_failure(crate::error::Failure::Export));
            }
            blob.bytes.extend_from_slice(&chunk);
            Ok(())
        }

        fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
            self.0.lock().unwrap().finished = Some((digest.clone(), size));
            Ok(())
        }
    }

    fn layer(dir: &Path, size: usize) -> LayerSource {
        let path = dir.join("layer");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("small"), b"small").unwrap();
        std::fs::write(path.join("text"), "some text\n".repeat(size / 10)).unwrap();
        std::fs::write(path.join("end"), vec![3; 70_000]).unwrap();
        LayerSource::Directory { path, uid: 1, gid: 2 }
    }

    #[test]
    fn one_pass_says_all() {
        let temp = tempfile::tempdir().unwrap();
        for (compression, size) in [(Compression::Gzip(1), 9 << 20), (Compression::Zstd(1), 2 << 20), (Compression::Gzip(9), 10)]
        {
            let source = layer(temp.path(), size);
            let blob = Arc::new(Mutex::new(Blob::default()));
            let mut tee = Vec::new();
            let done = compress_layer(&source, compression, Some(&mut tee), Box::new(Memory(blob.clone(), usize::MAX))).unwrap();
            let mut tar = Vec::new();
            source.write_tar(&mut tar).unwrap();
            assert!(tee == tar);
            assert_eq!(done.diff_id, DiffId::from_sha256(&Sha256::digest(&tar).into()));
            let blob = blob.lock().unwrap();
            assert_eq!(done.size, blob.bytes.len() as u64);
            assert_eq!(done.digest, Digest::from_sha256(&Sha256::digest(&blob.bytes).into()));
            assert_eq!(blob.finished, Some((done.digest, done.size)));
            let mut unpacked = Vec::new();
            match compression {
                Compression::Gzip(_) => flate2::read::MultiGzDecoder::new(&blob.bytes[..]).read_to_end(&mut unpacked).unwrap(),
                Compression::Zstd(_) => {
                    zstd::stream::read::Decoder::new(&blob.bytes[..]).unwrap().read_to_end(&mut unpacked).unwrap()
                }
            };
            assert!(unpacked == tar);
        }
    }

    /// However many threads compress and however many layers run at the same time, the bytes are the same.
    #[test]
    fn threads_do_not_change_the_digest() {
        let temp = tempfile::tempdir().unwrap();
        let source = layer(temp.path(), 5 << 20);
        for compression in [Compression::Gzip(1), Compression::Gzip(6), Compression::Zstd(1)] {
            let run = |pool: &Pool| {
                compress_layer_on(pool, &source, compression, None, Box::new(Memory(Arc::default(), usize::MAX))).unwrap()
            };
            let alone = run(&Pool::new(1));
            for threads in [1, 2, 8] {
                let pool = Pool::new(threads);
                std::thread::scope(|scope| {
                    let all: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&pool))).collect();
                    for layer in all {
                        assert_eq!(layer.join().unwrap(), alone, "{threads} threads");
                    }
                });
            }
        }
    }

    #[test]
    fn a_sink_that_fails_fails_the_layer_with_its_own_error() {
        let temp = tempfile::tempdir().unwrap();
        let source = layer(temp.path(), 9 << 20);
        let blob = Arc::new(Mutex::new(Blob::default()));
        let error = compress_layer(&source, Compression::Gzip(1), None, Box::new(Memory(blob.clone(), 5000))).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("the registry hung up", 62));
        assert!(blob.lock().unwrap().finished.is_none());
    }
}
