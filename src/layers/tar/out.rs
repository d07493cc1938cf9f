//! Where a tar's bytes go: memory of the receiver that the producer reads files into, so that nothing is copied.

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::BLOCK;
use crate::error::{Error, Result};
use crate::image::DiffId;

/// Receives a tar.
pub trait TarOut {
    /// Free memory for the next bytes, at least one.
    fn space(&mut self) -> Result<&mut [u8]>;

    /// The first `n` bytes of [`Self::space`] are filled.
    fn advance(&mut self, n: usize) -> Result<()>;

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.advance(n)?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Fills the last block of `size` bytes of content.
    fn pad(&mut self, size: u64) -> Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }

    /// Two blocks of zeros end a tar.
    fn end(&mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])
    }
}

const BUFFER: usize = 128 << 10;

/// Only hashes.
#[derive(Debug)]
pub struct HashOut {
    hash: Sha256,
    buffer: Vec<u8>,
    used: usize,
}

impl HashOut {
    pub fn new() -> Self {
        Self { hash: Sha256::new(), buffer: vec![0; BUFFER], used: 0 }
    }

    pub fn finish(mut self) -> DiffId {
        self.hash.update(&self.buffer[..self.used]);
        DiffId::from_sha256(&self.hash.finalize().into())
    }
}

impl Default for HashOut {
    fn default() -> Self {
        Self::new()
    }
}

impl TarOut for HashOut {
    fn space(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.buffer[self.used..])
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.used += n;
        if self.used == self.buffer.len() {
            self.hash.update(&self.buffer);
            self.used = 0;
        }
        Ok(())
    }
}

/// Writes to a stream. Call [`Self::finish`] at the end.
pub struct WriteOut<'a> {
    to: &'a mut dyn Write,
    buffer: Vec<u8>,
    used: usize,
}

impl std::fmt::Debug for WriteOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteOut").field("used", &self.used).finish_non_exhaustive()
    }
}

impl<'a> WriteOut<'a> {
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self { to, buffer: vec![0; BUFFER], used: 0 }
    }

    pub fn finish(mut self) -> Result<()> {
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.to.write_all(&self.buffer[..self.used]).map_err(|e| Error::from(e).context("write layer"))?;
        self.used = 0;
        Ok(())
    }
}

impl TarOut for WriteOut<'_> {
    fn space(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.buffer[self.used..])
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.used += n;
        if self.used == self.buffer.len() { self.write_buffer() } else { Ok(()) }
    }
}
