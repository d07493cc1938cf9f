//! Layers that an extended image brings: their tars with times and names normalised (layer-tar-rules.md §2.4).

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use tar::{Archive, Entry};

use super::header::{Formats, Header, Origin, Time};
use super::out::TarOut;
use super::special::copy;
use crate::error::{Error, Result};

/// Reads a layer's tar from a file that is plain, gzip or zstd.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(|e| Error::io("read", path, &e))?;
    file.rewind().map_err(|e| Error::io("seek", path, &e))?;
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(file).map_err(|e| Error::io("read", path, &e))?),
        _ => Box::new(BufReader::with_capacity(64 << 10, file)),
    })
}

/// Writes the tar of `path` anew, entry by entry: what an entry was stays, except for the modification time and the names of
/// user and group.
pub fn rewrite(path: &Path, out: &mut dyn TarOut) -> Result<()> {
    let fault = |e: std::io::Error| Error::from(e).context(format!("read tar {}", path.display()));
    let mut archive = Archive::new(open(path)?);
    for entry in archive.entries().map_err(fault)? {
        let mut entry = entry.map_err(fault)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        if kind.is_gnu_sparse() {
            crate::bail!("read tar {}: {}: sparse files are not supported", path.display(), name(&entry));
        }
        let (blocks, size) = header(&mut entry).map_err(fault)?;
        out.put(&blocks)?;
        if !copy(&mut entry, size, out).map_err(|e| e.context(format!("read tar {}", path.display())))? {
            crate::bail!("read tar {}: unexpected EOF in {}", path.display(), name(&entry));
        }
        out.pad(size)?;
    }
    out.end()
}

fn name<R: Read>(entry: &Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

/// The entry's new header blocks and how many bytes follow.
fn header<R: Read>(entry: &mut Entry<'_, R>) -> std::io::Result<(Vec<u8>, u64)> {
    let mut origin = Origin::default();
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            origin.records.insert(record.key_bytes().to_vec(), record.value_bytes().to_vec());
        }
    }
    if origin.records.keys().any(|k| k.starts_with(b"GNU.sparse.")) {
        return Err(std::io::Error::other(format!("{}: sparse files are not supported", name(entry))));
    }
    let raw = entry.header();
    let block: &[u8; 512] = raw.as_bytes();
    origin.format = if !origin.records.is_empty() {
        Formats::PAX
    } else if raw.as_gnu().is_some() {
        Formats::GNU
    } else if raw.as_ustar().is_some() && is_strict(block) {
        Formats::USTAR
    } else {
        Formats::NONE
    };
    let record = |key: &str| origin.records.get(key.as_bytes()).filter(|v| !v.is_empty()).map(|v| parse_time(v));
    let (mut atime, mut ctime) = (record("atime").transpose()?, record("ctime").transpose()?);
    if let Some(gnu) = raw.as_gnu() {
        let seconds = |field: &[u8; 12], value: std::io::Result<u64>| {
            (field[0] != 0).then(|| value.map(|s| Time { seconds: s.cast_signed(), nanos: 0 })).transpose()
        };
        match (seconds(&gnu.atime, gnu.atime()), seconds(&gnu.ctime, gnu.ctime())) {
            (Ok(a), Ok(c)) => (atime, ctime) = (atime.or(a), ctime.or(c)),
            // Some writers put a ustar prefix there: then it is no GNU header.
            _ => origin.format = Formats::NONE,
        }
    }
    (origin.atime, origin.ctime) = (atime, ctime);
    let number = |key: &str, field: std::io::Result<u64>| -> std::io::Result<i64> {
        match origin.records.get(key.as_bytes()).filter(|v| !v.is_empty()) {
            Some(text) => parse(text),
            None => field.map(u64::cast_signed),
        }
    };
    let typeflag = match block[156] {
        0 if entry.path_bytes().ends_with(b"/") => b'5',
        0 => b'0',
        flag => flag,
    };
    let size = number("size", raw.size())?;
    let header = Header {
        typeflag,
        name: &entry.path_bytes(),
        link: &entry.link_name_bytes().unwrap_or_default(),
        mode: raw.mode()?.into(),
        uid: number("uid", raw.uid())?,
        gid: number("gid", raw.gid())?,
        size,
        device: (raw.device_major()?.unwrap_or(0).into(), raw.device_minor()?.unwrap_or(0).into()),
        origin: Some(&origin),
    };
    let mut blocks = Vec::new();
    header.encode(&mut blocks).map_err(|why| std::io::Error::other(format!("{}: {why}", name(entry))))?;
    let content = if matches!(typeflag, b'1'..=b'6') { 0 } else { size.cast_unsigned() };
    Ok((blocks, content))
}

/// ASCII only, and all numbers end in NUL.
fn is_strict(block: &[u8; 512]) -> bool {
    block.is_ascii() && [107, 115, 123, 135, 147, 336, 344].iter().all(|&i| block[i] == 0)
}

fn parse(text: &[u8]) -> std::io::Result<i64> {
    let bad = || std::io::Error::other(format!("invalid PAX number {:?}", text.escape_ascii().to_string()));
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or_else(bad)
}

fn parse_time(text: &[u8]) -> std::io::Result<Time> {
    let (whole, fraction) = match text.iter().position(|&c| c == b'.') {
        Some(i) => (&text[..i], &text[i + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = parse(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(std::io::Error::other("invalid PAX time"));
    }
    let nanos = (0..9).fold(0, |n, i| n * 10 + u32::from(fraction.get(i).map_or(0, |c| c - b'0')));
    // -1.5 is half a second before -1.
    Ok(if whole.starts_with(b"-") && nanos > 0 {
        Time { seconds: seconds - 1, nanos: 1_000_000_000 - nanos }
    } else {
        Time { seconds, nanos }
    })
}
