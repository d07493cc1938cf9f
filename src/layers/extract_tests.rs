use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A tar of entries `(kind, name, content or link target, mode)`, names as they are.
fn tar(entries: &[(tar::EntryType, &str, &str, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, content, mode) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let mut data = &b""[..];
        if kind.is_file() {
            data = content.as_bytes();
        } else if !content.is_empty() {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

const DIR: tar::EntryType = tar::EntryType::Directory;
const FILE: tar::EntryType = tar::EntryType::Regular;
const LINK: tar::EntryType = tar::EntryType::Symlink;

struct Fixture {
    _temp: tempfile::TempDir,
    root: String,
    below: PathBuf,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_str().unwrap().to_owned();
    let below = temp.path().join("layer");
    Fixture { _temp: temp, root, below }
}

impl Fixture {
    fn extract(&self, entries: &[(tar::EntryType, &str, &str, u32)]) -> Result<u64, Fault> {
        let named: Vec<(tar::EntryType, String, &str, u32)> =
            entries.iter().map(|(k, n, c, m)| (*k, n.replace('@', &self.root), *c, *m)).collect();
        let entries: Vec<_> = named.iter().map(|(k, n, c, m)| (*k, n.as_str(), *c, *m)).collect();
        extract(&mut &tar(&entries)[..], &self.below)
    }

    fn refuses(&self, entries: &[(tar::EntryType, &str, &str, u32)]) -> String {
        match self.extract(entries) {
            Err(Fault::Archive(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.below.join(name)).unwrap().mode() & 0o7777
    }
}

#[test]
fn restores_content_modes_and_links() {
    let f = fixture();
    let bytes = f
        .extract(&[
            (DIR, "/", "", 0o755),
            (DIR, "@", "", 0o700),
            (DIR, "@/layer", "", 0o750),
            (DIR, "@/layer/ro", "", 0o555),
            (FILE, "@/layer/ro/f", "inside", 0o4640),
            (FILE, "@/layer/none", "", 0),
            (FILE, "@/layer/all", "x", 0o777),
            (LINK, "@/layer/link", "../../etc/passwd", 0o777),
            (FILE, "@/layer/made/on/the/way", "y", 0o644),
            (DIR, "@/layer/sticky", "", 0o1777),
        ])
        .unwrap();
    assert_eq!(bytes, 8);
    assert_eq!(fs::read_to_string(f.below.join("ro/f")).unwrap(), "inside");
    assert_eq!(fs::read_link(f.below.join("link")).unwrap(), Path::new("../../etc/passwd"));
    for (name, mode) in [("", 0o750), ("ro", 0o555), ("ro/f", 0o4640), ("none", 0), ("all", 0o777), ("sticky", 0o1777)] {
        assert_eq!(f.mode(name) & !0o4000, mode & !0o4000, "{name}");
    }
    assert_eq!(f.mode("made/on"), 0o777 & !umask().as_raw_mode());
}

#[test]
fn directories_that_exist_keep_their_mode_and_files_are_replaced() {
    let f = fixture();
    let outside = Path::new(&f.root).join("outside");
    fs::write(&outside, "kept").unwrap();
    fs::create_dir_all(f.below.join("d")).unwrap();
    fs::set_permissions(f.below.join("d"), fs::Permissions::from_mode(0o710)).unwrap();
    fs::write(f.below.join("d/f"), "old and longer").unwrap();
    fs::write(f.below.join("d/extra"), "").unwrap();
    symlink(&outside, f.below.join("link")).unwrap();
    f.extract(&[(DIR, "@/layer/d", "", 0o755), (FILE, "@/layer/d/f", "new", 0o600), (FILE, "@/layer/link", "file now", 0o644)])
        .unwrap();
    assert_eq!(f.mode("d"), 0o710);
    assert_eq!(fs::read_to_string(f.below.join("d/f")).unwrap(), "new");
    assert!(f.below.join("d/extra").exists());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
    assert_eq!(fs::read_to_string(f.below.join("link")).unwrap(), "file now");
}

#[test]
fn refuses_what_leads_out() {
    let f = fixture();
    assert!(f.refuses(&[(FILE, "/etc/x", "", 0o644)]).contains("/etc/x is not below "));
    assert!(f.refuses(&[(FILE, "@/layer/../x", "", 0o644)]).ends_with("leaves its directory"));
    assert!(f.refuses(&[(DIR, "@/layer2", "", 0o755)]).contains("is not below "));
    assert!(f.refuses(&[(FILE, "@/layer", "", 0o644)]).ends_with("is not a directory"));
    assert!(f.refuses(&[(FILE, "/", "", 0o644)]).ends_with("is not a directory"));
    assert!(f.refuses(&[(LINK, "@/layer", "/etc", 0o777)]).ends_with("is not a directory"));
    assert!(!f.below.with_file_name("x").exists() && !f.below.with_file_name("layer2").exists());
}

#[test]
fn follows_no_link() {
    let f = fixture();
    let outside = Path::new(&f.root).join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    for second in [(FILE, "@/layer/out/f", "", 0o644), (DIR, "@/layer/out", "", 0o700), (DIR, "@/layer/out/d", "", 0o700)] {
        let result = f.extract(&[(LINK, "@/layer/out", target, 0o777), second]);
        let Err(Fault::Disk(error)) = result else { panic!("{result:?}") };
        assert!(error.to_string().ends_with("not a directory"), "{error}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    symlink(&outside, Path::new(&f.root).join("layer2")).unwrap();
    let tar = tar(&[(FILE, &format!("{}/layer2/f", f.root), "", 0o644)]);
    assert!(extract(&mut &tar[..], &Path::new(&f.root).join("layer2")).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn refuses_devices_and_hard_links() {
    let f = fixture();
    for kind in [tar::EntryType::Char, tar::EntryType::Block, tar::EntryType::Fifo, tar::EntryType::Link] {
        assert!(f.refuses(&[(kind, "@/layer/x", "", 0o644)]).contains("unknown file type in tar "));
    }
}

#[test]
fn a_damaged_tar_is_a_fault_of_the_archive() {
    let f = fixture();
    let whole = tar(&[(FILE, &format!("{}/layer/f", f.root), "content", 0o644)]);
    for bad in [b"this is not a tar".repeat(100), whole[..515].to_vec(), whole[..300].to_vec()] {
        assert!(matches!(extract(&mut &bad[..], &f.below), Err(Fault::Archive(_))));
    }
}

#[test]
fn reads_to_the_very_end() {
    struct FailsAtEnd<'a>(&'a [u8]);
    impl Read for FailsAtEnd<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() { Err(std::io::Error::other("wrong sum")) } else { self.0.read(buffer) }
        }
    }
    let f = fixture();
    let mut bytes = tar(&[(FILE, &format!("{}/layer/f", f.root), "content", 0o644)]);
    bytes.extend([0; 20_000]);
    let Err(Fault::Archive(error)) = extract(&mut FailsAtEnd(&bytes), &f.below) else { panic!() };
    assert_eq!(error.to_string(), "error extracting from archive: wrong sum");
}

#[test]
fn a_directory_that_cannot_be_written_is_a_fault_of_the_disk() {
    let f = fixture();
    fs::create_dir_all(f.below.join("f")).unwrap();
    let result = f.extract(&[(FILE, "@/layer/f", "", 0o644)]);
    let Err(Fault::Disk(error)) = result else { panic!("{result:?}") };
    assert_eq!(error.to_string(), format!("open {}/f: is a directory", f.below.display()));
}
