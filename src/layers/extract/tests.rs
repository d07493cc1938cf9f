use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::{Fault, extract};
use crate::layers::source::LayerSource;
use crate::layers::tar::header::Header;
use crate::layers::verify::Verified;

fn directory(path: &Path) -> LayerSource {
    let stat = fs::metadata(path.parent().unwrap()).unwrap();
    LayerSource::Directory { path: path.to_owned(), uid: stat.uid().into(), gid: stat.gid().into() }
}

fn tar_of(path: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    directory(path).write_tar(&mut tar).unwrap();
    tar
}

fn entry(tar: &mut Vec<u8>, typeflag: u8, name: &str, link: &str, content: &[u8]) {
    let header = Header {
        typeflag,
        name: name.as_bytes(),
        link: link.as_bytes(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: content.len() as i64,
        device: (0, 0),
        origin: None,
    };
    header.encode(tar).unwrap();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What is restored has the diffID of what was cached.
#[test]
fn restores_exactly() {
    let temp = TempDir::new().unwrap();
    let layer = temp.path().join("bp/layer");
    fs::create_dir_all(layer.join("d/e")).unwrap();
    fs::write(layer.join("d/e/file"), "content").unwrap();
    fs::write(layer.join("d/big"), vec![7; 700_000]).unwrap();
    fs::write(layer.join("suid"), "x").unwrap();
    set_mode(&layer.join("suid"), 0o4751);
    fs::write(layer.join("none"), "x").unwrap();
    set_mode(&layer.join("none"), 0);
    symlink("../nowhere/é", layer.join("link")).unwrap();
    fs::write(layer.join(format!("{}é", "n".repeat(200))), "").unwrap();
    fs::create_dir(layer.join("sticky")).unwrap();
    set_mode(&layer.join("sticky"), 0o1777);
    rustix::fs::mknodat(rustix::fs::CWD, layer.join("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    set_mode(&layer.join("d/e"), 0o500);
    set_mode(&layer.join("d"), 0o555);
    // A test that runs as root reads what its owner may not.
    if fs::read(layer.join("none")).is_err() {
        set_mode(&layer.join("none"), 0o400);
    }
    let tar = tar_of(&layer);
    let diff_id = directory(&layer).diff_id().unwrap();

    set_mode(&layer.join("d"), 0o755);
    set_mode(&layer.join("d/e"), 0o755);
    fs::remove_dir_all(temp.path().join("bp")).unwrap();
    extract(&mut Verified::new(&tar[..], diff_id.clone()), &layer).unwrap();
    assert_eq!(directory(&layer).diff_id().unwrap(), diff_id);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "staging is gone");
    set_mode(&layer.join("d"), 0o755);
    set_mode(&layer.join("d/e"), 0o755);
}

#[test]
fn merges_into_what_is_there() {
    let temp = TempDir::new().unwrap();
    let layer = temp.path().join("layer");
    fs::create_dir_all(layer.join("d")).unwrap();
    fs::write(layer.join("d/f"), "new").unwrap();
    fs::create_dir(layer.join("was-link")).unwrap();
    let tar = tar_of(&layer);
    fs::remove_dir_all(&layer).unwrap();

    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(layer.join("d")).unwrap();
    fs::write(layer.join("d/f"), "old").unwrap();
    fs::write(layer.join("extra"), "extra").unwrap();
    set_mode(&layer.join("d"), 0o711);
    symlink(&outside, layer.join("was-link")).unwrap();
    extract(&mut &tar[..], &layer).unwrap();
    assert_eq!(fs::read_to_string(layer.join("d/f")).unwrap(), "new");
    assert_eq!(fs::read_to_string(layer.join("extra")).unwrap(), "extra");
    assert_eq!(fs::metadata(layer.join("d")).unwrap().mode() & 0o7777, 0o711);
    assert!(layer.join("was-link").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn wrong_content_leaves_nothing() {
    let temp = TempDir::new().unwrap();
    let layer = temp.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("f"), "content").unwrap();
    let diff_id = directory(&layer).diff_id().unwrap();
    let mut tar = tar_of(&layer);
    fs::remove_dir_all(&layer).unwrap();
    let at = tar.windows(7).position(|w| w == b"content").unwrap();
    for change in [at, 3] {
        tar[change] ^= 1;
        let error = extract(&mut Verified::new(&tar[..], diff_id.clone()), &layer).unwrap_err();
        assert!(matches!(&error, Fault::Archive(e) if e.to_string().contains("expected layer contents")), "{error:?}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        tar[change] ^= 1;
    }
    let cut = &tar[..tar.len() - 1600];
    assert!(matches!(extract(&mut Verified::new(cut, diff_id), &layer), Err(Fault::Archive(_))));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn no_tar_with_the_right_sum_is_unusable() {
    let temp = TempDir::new().unwrap();
    let error = extract(&mut &b"this is not a tar".repeat(100)[..], &temp.path().join("layer")).unwrap_err();
    let Fault::Archive(error) = error else { panic!("{error:?}") };
    assert_eq!(error.to_string(), "error extracting from archive: archive/tar: invalid tar header");
}

#[test]
fn nothing_is_written_outside() {
    let temp = TempDir::new().unwrap();
    let base = temp.path().to_str().unwrap();
    let layer = temp.path().join("layer");
    let victim = temp.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let cases: [&[(u8, &str, &str)]; 8] = [
        &[(b'0', "layer/../victim/f", "")],
        &[(b'0', "victim/f", "")],
        &[(b'0', "layerx/f", "")],
        &[(b'2', "layer/l", "../victim"), (b'0', "layer/l/f", "")],
        &[(b'2', "layer", "victim"), (b'0', "layer/f", "")],
        &[(b'1', "layer/f", "victim/g")],
        &[(b'3', "layer/null", "")],
        &[(b'2', "victim", "x")],
    ];
    fs::write(victim.join("g"), "secret").unwrap();
    for case in cases {
        let mut tar = Vec::new();
        for (flag, name, link) in case {
            let link = if *flag == b'1' { format!("{base}/{link}") } else { (*link).to_owned() };
            entry(&mut tar, *flag, &format!("{base}/{name}"), &link, if *flag == b'0' { b"evil" } else { b"" });
        }
        tar.resize(tar.len() + 1024, 0);
        extract(&mut &tar[..], &layer).unwrap_err();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "{case:?}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "{case:?}");
    }
}

#[test]
fn hard_links_and_missing_parents() {
    let temp = TempDir::new().unwrap();
    let base = temp.path().to_str().unwrap();
    let mut tar = Vec::new();
    entry(&mut tar, b'0', &format!("{base}/layer/a/b/f"), "", b"one");
    entry(&mut tar, b'1', &format!("{base}/layer/c"), &format!("{base}/layer/a/b/f"), b"");
    entry(&mut tar, b'0', &format!("{base}/layer/c2"), "", b"first");
    entry(&mut tar, b'0', &format!("{base}/layer/c2"), "", b"second");
    tar.resize(tar.len() + 1024, 0);
    let layer = temp.path().join("layer");
    extract(&mut &tar[..], &layer).unwrap();
    assert_eq!(fs::read(layer.join("c")).unwrap(), b"one");
    assert_eq!(fs::metadata(layer.join("c")).unwrap().ino(), fs::metadata(layer.join("a/b/f")).unwrap().ino());
    assert_eq!(fs::read(layer.join("c2")).unwrap(), b"second");
}

/// A reader that fails midway (a registry that hangs up) makes the layer unusable, it does not fail the build.
#[test]
fn failing_reader() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("connection reset"))
        }
    }
    let temp = TempDir::new().unwrap();
    let layer = temp.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("f"), vec![1; 5000]).unwrap();
    let tar = tar_of(&layer);
    fs::remove_dir_all(&layer).unwrap();
    let error = extract(&mut (&tar[..3000]).chain(Failing), &layer).unwrap_err();
    assert!(matches!(&error, Fault::Archive(e) if e.to_string().contains("connection reset")), "{error:?}");
    assert!(!layer.exists());
}
