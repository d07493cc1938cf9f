//! Unpacking a tar into the container: cached layers and what `ADD` extracts.
//!
//! Owners, modes, times, capabilities and hard links are restored. The container's root is the boundary: an entry may go
//! through links that are there, as a command could, but never above the root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use tar::{Archive, Entry, EntryType};

use super::layer_tar::CAPABILITY;
use crate::error::{Error, Result};

/// What to do with `.wh.` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// A layer: they delete.
    Apply,
    /// Any tar: they are files.
    Keep,
}

/// Unpacks below `root`/`prefix`. Returns what was written, as absolute paths in the container.
pub fn unpack(tar: impl Read, root: &Path, prefix: &Path, whiteouts: Whiteouts) -> Result<Vec<PathBuf>> {
    let mut archive = Archive::new(tar);
    let mut unpacker = Unpacker { root, prefix, directories: BTreeMap::new(), written: Vec::new() };
    let entries = archive.entries().map_err(|e| Error::new(format!("read tar: {e}")))?;
    for entry in entries {
        let mut entry = entry.map_err(|e| Error::new(format!("read tar: {e}")))?;
        let name = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        unpacker.entry(&mut entry, whiteouts).map_err(|e| Error::io("unpack", &name, &e))?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a Path,
    prefix: &'a Path,
    /// Times of directories, set at the end because what is put into them changes them.
    directories: BTreeMap<PathBuf, Timespec>,
    written: Vec<PathBuf>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, whiteouts: Whiteouts) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let name = clean(Path::new(OsStr::from_bytes(&entry.path_bytes())))?;
        let place = self.prefix.join(&name);
        let file = on_disk(self.root, &place);
        let whiteout = place.file_name().and_then(|n| n.as_bytes().strip_prefix(b".wh."));
        if let (Whiteouts::Apply, Some(deleted)) = (whiteouts, whiteout) {
            return delete(&file.with_file_name(OsStr::from_bytes(deleted)));
        }
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        let header = entry.header();
        let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
        let (uid, gid) = (number(header.uid()?)?, number(header.gid()?)?);
        // Only devices have these fields filled in.
        let part = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or_default();
        let device = rustix::fs::makedev(part(header.device_major()), part(header.device_minor()));
        let (time, capability) = pax(entry)?;
        if !(kind.is_dir() && file.symlink_metadata().is_ok_and(|m| m.is_dir())) && kind != EntryType::Link {
            delete(&file)?;
        }
        match kind {
            EntryType::Directory => make_directory(&file)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("link without target"))?;
                std::os::unix::fs::symlink(OsStr::from_bytes(&target), &file)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("link without target"))?;
                let target = on_disk(self.root, &self.prefix.join(clean(Path::new(OsStr::from_bytes(&target)))?));
                if target != file {
                    delete(&file)?;
                    fs::hard_link(target, &file)?;
                }
                self.written.push(place);
                return Ok(());
            }
            EntryType::Fifo => rustix::fs::mknodat(CWD, &file, FileType::Fifo, mode, 0)?,
            EntryType::Char => rustix::fs::mknodat(CWD, &file, FileType::CharacterDevice, mode, device)?,
            EntryType::Block => rustix::fs::mknodat(CWD, &file, FileType::BlockDevice, mode, device)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                io::copy(entry, &mut File::create_new(&file)?)?;
            }
            other => return Err(io::Error::other(format!("unknown type {other:?}"))),
        }
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, &file, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != EntryType::Symlink {
            rustix::fs::chmodat(CWD, &file, mode, AtFlags::empty())?;
        }
        if let Some(value) = capability {
            rustix::fs::lsetxattr(&file, CAPABILITY, &value, XattrFlags::empty())?;
        }
        match kind {
            EntryType::Directory => drop(self.directories.insert(file, time)),
            _ => set_time(&file, time)?,
        }
        self.written.push(place);
        Ok(())
    }

    fn finish(self) -> Result<Vec<PathBuf>> {
        for (directory, time) in self.directories.iter().rev() {
            set_time(directory, *time).map_err(|e| Error::io("set time of", directory, &e))?;
        }
        Ok(self.written)
    }
}

