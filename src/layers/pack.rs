//! Compressing one chunk. The bytes depend on the chunk and the [`Compression`] alone and are part of every layer digest.
//!
//! gzip: what a sample shows to be compressed or random already (jars, wheels, images, archives) is stored, the rest goes
//! through libdeflate; every run becomes a gzip member of its own, which all readers of gzip put together again. A tenth of
//! the time of compressing such data decides it, and it comes out smaller than level 1 would make it.

use libdeflater::{CompressionLvl, Compressor, Crc};

use super::compression::Compression;
use super::sink::Chunk;
use crate::error::{Error, Result};

/// Bytes that are looked at, and stored or compressed, together.
const BLOCK: usize = 16 << 10;
/// A shorter incompressible run is not worth a member of its own.
const STORED_AT_LEAST: usize = 2;
/// Every how many bytes a sample is taken.
const STRIDE: usize = 8;

/// Compresses chunks; keeps its memory from one to the next.
pub struct Packer {
    compression: Compression,
    codec: Codec,
}

enum Codec {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Packer {
    pub fn new(compression: Compression) -> Result<Self> {
        let codec = match compression {
            Compression::Gzip(level) => {
                let level = CompressionLvl::new(level.into()).map_err(|e| Error::new(format!("gzip level {level}: {e:?}")))?;
                Codec::Gzip(Compressor::new(level))
            }
            Compression::Zstd(level) => {
                Codec::Zstd(zstd::bulk::Compressor::new(level.into()).map_err(|e| Error::from(e).context("zstd"))?)
            }
        };
        Ok(Self { compression, codec })
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The chunk as gzip members or a zstd frame.
    pub fn pack(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        let compressor = match &mut self.codec {
            Codec::Zstd(compressor) => {
                let mut out = Chunk::memory();
                out.reserve(zstd::zstd_safe::compress_bound(chunk.len()));
                compressor.compress_to_buffer(chunk, &mut out).map_err(|e| Error::from(e).context("zstd"))?;
                return Ok(out);
            }
            Codec::Gzip(compressor) => compressor,
        };
        let mut out = Chunk::memory();
        out.reserve(chunk.len() + chunk.len() / 64 + 4096);
        let mut rest = chunk;
        while !rest.is_empty() {
            let (run, stored) = next_run(rest);
            let (now, later) = rest.split_at(run);
            if stored {
                store(now, &mut out);
            } else {
                deflate(compressor, now, &mut out)?;
            }
            rest = later;
        }
        Ok(out)
    }
}

/// How many bytes go together, and whether they are stored.
fn next_run(data: &[u8]) -> (usize, bool) {
    let blocks = || data.chunks(BLOCK).map(is_incompressible);
    let stored = blocks().take_while(|&dense| dense).count();
    if stored >= STORED_AT_LEAST {
        return ((stored * BLOCK).min(data.len()), true);
    }
    // Up to the next run that is long enough to be stored.
    let mut dense = 0;
    for (i, is_dense) in blocks().enumerate() {
        dense = if is_dense { dense + 1 } else { 0 };
        if dense == STORED_AT_LEAST && i + 1 > STORED_AT_LEAST {
            return ((i + 1 - STORED_AT_LEAST) * BLOCK, false);
        }
    }
    (data.len(), false)
}

/// Whether the bytes are spread so evenly that a Huffman code gains less than one percent: the number of pairs of equal
/// samples is at most 8 % above that of random bytes.
fn is_incompressible(block: &[u8]) -> bool {
    let samples = block.len().div_ceil(STRIDE) as u64;
    if block.len() < BLOCK / 4 {
        return false;
    }
    let mut counts = [0_u32; 256];
    for &byte in block.iter().step_by(STRIDE) {
        counts[usize::from(byte)] += 1;
    }
    let pairs: u64 = counts.iter().map(|&n| u64::from(n) * u64::from(n).saturating_sub(1)).sum();
    pairs * 256 * 100 <= samples * (samples - 1) * 108
}

fn deflate(compressor: &mut Compressor, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.resize(start + compressor.gzip_compress_bound(data.len()), 0);
    let n = compressor.gzip_compress(data, &mut out[start..]).map_err(|e| Error::new(format!("gzip: {e}")))?;
    out.truncate(start + n);
    Ok(())
}

/// A gzip member of stored blocks. Its header says what libdeflate's says.
fn store(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff]);
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut crc = Crc::new();
    crc.update(data);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn noise(n: usize, mut seed: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            out.extend_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        out.truncate(n);
        out
    }

    fn unpack(packed: &[u8], compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::Gzip(_) => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut out).unwrap(),
            Compression::Zstd(_) => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut out).unwrap(),
        };
        out
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let noise = noise(1 << 20, 1);
        let packed = Packer::new(Compression::Gzip(1)).unwrap().pack(&noise).unwrap();
        assert!(packed.len() < noise.len() + noise.len() / 5000, "{}", packed.len());
        assert_eq!(packed[10] & 6, 0, "a stored block");
        let text = b"all work and no play makes jack a dull boy\n".repeat(20_000);
        assert!(Packer::new(Compression::Gzip(1)).unwrap().pack(&text).unwrap().len() < text.len() / 20);
        let base64: Vec<u8> = noise
            .iter()
            .map(|b| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[usize::from(b % 64)])
            .collect();
        assert!(Packer::new(Compression::Gzip(1)).unwrap().pack(&base64).unwrap().len() < base64.len() * 4 / 5);
    }

    /// The bytes that go into digests: a change here is a change of every layer digest and needs a new [`Compression::id`].
    #[test]
    fn bytes_are_fixed() {
        use sha2::{Digest, Sha256};
        let mut chunk = noise(100_000, 2);
        chunk.extend(b"some text that is compressed, ".repeat(5000));
        chunk.extend(noise(50_000, 3));
        for (compression, want) in [
            (Compression::Gzip(1), "29b91b004798c39f"),
            (Compression::Gzip(6), "d2ee326efaccab64"),
            (Compression::Zstd(1), "f9e73223bf78ecb1"),
        ] {
            let packed = Packer::new(compression).unwrap().pack(&chunk).unwrap();
            let hash: String = Sha256::digest(&packed)[..8].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hash, want, "{}", compression.id());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn comes_back(parts in prop::collection::vec((0..3_u8, 1..60_000_usize, any::<u64>()), 1..12)) {
            let mut chunk = Vec::new();
            for (kind, n, seed) in parts {
                match kind {
                    0 => chunk.extend(noise(n, seed | 1)),
                    1 => chunk.extend(std::iter::repeat_n(seed as u8, n)),
                    _ => chunk.extend(seed.to_string().bytes().cycle().take(n)),
                }
            }
            for compression in [Compression::Gzip(1), Compression::Gzip(9), Compression::Zstd(3)] {
                let packed = Packer::new(compression).unwrap().pack(&chunk).unwrap();
                prop_assert_eq!(unpack(&packed, compression), chunk.as_slice());
                let again = Packer::new(compression).unwrap().pack(&chunk).unwrap();
                prop_assert_eq!(packed, again);
            }
        }
    }
}
