use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::VolumeCache;
use crate::cache::{Cache, StagedLayer};
use crate::data::cache_metadata::CacheMetadata;
use crate::image::DiffId;
use crate::layers::source::LayerSource;

struct Fixture {
    temp: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        fs::create_dir(temp.path().join("cache")).unwrap();
        Self { temp }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("cache")
    }

    fn cache(&self) -> VolumeCache {
        VolumeCache::open(&self.dir()).unwrap()
    }

    fn layer(&self, name: &str, content: &[u8]) -> LayerSource {
        let path = self.temp.path().join("layers").join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("f"), content).unwrap();
        LayerSource::Directory { path, uid: 1, gid: 1 }
    }

    /// A cache with this layer and this SBOM digest in its metadata.
    fn commit(&self, layer: &LayerSource) -> DiffId {
        let writer = self.cache().writer().unwrap();
        let diff_id = writer.add_layer(layer).unwrap();
        writer.commit(&metadata(&diff_id)).unwrap();
        diff_id
    }

    fn read(&self, diff_id: &DiffId) -> Result<Vec<u8>, String> {
        let mut tar = Vec::new();
        let mut reader = self.cache().read_layer(diff_id).map_err(|e| e.to_string())?;
        reader.read_to_end(&mut tar).map_err(|e| e.to_string())?;
        Ok(tar)
    }

    /// Names in a directory; an empty staging directory says nothing.
    fn names(&self, dir: &str) -> Vec<String> {
        let _ = fs::remove_dir(self.dir().join("staging"));
        let entries = fs::read_dir(self.dir().join(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn metadata(diff_id: &DiffId) -> CacheMetadata {
    let mut metadata = CacheMetadata::default();
    metadata.sbom.sha = diff_id.to_string();
    metadata
}

#[test]
fn layers_and_metadata_come_back() {
    let f = Fixture::new();
    assert_eq!(f.cache().metadata().unwrap(), CacheMetadata::default());
    let layer = f.layer("a", b"content");
    let diff_id = f.commit(&layer);
    assert_eq!(f.cache().metadata().unwrap(), metadata(&diff_id));
    let mut tar = Vec::new();
    layer.write_tar(&mut tar).unwrap();
    assert_eq!(f.read(&diff_id), Ok(tar));
    assert_eq!(f.names(""), ["committed"]);
    assert_eq!(f.names("committed"), ["io.buildpacks.lifecycle.cache.metadata", &format!("{diff_id}.tar")]);
    let text = fs::read_to_string(f.dir().join("committed/io.buildpacks.lifecycle.cache.metadata")).unwrap();
    assert!(text.starts_with("{\"sbom\":{\"sha\":\"sha256:") && text.ends_with("}\n"), "{text}");
}

#[test]
fn what_is_not_committed_changes_nothing() {
    let f = Fixture::new();
    let old = f.commit(&f.layer("a", b"old"));
    let writer = f.cache().writer().unwrap();
    writer.add_layer(&f.layer("a", b"new")).unwrap();
    drop(writer);
    assert_eq!(f.names(""), ["committed"]);
    assert_eq!(f.cache().metadata().unwrap(), metadata(&old));
    assert!(f.read(&old).is_ok());
}

#[test]
fn layers_that_are_not_taken_over_go() {
    let f = Fixture::new();
    let (a, b) = (f.layer("a", b"a"), f.layer("b", b"b"));
    let writer = f.cache().writer().unwrap();
    let (a, b) = (writer.add_layer(&a).unwrap(), writer.add_layer(&b).unwrap());
    writer.commit(&metadata(&a)).unwrap();
    let writer = f.cache().writer().unwrap();
    writer.reuse_layer(&a).unwrap();
    writer.reuse_layer(&a).unwrap();
    writer.commit(&metadata(&a)).unwrap();
    assert!(f.read(&a).is_ok());
    assert_eq!(f.read(&b).unwrap_err(), format!("failed to find cache layer with SHA '{b}'"));
}

#[test]
fn damaged_layers_are_told_apart() {
    let f = Fixture::new();
    let diff_id = f.commit(&f.layer("a", &vec![7; 2 << 20]));
    let path = f.dir().join("committed").join(format!("{diff_id}.tar"));
    let mut tar = fs::read(&path).unwrap();
    tar[1 << 20] = 8;
    fs::write(&path, &tar).unwrap();
    let want = format!("expected layer contents to have SHA '{diff_id}'; found 'sha256:");
    assert!(f.read(&diff_id).unwrap_err().starts_with(&want));
    let writer = f.cache().writer().unwrap();
    assert!(writer.reuse_layer(&diff_id).unwrap_err().to_string().starts_with(&want));
    fs::remove_file(&path).unwrap();
    let error = writer.reuse_layer(&diff_id).unwrap_err().to_string();
    assert_eq!(error, format!("failed to find cache layer with SHA '{diff_id}'"));
}

/// Bytes that this thread has read.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn untouched_tars_are_not_read_again() {
    let f = Fixture::new();
    let diff_id = f.commit(&f.layer("big", &vec![7; 2 << 20]));
    assert!(f.names("committed").contains(&".verified".to_owned()));
    let writer = f.cache().start().unwrap();
    let before = bytes_read();
    writer.take_over(&diff_id).unwrap();
    assert!(bytes_read() - before < 100_000);
    drop(writer);
    // Touched: whatever it is, it is hashed.
    let path = f.dir().join("committed").join(format!("{diff_id}.tar"));
    fs::File::options().append(true).open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let writer = f.cache().start().unwrap();
    let before = bytes_read();
    writer.take_over(&diff_id).unwrap();
    assert!(bytes_read() - before > 2 << 20);
    drop(writer);
    f.commit(&f.layer("small", b"x"));
    assert!(!f.names("committed").contains(&".verified".to_owned()), "small tars are hashed as fast");
}

/// Whatever instant a commit was interrupted at, the old or the new state is found, and the next build goes on.
#[test]
fn interrupted_commits_are_recovered() {
    let f = Fixture::new();
    let old = f.commit(&f.layer("a", b"old"));
    // Between the two renames of a file system that cannot exchange.
    fs::rename(f.dir().join("committed"), f.dir().join("committed-backup")).unwrap();
    fs::create_dir_all(f.dir().join("staging/d")).unwrap();
    assert_eq!(f.cache().metadata().unwrap(), metadata(&old));
    assert!(f.read(&old).is_ok());
    let writer = f.cache().writer().unwrap();
    writer.reuse_layer(&old).unwrap();
    drop(writer);
    assert_eq!(f.names(""), ["committed"]);
    // After them, before the backup was removed.
    fs::create_dir(f.dir().join("committed-backup")).unwrap();
    fs::write(f.dir().join("committed-backup/sha256:ff.tar"), "stale").unwrap();
    let new = f.commit(&f.layer("a", b"new"));
    assert_eq!(f.names(""), ["committed"]);
    assert!(f.read(&new).is_ok());
}

#[test]
fn one_build_writes_at_a_time() {
    let f = Fixture::new();
    let first = f.cache().writer().unwrap();
    let (started, times) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let second = f.cache().writer().unwrap();
            started.send(()).unwrap();
            drop(second);
        });
        assert!(times.recv_timeout(std::time::Duration::from_millis(200)).is_err());
        let diff_id = first.add_layer(&f.layer("a", b"first")).unwrap();
        first.commit(&metadata(&diff_id)).unwrap();
        times.recv().unwrap();
    });
    assert_eq!(f.names(""), ["committed"]);
}

