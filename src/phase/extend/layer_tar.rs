//! The tar of a layer made by an instruction.
//!
//! Unlike the layers of buildpacks it keeps times of modification; the exporter replaces them. Times of access and of
//! change are left out, so that equal content gives equal layers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::error::{Error, Result};

/// The only extended attribute that layers keep.
pub const CAPABILITY: &str = "security.capability";

/// Paths of a layer, absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerPaths {
    /// Sorted; parents stand before what is in them.
    pub present: Vec<PathBuf>,
    /// Sorted; gone since the layer below.
    pub deleted: Vec<PathBuf>,
}

impl LayerPaths {
    pub fn is_empty(&self) -> bool {
        self.present.is_empty() && self.deleted.is_empty()
    }
}

/// Writes the tar, with the two zero blocks at its end.
pub fn write(root: &Path, paths: &LayerPaths, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer { out, links: HashMap::new() };
    for path in &paths.deleted {
        writer.whiteout(path).map_err(|e| Error::io("write whiteout of", path, &e))?;
    }
    for path in &paths.present {
        writer.entry(root, path)?;
    }
    writer.out.write_all(&[0; 1024]).map_err(|e| Error::io("write", "layer", &e))
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    /// First names of files with several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// What goes into one header.
#[derive(Default)]
struct Entry<'a> {
    name: &'a [u8],
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    nanos: u64,
    link: &'a [u8],
    device: Option<(u32, u32)>,
    capability: Option<Vec<u8>>,
}

impl Writer<'_> {
    fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let mut name = Vec::new();
        if let Some(parent) = path.parent().filter(|p| *p != Path::new("/")) {
            name.extend_from_slice(relative(parent));
            name.push(b'/');
        }
        name.extend_from_slice(b".wh.");
        name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
        self.header(&Entry { name: &name, kind: b'0', ..Entry::default() })
    }

    fn entry(&mut self, root: &Path, path: &Path) -> Result<()> {
        let file = root.join(path.strip_prefix("/").unwrap_or(path));
        let failed = |operation: &str, e: &dyn std::fmt::Display| Error::new(format!("{operation} {}: {e}", file.display()));
        let stat = rustix::fs::lstat(&file).map_err(|e| Error::io("lstat", &file, &e.into()))?;
        let mut entry = Entry {
            name: relative(path),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u64,
            ..Entry::default()
        };
        let target;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(&file, entry, &stat),
            FileType::Directory => entry.kind = b'5',
            FileType::Symlink => {
                target = std::fs::read_link(&file).map_err(|e| failed("readlink", &e))?;
                entry.kind = b'2';
                entry.link = target.as_os_str().as_bytes();
            }
            FileType::Fifo => entry.kind = b'6',
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                entry.kind = if kind == FileType::CharacterDevice { b'3' } else { b'4' };
                entry.device = Some((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
            }
            // Sockets have no meaning in an image.
            _ => return Ok(()),
        }
        self.header(&entry).map_err(|e| failed("write header of", &e))
    }

    fn file(&mut self, file: &Path, mut entry: Entry<'_>, stat: &Stat) -> Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key).cloned()
        {
            return self.link(&first, &entry).map_err(|e| Error::io("write header of", file, &e));
        }
        if stat.st_nlink > 1 {
            self.links.insert(key, entry.name.to_vec());
        }
        let content = File::open(file).map_err(|e| Error::io("open", file, &e))?;
        entry.kind = b'0';
        entry.size = stat.st_size as u64;
        entry.capability = capability(&content);
        self.header(&entry).map_err(|e| Error::io("write header of", file, &e))?;
        self.content(content, entry.size).map_err(|e| Error::io("read", file, &e))
    }

    fn link(&mut self, first: &[u8], entry: &Entry<'_>) -> io::Result<()> {
        let Entry { name, mode, uid, gid, mtime, nanos, .. } = *entry;
        self.header(&Entry { name, kind: b'1', mode, uid, gid, mtime, nanos, link: first, ..Entry::default() })
    }

    fn content(&mut self, content: File, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::other("file became shorter while it was read"));
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&[0; 512][..(size.wrapping_neg() % 512) as usize])
    }

    fn header(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let pax = Entry { name: b"PaxHeaders.0/x", kind: b'x', mode: 0o644, size: records.len() as u64, ..Entry::default() };
            self.block(&pax)?;
            self.out.write_all(&records)?;
            self.pad(pax.size)?;
        }
        self.block(entry)
    }

    fn block(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().ok_or_else(|| io::Error::other("not a ustar header"))?;
        copy_prefix(&mut fields.name, entry.name);
        copy_prefix(&mut fields.linkname, entry.link);
        fields.typeflag = [entry.kind];
        header.set_mode(entry.mode);
        header.set_uid(u64::from(entry.uid).min(MAX_ID));
        header.set_gid(u64::from(entry.gid).min(MAX_ID));
        header.set_size(if fits_size(entry.size) { entry.size } else { 0 });
        header.set_mtime(entry.mtime.try_into().unwrap_or_default());
        if let Some((major, minor)) = entry.device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }
}

