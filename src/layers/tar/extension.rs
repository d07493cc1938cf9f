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
    let mut block = *raw.as_bytes();
    // The reader has put these records into the header already.
    for (key, field) in [("uid", 108..116), ("gid", 116..124)] {
        if origin.records.contains_key(key.as_bytes()) {
            block[field].fill(0);
        }
    }
    let block = &block;
    // What the header and the records before it agree on; anything unusual leaves the choice to the writer.
    origin.format = match (raw.as_gnu().is_some(), origin.records.is_empty()) {
        (true, true) => Formats::GNU,
        (false, true) if raw.as_ustar().is_some() && is_strict(block) => Formats::USTAR,
        (false, false) if raw.as_ustar().is_some() && is_strict(block) => Formats::PAX,
        _ => Formats::NONE,
    };
    let record = |key: &str| origin.records.get(key.as_bytes()).filter(|v| !v.is_empty()).map(|v| parse_time(v));
    let (mut atime, mut ctime) = (record("atime").transpose()?, record("ctime").transpose()?);
    if let Some(gnu) = raw.as_gnu() {
        let seconds =
            |field: &[u8; 12]| (field[0] != 0).then(|| field_number(field).map(|seconds| Time { seconds, nanos: 0 })).transpose();
        match (seconds(&gnu.atime), seconds(&gnu.ctime)) {
            (Ok(a), Ok(c)) => (atime, ctime) = (atime.or(a), ctime.or(c)),
            // Some writers put a ustar prefix there: then it is no GNU header.
            _ => origin.format = Formats::NONE,
        }
    }
    (origin.atime, origin.ctime) = (atime, ctime);
    let number = |key: &str, field: &[u8]| -> std::io::Result<i64> {
        match origin.records.get(key.as_bytes()).filter(|v| !v.is_empty()) {
            Some(text) => parse(text),
            None => field_number(field),
        }
    };
    let typeflag = match block[156] {
        0 if entry.path_bytes().ends_with(b"/") => b'5',
        0 => b'0',
        flag => flag,
    };
    // The oldest format has no device numbers.
    let device = match raw.as_gnu().is_some() || raw.as_ustar().is_some() {
        true => (field_number(&block[329..337])?, field_number(&block[337..345])?),
        false => (0, 0),
    };
    let size = number("size", &block[124..136])?;
    let header = Header {
        typeflag,
        name: &entry.path_bytes(),
        link: &entry.link_name_bytes().unwrap_or_default(),
        mode: field_number(&block[100..108])?,
        uid: number("uid", &block[108..116])?,
        gid: number("gid", &block[116..124])?,
        size,
        device,
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

/// Octal between spaces and NULs (nothing is 0), or base 256.
fn field_number(field: &[u8]) -> std::io::Result<i64> {
    let bad = || std::io::Error::other(format!("invalid number {:?} in a header", field.escape_ascii().to_string()));
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i64::from(field[0]) | !0xff } else { i64::from(field[0] & 0x7f) };
        return field[1..].iter().try_fold(first, |n, &b| Some(n.checked_mul(256)? | i64::from(b))).ok_or_else(bad);
    }
    let outside = |c: &&u8| **c == b' ' || **c == 0;
    let start = field.iter().take_while(outside).count();
    let mut digits = field[start..].iter().take_while(|c| !outside(c)).copied();
    let digit = |n: i64, c: u8| n.checked_mul(8).filter(|_| matches!(c, b'0'..=b'7'))?.checked_add((c - b'0').into());
    digits.try_fold(0, digit).ok_or_else(bad)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::layers::source::LayerSource;
    use crate::layers::tar::header::Header;

    /// The tars were written by GNU tar and Python, the sums by a program on Go's archive/tar that normalises in the same way.
    const TARS: [(&str, &[u8], &str); 4] = [
        ("gnu", include_bytes!("../../../spec-fixtures/layers/gnu.tar.zst"), GNU),
        ("pax", include_bytes!("../../../spec-fixtures/layers/pax.tar.zst"), PAX),
        ("ustar", include_bytes!("../../../spec-fixtures/layers/ustar.tar.zst"), USTAR),
        ("v7", include_bytes!("../../../spec-fixtures/layers/v7.tar.zst"), V7),
    ];
    const GNU: &str = "sha256:68d368ae8605cdccbc4ecffc8cedb13c5c81196d0a1f48278a056b4912f1903a";
    const PAX: &str = "sha256:8da2c1b1ee2926fa7c3205d1ccd6857eb82eced12d40a5855de78af66134e669";
    const USTAR: &str = "sha256:5f49a1ef90bbe1b8451df8d1702b4897ef50202e3a72d5cf775f5d9a0e524557";
    const V7: &str = "sha256:5f49a1ef90bbe1b8451df8d1702b4897ef50202e3a72d5cf775f5d9a0e524557";

    #[test]
    fn agrees_with_go() {
        let temp = tempfile::tempdir().unwrap();
        for (name, zstd, want) in TARS {
            let plain = zstd::decode_all(zstd).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&plain).unwrap();
            for (i, bytes) in [plain, zstd.to_vec(), gzip.finish().unwrap()].iter().enumerate() {
                let path = temp.path().join(format!("{name}{i}"));
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(LayerSource::ExtensionTar { path }.diff_id().unwrap().as_str(), want, "{name} {i}");
            }
        }
    }

    #[test]
    fn cut_tars_are_errors() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cut");
        let mut tar = Vec::new();
        let header = Header {
            typeflag: b'0',
            name: b"f",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 5000,
            device: (0, 0),
            origin: None,
        };
        header.encode(&mut tar).unwrap();
        tar.resize(3000, 1);
        std::fs::write(&path, &tar).unwrap();
        let error = LayerSource::ExtensionTar { path }.diff_id().unwrap_err().to_string();
        assert!(error.contains("unexpected EOF"), "{error}");
    }
}
