use std::io::Write;

use super::*;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata};
use crate::image::{Digest, LayerContent, Saved};

/// Knows one image, records what is done.
#[derive(Default)]
struct Registry {
    image: Mutex<Option<Arc<Image>>>,
    log: Arc<Mutex<Vec<String>>>,
    complete: bool,
    mounts: bool,
}

impl ImageStore for Registry {
    fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
        match name {
            "closed" => crate::bail!("401 Unauthorized"),
            _ => Ok(self.image.lock().unwrap().clone()),
        }
    }

    fn is_complete(&self, _: &Image) -> Result<bool> {
        Ok(self.complete)
    }

    fn read_layer(&self, _: &Image, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(diff_id.to_string().into_bytes())))
    }

    fn writer(&self, names: &[String], base: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
        assert!(base.is_none());
        self.log.lock().unwrap().push(format!("write {}", names.join(" ")));
        Ok(Box::new(Writer { log: self.log.clone(), mounts: self.mounts }))
    }

    fn delete(&self, image: &Image) -> Result<()> {
        self.log.lock().unwrap().push(format!("delete {}", image.name));
        Ok(())
    }
}

struct Writer {
    log: Arc<Mutex<Vec<String>>>,
    mounts: bool,
}

fn blob(diff_id: DiffId) -> LayerBlob {
    let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
    LayerBlob { diff_id, digest: Digest::from_sha256(&[7; 32]), size: 3, media_type }
}

impl ImageWriter for Writer {
    fn shown_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn add_layer(&self, source: &LayerSource, tee: Option<&mut (dyn Write + Send)>) -> Result<LayerBlob> {
        assert!(tee.is_none());
        let diff_id = source.diff_id()?;
        self.log.lock().unwrap().push("upload".into());
        Ok(blob(diff_id))
    }

    fn take_blob(&self, _: &LayerBlob, from: &str) -> Result<bool> {
        self.log.lock().unwrap().push(format!("mount from {from}"));
        Ok(self.mounts)
    }

    fn commit(self: Box<Self>, draft: &ImageDraft) -> Result<Saved> {
        assert_eq!(draft.family, MediaFamily::Oci);
        let kind = |l: &crate::image::DraftLayer| match &l.content {
            LayerContent::From { .. } => "old".to_owned(),
            LayerContent::New(blob) => blob.media_type.rsplit('.').next().unwrap_or_default().to_owned(),
        };
        let layers: Vec<String> = draft.layers.iter().map(|l| format!("{} {}", kind(l), &l.diff_id().hex()[..4])).collect();
        self.log.lock().unwrap().push(format!("commit {}", layers.join(", ")));
        Ok(Saved { digest: Some(Digest::from_sha256(&[9; 32])), ..Saved::default() })
    }
}

fn layer(content: &str) -> (tempfile::TempDir, LayerSource) {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("f"), content).unwrap();
    let path = temp.path().to_owned();
    (temp, LayerSource::Directory { path, uid: 0, gid: 0 })
}

fn metadata(layers: &[(&str, &DiffId)]) -> CacheMetadata {
    let mut buildpack = BuildpackLayersMetadata { id: "a/one".into(), ..BuildpackLayersMetadata::default() };
    for (name, diff_id) in layers {
        buildpack.layers.insert((*name).into(), LayerMetadata { sha: diff_id.to_string(), ..LayerMetadata::default() });
    }
    CacheMetadata { buildpacks: vec![buildpack], ..CacheMetadata::default() }
}

/// An image whose label names its layers.
fn image(diff_ids: &[&DiffId]) -> Arc<Image> {
    let names: Vec<String> = (0..diff_ids.len()).map(|i| format!("l{i}")).collect();
    let named: Vec<_> = names.iter().map(String::as_str).zip(diff_ids.iter().copied()).collect();
    let mut draft = ImageDraft::empty("linux", "", MediaFamily::Oci);
    for diff_id in diff_ids {
        draft.add_layer(blob((*diff_id).clone()), "");
    }
    draft.set_label(LABEL, &metadata(&named).to_json().unwrap());
    let config = draft.finished_config();
    let digest = Some(Digest::from_sha256(&[8; 32]));
    Arc::new(Image { name: "cache".into(), identifier: "cache@x".into(), config, manifest: None, digest, originals: None })
}

fn open(registry: Registry) -> (ImageCache, Arc<Mutex<Vec<String>>>) {
    let log = registry.log.clone();
    (ImageCache::open(Arc::new(registry), "cache", true), log)
}

fn logged(log: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn an_empty_cache_has_an_empty_layer() {
    let (cache, log) = open(Registry::default());
    assert!(!cache.exists());
    cache.writer().unwrap().commit(&metadata(&[])).unwrap();
    assert_eq!(logged(&log), ["write cache", "upload", "commit gzip 5f70"]);
}

/// lifecycle#1720: a reused layer is not listed twice; nor are equal layers of two names.
#[test]
fn every_layer_once_in_the_order_of_the_metadata() {
    let (_a, first) = layer("1");
    let (_b, second) = layer("2");
    let (old, new) = (first.diff_id().unwrap(), second.diff_id().unwrap());
    let registry = Registry { image: Mutex::new(Some(image(&[&old]))), complete: true, ..Registry::default() };
    let (cache, log) = open(registry);
    assert_eq!(cache.metadata().unwrap(), metadata(&[("l0", &old)]));
    let writer = cache.writer().unwrap();
    assert_eq!(writer.add_layer(&second).unwrap(), new);
    writer.reuse_layer(&old).unwrap();
    assert!(writer.reuse_layer(&new).unwrap_err().to_string().starts_with("failed to find cache layer with SHA"));
    writer.commit(&metadata(&[("a", &old), ("b", &new), ("c", &old), ("d", &new)])).unwrap();
    let layers = format!("commit old {}, gzip {}", &old.hex()[..4], &new.hex()[..4]);
    assert_eq!(logged(&log), ["write cache", "upload", &layers, "delete cache"]);
}

#[test]
fn blobs_of_the_app_image_are_mounted() {
    let (_temp, source) = layer("1");
    let diff_id = source.diff_id().unwrap();
    for (mounts, want) in [(true, vec!["mount from app"]), (false, vec!["mount from app", "upload"])] {
        let (cache, log) = open(Registry { mounts, ..Registry::default() });
        let writer = cache.writer().unwrap();
        writer.add_exported(&source, &blob(diff_id.clone()), "app").unwrap();
        writer.commit(&metadata(&[("a", &diff_id)])).unwrap();
        let log = logged(&log);
        assert_eq!(log[1..log.len() - 1], want);
        assert_eq!(log[log.len() - 1], format!("commit tar+gzip {}", &diff_id.hex()[..4]));
    }
}

#[test]
fn images_that_cannot_be_used_are_none() {
    let (_temp, source) = layer("1");
    let diff_id = source.diff_id().unwrap();
    let (corrupt, _) = open(Registry { image: Mutex::new(Some(image(&[&diff_id]))), ..Registry::default() });
    let closed = ImageCache::open(Arc::new(Registry { complete: true, ..Registry::default() }), "closed", false);
    for cache in [corrupt, closed] {
        assert!(!cache.exists());
        assert_eq!(cache.metadata().unwrap(), CacheMetadata::default());
        assert!(cache.read_layer(&diff_id).is_err());
    }
}
