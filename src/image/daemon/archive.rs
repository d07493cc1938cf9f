//! The tar that an image is loaded as, and the form of it that engines with graph drivers take: a config, layers, and a
//! manifest.json that names them.

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::json;

use super::contents::Contents;
use crate::error::Result;
use crate::image::draft::ImageDraft;
use crate::image::json;
use crate::image::reference::{DiffId, Digest, ImageReference};

/// Writes the image under this name. The `known` lower layers are empty files: the engine has them as one chain.
pub fn write_docker(
    out: &mut dyn Write,
    contents: &mut Contents<'_>,
    draft: &ImageDraft,
    known: usize,
    (config, digest): (&[u8], &Digest),
    name: &str,
) -> Result<()> {
    let config_name = format!("{}.json", digest.hex());
    write_file(out, &config_name, config)?;
    let mut files: Vec<String> = (0..known).map(|index| format!("blank_{index}")).collect();
    for blank in &files {
        write_file(out, blank, &[])?;
    }
    let file_name = |diff_id: &DiffId| format!("{}.tar", diff_id.hex());
    let sent = draft.layers.get(known..).unwrap_or_default();
    files.extend(sent.iter().map(|layer| file_name(layer.diff_id())));
    let wanted: HashSet<DiffId> = sent.iter().map(|layer| layer.diff_id().clone()).collect();
    contents.write(out, &wanted, &file_name)?;
    let manifest = json!([{"Config": config_name, "RepoTags": [ImageReference::full_name_or_text(name)], "Layers": files}]);
    write_file(out, "manifest.json", &json::to_bytes(&manifest))?;
    write_end(out)
}

pub fn write_file(out: &mut dyn Write, name: &str, content: &[u8]) -> Result<()> {
    write_header(out, name, content.len() as u64)?;
    out.write_all(content)?;
    write_padding(out, content.len() as u64)
}

pub fn write_header(out: &mut dyn Write, name: &str, size: u64) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Ok(out.write_all(header.as_bytes())?)
}

/// What follows a file of this size.
pub fn write_padding(out: &mut dyn Write, size: u64) -> Result<()> {
    let over = (size % 512) as usize;
    if over == 0 { Ok(()) } else { Ok(out.write_all(&[0; 512][over..])?) }
}

pub fn write_end(out: &mut dyn Write) -> Result<()> {
    Ok(out.write_all(&[0; 1024])?)
}

/// Takes as many bytes as were announced.
pub struct Exactly<'a> {
    pub left: u64,
    pub out: &'a mut dyn Write,
}

impl Write for Exactly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left =
            self.left.checked_sub(bytes.len() as u64).ok_or_else(|| io::Error::other("the layer grew while it was read"))?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