#[test]
fn staged_copies_are_kept_or_vanish() {
    let f = Fixture::new();
    let layer = f.layer("a", b"content");
    let mut tar = Vec::new();
    layer.write_tar(&mut tar).unwrap();
    let writer = f.cache().writer().unwrap();
    let mut kept = writer.stage().unwrap().unwrap();
    let mut dropped = writer.stage().unwrap().unwrap();
    kept.write_all(&tar).unwrap();
    dropped.write_all(&tar[..600]).unwrap();
    let diff_id = layer.diff_id().unwrap();
    kept.keep(&diff_id).unwrap();
    drop(dropped);
    writer.commit(&metadata(&diff_id)).unwrap();
    assert_eq!(f.read(&diff_id), Ok(tar));
    assert_eq!(f.names("committed").len(), 2);
}

/// A disk that fills up: writing goes on without an error, the layer is not cached, the space is free again.
#[test]
fn full_disk_fails_no_export() {
    let f = Fixture::new();
    let writer = f.cache().start().unwrap();
    let mut stage = writer.stage_layer().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    stage.replace_file(full);
    stage.write_all(&[1; 4096]).unwrap();
    stage.write_all(&[1; 4096]).unwrap();
    let error = Box::new(stage).keep(&f.layer("a", b"x").diff_id().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no space left on device"), "{error}");
    assert_eq!(fs::read_dir(f.dir().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_directory_is_needed() {
    let f = Fixture::new();
    let missing = VolumeCache::open(&f.dir().join("nothing")).unwrap_err().to_string();
    assert!(missing.starts_with("stat ") && missing.ends_with("no such file or directory"), "{missing}");
    let file = f.dir().join("file");
    fs::write(&file, "").unwrap();
    assert!(VolumeCache::open(&file).unwrap_err().to_string().ends_with("not a directory"));
    assert!(VolumeCache::open(Path::new("/proc")).unwrap().writer().is_err());
}

#[test]
fn unreadable_metadata_are_none() {
    let f = Fixture::new();
    f.commit(&f.layer("a", b"a"));
    fs::write(f.dir().join("committed/io.buildpacks.lifecycle.cache.metadata"), "{\"sbom\"").unwrap();
    assert_eq!(f.cache().metadata().unwrap(), CacheMetadata::default());
}
