//! Reading layer blobs: decompression by content, and verification against the diffID.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::reference::DiffId;
use crate::error::{Context, Result};

/// The plain tar in a blob that is gzip, zstd or plain; what it is, its first bytes say.
pub fn decompress<'a>(blob: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut blob = BufReader::with_capacity(128 << 10, blob);
    let start = blob.fill_buf().context("read layer")?;
    Ok(match start {
        // Several members: what one of our own chunks is, and what `GzDecoder` would stop after.
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(blob).context("read zstd layer")?),
        _ => Box::new(blob),
    })
}

/// A layer's plain tar, checked at its end: other bytes than `diff_id` says are an error of the last read.
pub fn verified<'a>(tar: impl Read + Send + 'a, diff_id: &DiffId) -> Box<dyn Read + Send + 'a> {
    Box::new(Verified { tar, hash: Some(Sha256::new()), want: diff_id.clone() })
}

struct Verified<R> {
    tar: R,
    /// `None` after the end.
    hash: Option<Sha256>,
    want: DiffId,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.tar.read(buffer)?;
        if n > 0 {
            if let Some(hash) = &mut self.hash {
                hash.update(&buffer[..n]);
            }
            return Ok(n);
        }
        if let Some(hash) = self.hash.take() {
            let found = DiffId::from_sha256(&hash.finalize().into());
            if found != self.want {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("layer content is {found}, expected {}", self.want),
                ));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(blob).map_err(|e| io::Error::other(e.to_string()))?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_all_members_and_frames() {
        assert_eq!(read(&[gzip(b"ab"), gzip(b"cd")].concat()).unwrap(), b"abcd");
        let frames = [zstd::bulk::compress(b"ab", 1).unwrap(), zstd::bulk::compress(b"cd", 1).unwrap()].concat();
        assert_eq!(read(&frames).unwrap(), b"abcd");
        assert_eq!(read(b"plain").unwrap(), b"plain");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn a_blob_that_is_cut_is_an_error() {
        let blob = gzip(&[7; 1000]);
        assert!(read(&blob[..blob.len() - 5]).is_err());
    }

    #[test]
    fn other_content_is_an_error_at_the_end() {
        let right = DiffId::from_sha256(&Sha256::digest(b"abc").into());
        let mut out = Vec::new();
        verified(&b"abc"[..], &right).read_to_end(&mut out).unwrap();
        let error = verified(&b"abd"[..], &right).read_to_end(&mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().ends_with(&format!("expected {right}")));
    }
}