const MAX_ID: u64 = 0o777_7777;

fn fits_size(size: u64) -> bool {
    size < 1 << 33
}

/// PAX records for what the header block cannot hold.
fn records(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let plain = |text: &[u8]| text.len() <= 100 && text.is_ascii();
    for (key, value) in [("path", entry.name), ("linkpath", entry.link)] {
        if !plain(value) {
            record(&mut out, key, value);
        }
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if u64::from(id) > MAX_ID {
            record(&mut out, key, id.to_string().as_bytes());
        }
    }
    if !fits_size(entry.size) {
        record(&mut out, "size", entry.size.to_string().as_bytes());
    }
    if entry.nanos != 0 || entry.mtime < 0 {
        record(&mut out, "mtime", decimal(entry.mtime, entry.nanos).as_bytes());
    }
    if let Some(value) = &entry.capability {
        record(&mut out, &format!("SCHILY.xattr.{CAPABILITY}"), value);
    }
    out
}

/// Seconds as a decimal fraction. Nanoseconds count forward, so -1 s and 0.25 s is -0.75.
fn decimal(seconds: i64, nanos: u64) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (whole, part) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    let text = format!("{}{whole}.{part:09}", if total < 0 { "-" } else { "" });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `<length> <key>=<value>\n`, the length counting its own digits.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// File capabilities, if there are any and the file system has them.
pub fn capability(file: &File) -> Option<Vec<u8>> {
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value) {
        Ok(length) => Some(value[..length].to_vec()),
        Err(_) => None,
    }
}

fn relative(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}

fn copy_prefix(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tar(root: &Path, present: &[&str], deleted: &[&str]) -> Vec<u8> {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        let mut out = Vec::new();
        write(root, &LayerPaths { present: paths(present), deleted: paths(deleted) }, &mut out).unwrap();
        out
    }

    #[test]
    fn an_empty_layer_is_two_zero_blocks() {
        assert_eq!(tar(Path::new("/"), &[], &[]), [0; 1024]);
    }

    #[test]
    fn entries_are_read_back_by_an_independent_reader() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("d/{}", "ü".repeat(120));
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "content").unwrap();
        fs::hard_link(dir.path().join("d/a"), dir.path().join("d/b")).unwrap();
        fs::write(dir.path().join(&long), "x").unwrap();
        symlink(&long, dir.path().join("d/l")).unwrap();
        let raw = tar(dir.path(), &["/d", "/d/a", "/d/b", "/d/l", &format!("/{long}")], &["/d/gone", "/top"]);

        let mut archive = tar::Archive::new(raw.as_slice());
        let mut got = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            let link = entry.link_name().unwrap().map(|l| l.display().to_string()).unwrap_or_default();
            let name = entry.path().unwrap().display().to_string();
            entry.read_to_string(&mut content).unwrap();
            got.push((name, entry.header().entry_type(), link, content));
        }
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let want = |name: &str, kind, link: &str, content: &str| (name.to_owned(), kind, link.to_owned(), content.to_owned());
        assert_eq!(
            got,
            [
                want("d/.wh.gone", Regular, "", ""),
                want(".wh.top", Regular, "", ""),
                want("d", Directory, "", ""),
                want("d/a", Regular, "", "content"),
                want("d/b", Link, "d/a", ""),
                want("d/l", Symlink, &long, ""),
                want(&long, Regular, "", "x"),
            ]
        );
    }

    #[test]
    fn only_times_of_modification_matter() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
        let make = || {
            fs::write(&file, "x").unwrap();
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            tar(dir.path(), &["/f"], &[])
        };
        let first = make();
        fs::remove_file(&file).unwrap();
        assert_eq!(make(), first);
        let text = String::from_utf8_lossy(&first);
        assert!(text.contains("mtime=1000000000.000000005\n") && !text.contains("atime") && !text.contains("ctime"), "{text}");
    }

    #[test]
    fn numbers() {
        assert_eq!(decimal(1, 500_000_000), "1.5");
        assert_eq!(decimal(-1, 250_000_000), "-0.75");
        assert_eq!(decimal(-2, 0), "-2");
        let mut out = Vec::new();
        record(&mut out, "k", &[b'v'; 95]);
        assert_eq!(out.len(), 102);
        assert!(out.starts_with(b"102 k=v"));
    }
}
