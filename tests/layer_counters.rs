//! Counters that are exact, unlike times: what exporting a layer reads and holds.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use lifecycle::error::Result;
use lifecycle::image::Digest;
use lifecycle::layers::compression::Compression;
use lifecycle::layers::fingerprint::{Fingerprints, LayerReader};
use lifecycle::layers::pipeline::compress_layer;
use lifecycle::layers::sink::{BlobSink, Chunk};
use lifecycle::layers::source::LayerSource;

struct Nowhere;

impl BlobSink for Nowhere {
    fn write(&mut self, _: Chunk) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Digest, _: u64) -> Result<()> {
        Ok(())
    }
}

fn counter(name: &str) -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

fn layer(dir: &Path) -> (LayerSource, u64) {
    let path = dir.join("layer");
    let mut bytes = 0;
    for n in 0..200_u64 {
        let file = path.join(format!("d{}/{n}", n % 7));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let content = n.to_string().repeat(1000 * (1 + n as usize % 13));
        bytes += content.len() as u64;
        fs::write(file, content).unwrap();
    }
    fs::write(path.join("big"), vec![5; 9 << 20]).unwrap();
    (LayerSource::Directory { path, uid: 1, gid: 1 }, bytes + (9 << 20))
}

/// One pass: every byte is read once. A file takes one read, one that sees that it has not grown, and at most one more per
/// chunk of the pipeline.
#[test]
fn every_file_is_read_once() {
    let temp = tempfile::tempdir().unwrap();
    let (source, size) = layer(temp.path());
    let (bytes, calls) = (counter("rchar:"), counter("syscr:"));
    compress_layer(&source, Compression::Gzip(1), None, Box::new(Nowhere)).unwrap();
    let read = counter("rchar:") - bytes;
    assert!((size..size + (16 << 10)).contains(&read), "{read} of {size}");
    let calls = counter("syscr:") - calls;
    assert!(calls < 2 * 201 + 2 * (size >> 20) + 20, "{calls} reads");
}

#[test]
fn an_unchanged_layer_is_not_read() {
    let temp = tempfile::tempdir().unwrap();
    let (source, _) = layer(temp.path());
    std::thread::sleep(std::time::Duration::from_millis(30));
    let fingerprints = Fingerprints::load(temp.path());
    let diff_id = fingerprints.diff_id(&source).unwrap();
    fingerprints.save();
    let fingerprints = Fingerprints::load(temp.path());
    let before = counter("rchar:");
    assert_eq!(LayerReader(Some(&fingerprints)).diff_id(&source).unwrap(), diff_id);
    let read = counter("rchar:") - before;
    assert!(read < 1000, "{read}");
}

const BIG: &str = "LIFECYCLE_TEST_BIG_LAYER";

/// The part of a child process: compresses a big layer and tells its peak memory in KiB.
#[test]
fn child_compresses() {
    let Some(dir) = std::env::var_os(BIG) else { return };
    let source = LayerSource::Directory { path: dir.into(), uid: 1, gid: 1 };
    compress_layer(&source, Compression::Gzip(1), None, Box::new(Nowhere)).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("peak {}", status.lines().find(|l| l.starts_with("VmHWM:")).unwrap());
}

/// Memory does not grow with the layer: 1.5 GB of zeros, sparse on disk, need no more than 64 MiB.
#[test]
fn memory_is_bounded() {
    let temp = tempfile::tempdir().unwrap();
    fs::File::create(temp.path().join("sparse")).unwrap().set_len(1500 << 20).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_compresses", "--nocapture"]).env(BIG, temp.path()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    let peak = out.lines().find_map(|l| l.split_once("peak VmHWM:")).unwrap().1.trim().trim_end_matches(" kB");
    let peak: u64 = peak.trim().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB");
}