/// Time of modification and capability.
fn pax<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<(Timespec, Option<Vec<u8>>)> {
    let mut time = Timespec { tv_sec: entry.header().mtime()?.try_into().unwrap_or_default(), tv_nsec: 0 };
    let mut capability = None;
    let Some(extensions) = entry.pax_extensions()? else { return Ok((time, capability)) };
    for extension in extensions {
        let extension = extension?;
        let key = extension.key_bytes();
        if key == b"mtime" {
            time = extension.value().ok().and_then(decimal).unwrap_or(time);
        } else if key.strip_prefix(b"SCHILY.xattr.") == Some(CAPABILITY.as_bytes()) {
            capability = Some(extension.value_bytes().to_vec());
        }
    }
    Ok((time, capability))
}

fn decimal(text: &str) -> Option<Timespec> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let nanos: i64 = format!("{part:0<9}").get(..9)?.parse().ok()?;
    let seconds: i64 = whole.parse().ok()?;
    Some(match text.starts_with('-') && nanos > 0 {
        true => Timespec { tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanos },
        false => Timespec { tv_sec: seconds, tv_nsec: nanos },
    })
}

fn set_time(file: &Path, time: Timespec) -> io::Result<()> {
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, file, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Relative, without `.`; `..` is refused.
fn clean(name: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::ParentDir => return Err(io::Error::other("name with ..")),
            _ => {}
        }
    }
    Ok(out)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn delete(path: &Path) -> io::Result<()> {
    let result = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

fn number(id: u64) -> io::Result<u32> {
    id.try_into().map_err(|_| io::Error::other("user or group number too large"))
}

fn on_disk(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::super::layer_tar::{LayerPaths, write};
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_layer_survives_the_round_trip() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::create_dir_all(from.path().join("d/e")).unwrap();
        fs::write(from.path().join("d/f"), "content").unwrap();
        fs::hard_link(from.path().join("d/f"), from.path().join("d/g")).unwrap();
        symlink("f", from.path().join("d/l")).unwrap();
        let time = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        for name in ["d/f", "d/e", "d"] {
            File::open(from.path().join(name)).unwrap().set_modified(time).unwrap();
        }
        fs::create_dir_all(to.path().join("d/gone/x")).unwrap();
        let present = ["/d", "/d/e", "/d/f", "/d/g", "/d/l"].map(PathBuf::from).to_vec();
        let mut tar = Vec::new();
        write(from.path(), &LayerPaths { present: present.clone(), deleted: vec!["/d/gone".into()] }, &mut tar).unwrap();

        // Twice: what is there already is replaced.
        for _ in 0..2 {
            let written = unpack(tar.as_slice(), to.path(), Path::new("/"), Whiteouts::Apply).unwrap();
            assert_eq!(written, present);
            let stat = |name: &str| fs::symlink_metadata(to.path().join(name)).unwrap();
            assert_eq!(fs::read(to.path().join("d/g")).unwrap(), b"content");
            assert_eq!(stat("d/f").ino(), stat("d/g").ino());
            assert!(stat("d/l").is_symlink());
            for name in ["d", "d/e", "d/f"] {
                assert_eq!(stat(name).modified().unwrap(), time, "{name}");
            }
            let mut names: Vec<_> = fs::read_dir(to.path().join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["e", "f", "g", "l"]);
        }
    }

    #[test]
    fn names_above_the_root_are_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..4].copy_from_slice(b"../x");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        let tar = builder.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(tar.as_slice(), dir.path(), Path::new("/d"), Whiteouts::Keep).unwrap_err();
        assert!(error.to_string().contains("name with .."), "{error}");
    }

    #[test]
    fn times_before_1970() {
        let time = decimal("-0.75").unwrap();
        assert_eq!((time.tv_sec, time.tv_nsec), (-1, 250_000_000));
    }
}
