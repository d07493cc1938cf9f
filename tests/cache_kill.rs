//! A process that writes a volume cache or restores from it is killed at many points: the old or the new state is there,
//! whole, and the next build goes on. Builds on the same volume do not hurt each other.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifecycle::cache::{Cache, VolumeCache};
use lifecycle::data::cache_metadata::CacheMetadata;
use lifecycle::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata};
use lifecycle::image::DiffId;
use lifecycle::layers::extract::extract;
use lifecycle::layers::source::LayerSource;

const DIR: &str = "LIFECYCLE_TEST_KILL_DIR";
const POINTS: u32 = 100;

fn layers(root: &Path) -> Vec<LayerSource> {
    let layer = |n: u32| LayerSource::Directory { path: root.join(format!("layers/l{n}")), uid: 1, gid: 1 };
    (0..5).map(layer).collect()
}

/// New content for every layer but the first two.
fn write_layers(root: &Path, generation: u32) {
    for n in 0..5_u32 {
        let dir = root.join(format!("layers/l{n}/d"));
        fs::create_dir_all(&dir).unwrap();
        let version = if n < 2 { 0 } else { generation };
        for file in 0..4 {
            fs::write(dir.join(file.to_string()), format!("{version} {n} ").repeat(20_000)).unwrap();
        }
    }
}

fn cached(cache: &VolumeCache) -> BTreeSet<DiffId> {
    let metadata = cache.metadata().unwrap();
    metadata.buildpacks.iter().flat_map(|b| b.layers.values()).map(|l| DiffId::parse(&l.sha).unwrap()).collect()
}

/// What an export does to the cache.
fn save(root: &Path) {
    let cache = VolumeCache::open(&root.join("cache")).unwrap();
    let old = cached(&cache);
    let writer = cache.writer().unwrap();
    let mut buildpack = BuildpackLayersMetadata { id: "a/one".into(), ..BuildpackLayersMetadata::default() };
    for (n, layer) in layers(root).iter().enumerate() {
        let diff_id = layer.diff_id().unwrap();
        if !old.contains(&diff_id) || writer.reuse_layer(&diff_id).is_err() {
            assert_eq!(writer.add_layer(layer).unwrap(), diff_id);
        }
        buildpack.layers.insert(format!("l{n}"), LayerMetadata { sha: diff_id.to_string(), ..LayerMetadata::default() });
    }
    writer.commit(&CacheMetadata { buildpacks: vec![buildpack], ..CacheMetadata::default() }).unwrap();
}

fn restore(root: &Path) {
    let cache = VolumeCache::open(&root.join("cache")).unwrap();
    for layer in cache.metadata().unwrap().buildpacks.iter().flat_map(|b| &b.layers) {
        let mut tar = cache.read_layer(&DiffId::parse(&layer.1.sha).unwrap()).unwrap();
        extract(&mut tar, &root.join("layers").join(layer.0)).unwrap();
    }
}

/// The part of a child process; does nothing in an ordinary run of the tests.
fn child(work: impl Fn(&Path)) {
    if let Some(root) = std::env::var_os(DIR) {
        work(&PathBuf::from(root));
    }
}

#[test]
fn child_saves() {
    child(save);
}

#[test]
fn child_restores() {
    child(restore);
}

fn start(test: &str, root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(DIR, root);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn succeed(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Every layer that the metadata name is there and whole.
fn check(root: &Path) -> BTreeSet<DiffId> {
    let cache = VolumeCache::open(&root.join("cache")).unwrap();
    let layers = cached(&cache);
    for diff_id in &layers {
        let mut tar = Vec::new();
        cache.read_layer(diff_id).unwrap().read_to_end(&mut tar).unwrap();
    }
    layers
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[test]
fn killed_while_the_cache_is_saved() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("cache")).unwrap();
    write_layers(root, 0);
    let whole = time(|| succeed(start("child_saves", root)));
    let (mut old, mut kept, mut replaced) = (check(root), 0, 0);
    assert_eq!(old.len(), 5);
    for point in 0..POINTS {
        write_layers(root, point + 1);
        let new: BTreeSet<DiffId> = layers(root).iter().map(|l| l.diff_id().unwrap()).collect();
        let mut child = start("child_saves", root);
        std::thread::sleep(whole * point / POINTS * 5 / 4);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = check(root);
        assert!(now == old || now == new, "point {point}: neither the old nor the new cache");
        if now == old {
            kept += 1;
        } else {
            replaced += 1;
        }
        old = now;
    }
    assert!(kept > 0, "no child was killed in time");
    // Whatever was left behind, the next build replaces it.
    write_layers(root, POINTS + 1);
    succeed(start("child_saves", root));
    assert_ne!(check(root), old);
    let left: Vec<_> = fs::read_dir(root.join("cache/committed")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "{left:?}, after {kept} kept and {replaced} replaced");
}

#[test]
fn killed_while_layers_are_restored() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("cache")).unwrap();
    write_layers(root, 0);
    succeed(start("child_saves", root));
    let want = check(root);
    fs::remove_dir_all(root.join("layers")).unwrap();
    fs::create_dir(root.join("layers")).unwrap();
    let whole = time(|| succeed(start("child_restores", root)));
    for point in 0..POINTS {
        for layer in fs::read_dir(root.join("layers")).unwrap() {
            fs::remove_dir_all(layer.unwrap().path()).unwrap();
        }
        let mut child = start("child_restores", root);
        std::thread::sleep(whole * point / POINTS * 5 / 4);
        child.kill().unwrap();
        child.wait().unwrap();
        for layer in layers(root) {
            let LayerSource::Directory { path, .. } = &layer else { continue };
            assert!(!path.exists() || want.contains(&layer.diff_id().unwrap()), "point {point}: {} is not whole", path.display());
        }
        assert_eq!(check(root), want);
    }
    succeed(start("child_restores", root));
    assert_eq!(layers(root).iter().map(|l| l.diff_id().unwrap()).collect::<BTreeSet<_>>(), want);
}

#[test]
fn builds_on_one_volume_at_the_same_time() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("cache")).unwrap();
    for generation in 0..5 {
        write_layers(root, generation);
        let children: Vec<Child> = (0..3).map(|_| start("child_saves", root)).collect();
        children.into_iter().for_each(succeed);
        let want: BTreeSet<DiffId> = layers(root).iter().map(|l| l.diff_id().unwrap()).collect();
        assert_eq!(check(root), want);
    }
}
