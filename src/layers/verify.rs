//! Content that must have a certain hash, checked as it is read.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::image::DiffId;

/// Passes a layer's tar on and fails at its end if it is not the layer that was asked for.
///
/// Whoever reads it must not trust what he got before he has seen the end.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    expected: DiffId,
    /// `None` once the end was met.
    hash: Option<Sha256>,
}

impl<R: Read> Verified<R> {
    pub fn new(inner: R, expected: DiffId) -> Self {
        Self { inner, expected, hash: Some(Sha256::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(hash) = &mut self.hash else { return Ok(0) };
        let n = self.inner.read(buffer)?;
        hash.update(&buffer[..n]);
        if n == 0
            && !buffer.is_empty()
            && let Some(hash) = self.hash.take()
        {
            let found = DiffId::from_sha256(&hash.finalize().into());
            if found != self.expected {
                let expected = self.expected.clone();
                return Err(io::Error::new(io::ErrorKind::InvalidData, WrongContent { expected, found }));
            }
        }
        Ok(n)
    }
}

/// A layer that is not what its diffID says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongContent {
    pub expected: DiffId,
    pub found: DiffId,
}

impl fmt::Display for WrongContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected layer contents to have SHA '{}'; found '{}'", self.expected, self.found)
    }
}

impl std::error::Error for WrongContent {}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use sha2::{Digest, Sha256};

    use super::Verified;
    use crate::image::DiffId;

    #[test]
    fn tells_at_the_end() {
        let right = DiffId::from_sha256(&Sha256::digest(b"content").into());
        let mut out = Vec::new();
        Verified::new(&b"content"[..], right.clone()).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"content");
        let error = Verified::new(&b"Content"[..], right.clone()).read_to_end(&mut out).unwrap_err();
        assert!(error.to_string().starts_with(&format!("expected layer contents to have SHA '{right}'; found 'sha256:")));
    }
}
