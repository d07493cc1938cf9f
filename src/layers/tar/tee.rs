//! A tar that is hashed and written in the same pass.

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::out::TarOut;
use crate::error::{Error, Result};
use crate::image::DiffId;
use crate::layers::source::LayerSource;

/// Writes the layer's plain tar and says its diffID.
pub fn copy_layer(source: &LayerSource, to: &mut dyn Write) -> Result<DiffId> {
    let mut out = HashingOut { hash: Sha256::new(), to, buffer: vec![0; 256 << 10], used: 0 };
    source.produce(&mut out)?;
    out.write_buffer()?;
    Ok(DiffId::from_sha256(&out.hash.finalize().into()))
}

struct HashingOut<'a> {
    hash: Sha256,
    to: &'a mut dyn Write,
    buffer: Vec<u8>,
    used: usize,
}

impl HashingOut<'_> {
    fn write_buffer(&mut self) -> Result<()> {
        let bytes = &self.buffer[..self.used];
        self.hash.update(bytes);
        self.to.write_all(bytes).map_err(|e| Error::from(e).context("write layer"))?;
        self.used = 0;
        Ok(())
    }
}

impl TarOut for HashingOut<'_> {
    fn space(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.buffer[self.used..])
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.used += n;
        if self.used == self.buffer.len() { self.write_buffer() } else { Ok(()) }
    }
}
