use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::draft::ImageDraft;
use super::super::store::Saved;
use super::*;
use crate::image::{LayerContent, Manifest, MediaFamily};
use crate::layers::source::LayerSource;

fn store(dir: &TempDir) -> LayoutStore {
    LayoutStore::new(dir.path(), Platform::new("linux", "amd64", ""), Compression::default())
}

fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn source(types: &[&str]) -> LayerSource {
    LayerSource::ProcessTypes { types: names(types) }
}

/// Saves an image of one new layer on top of `base`.
fn save(store: &LayoutStore, to: &[&str], base: Option<&str>, types: &[&str]) -> Saved {
    let base = base.map(|name| store.open(name).unwrap().unwrap());
    let writer = store.writer(&names(to), base.as_deref()).unwrap();
    let mut draft = base
        .as_ref()
        .map_or_else(|| ImageDraft::empty("linux", "amd64", MediaFamily::Oci), |base| ImageDraft::from_base(base).unwrap());
    draft.add_layer(writer.add_layer(&source(types), None).unwrap(), "new");
    writer.commit(&draft).unwrap()
}

fn files(dir: &std::path::Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_saved_can_be_opened_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    assert_eq!(store.open("busybox").unwrap(), None);
    let saved = save(&store, &["busybox", "gcr.io/a/bc:v1"], None, &["web"]);
    let path = dir.path().join("index.docker.io/library/busybox/latest");
    let second = dir.path().join("gcr.io/a/bc/v1");
    assert_eq!(saved.names, [path.to_str().unwrap(), second.to_str().unwrap()]);
    assert_eq!(files(dir.path()), BTreeSet::from(["index.docker.io".to_owned(), "gcr.io".to_owned()]));

    let image = store.open("busybox").unwrap().unwrap();
    assert_eq!(image.identifier, saved.identifier);
    assert_eq!(store.open(&image.identifier).unwrap().unwrap(), image);
    let mut tar = Vec::new();
    store.read_layer(&image, &image.config.top_layer().unwrap()).unwrap().read_to_end(&mut tar).unwrap();
    assert_eq!(source(&["web"]).diff_id().unwrap(), image.config.top_layer().unwrap());
    assert!(!tar.is_empty());

    for path in [path, second] {
        assert_eq!(files(&path), BTreeSet::from(["blobs".to_owned(), "index.json".to_owned(), "oci-layout".to_owned()]));
        let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(index["manifests"][0]["annotations"], json!({REF_NAME: "latest"}));
        assert_eq!(index["mediaType"], MediaFamily::Oci.index());
    }
}

#[test]
fn saving_over_an_image_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["app"], None, &["web"]);
    let saved = save(&store, &["app"], Some("app"), &["worker"]);
    let image = store.open("app").unwrap().unwrap();
    assert_eq!(image.identifier, saved.identifier);
    assert_eq!(image.config.diff_ids().len(), 2);
    assert_eq!(files(std::path::Path::new(&image.name)).len(), 3);
}

#[test]
fn nothing_is_left_of_a_writer_that_did_not_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let writer = store.writer(&names(&["app"]), None).unwrap();
    writer.add_layer(&source(&["web"]), None).unwrap();
    drop(writer);
    assert_eq!(files(dir.path()), BTreeSet::new());

    let writer = store.writer(&names(&["app"]), None).unwrap();
    let missing = LayerSource::Launcher { path: dir.path().join("no launcher") };
    writer.add_layer(&missing, None).unwrap_err();
    drop(writer);
    assert_eq!(files(dir.path()), BTreeSet::new());
}

#[test]
fn layers_that_the_base_lacks_stay_absent() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["run"], None, &["web"]);
    let run = store.open("run").unwrap().unwrap();
    let blob = run.manifest.as_ref().map(Manifest::layers).unwrap().unwrap().remove(0);
    let base_blob = blob_path(std::path::Path::new(&run.name), &blob.digest);
    save(&store, &["full"], Some("run"), &["a"]);
    assert!(blob_path(&dir.path().join("index.docker.io/library/full/latest"), &blob.digest).exists());
    fs::remove_file(base_blob).unwrap();
    save(&store, &["sparse"], Some("run"), &["a"]);
    assert!(!blob_path(&dir.path().join("index.docker.io/library/sparse/latest"), &blob.digest).exists());

    let sparse = store.open("sparse").unwrap().unwrap();
    let error = store.read_layer(&sparse, &sparse.config.diff_ids()[0]).err().unwrap().to_string();
    assert!(error.starts_with("read layer: open ") && error.ends_with("no such file or directory"), "{error}");
}

#[test]
fn a_sparse_image_has_no_layer_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["run"], None, &["web"]);
    let run = store.open("run").unwrap().unwrap();
    let path = dir.path().join("sparse");
    write_sparse(&path, &run).unwrap();
    assert_eq!(files(&path.join("blobs/sha256")).len(), 2);
    let again = open_dir(&path, &Platform::host()).unwrap().unwrap();
    assert_eq!((&again.digest, &again.originals), (&run.digest, &run.originals));
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["app"], None, &["web"]);
    let image = store.open("app").unwrap().unwrap();
    let path = std::path::Path::new(&image.name);
    let config = blob_path(path, &image.manifest.as_ref().unwrap().config().unwrap().digest);
    let layer = blob_path(path, &image.manifest.as_ref().unwrap().layers().unwrap()[0].digest);

    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&layer, bytes).unwrap();
    let mut reader = store.read_layer(&image, &image.config.top_layer().unwrap()).unwrap();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());

    fs::write(&config, "{}").unwrap();
    let error = store.open("app").unwrap_err().to_string();
    assert!(error.contains(&format!("{} is damaged", config.display())), "{error}");
    fs::write(path.join("index.json"), "{").unwrap();
    assert!(store.open("app").unwrap_err().to_string().contains("parse index.json"));
    fs::write(path.join("index.json"), "{}").unwrap();
    assert!(store.open("app").unwrap_err().to_string().contains("failed to find manifest at index"));
}

#[test]
fn the_platform_chooses_among_several_manifests() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["amd"], None, &["a"]);
    save(&store, &["arm"], None, &["b"]);
    let [amd, arm] = ["amd", "arm"].map(|n| store.open(n).unwrap().unwrap());
    let entry = |image: &Image, arch: &str| {
        json!({"mediaType": MediaFamily::Oci.manifest(), "digest": image.digest.as_ref().unwrap().as_str(), "size": 1,
            "platform": {"os": "linux", "architecture": arch}})
    };
    let index = json!({"schemaVersion": 2, "manifests": [entry(&arm, "arm64"), entry(&amd, "amd64")]});
    fs::write(std::path::Path::new(&amd.name).join("index.json"), index.to_string()).unwrap();
    assert_eq!(store.open("amd").unwrap().unwrap().digest, amd.digest);
    let other = LayoutStore::new(dir.path(), Platform::new("linux", "s390x", ""), Compression::default());
    let error = other.open("amd").unwrap_err().to_string();
    assert!(error.ends_with("failed to find manifest matching platform linux/s390x"), "{error}");
}

#[test]
fn reused_layers_are_linked_from_the_image_that_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    save(&store, &["old"], None, &["web"]);
    let old = store.open("old").unwrap().unwrap();
    let writer = store.writer(&names(&["new"]), None).unwrap();
    let mut draft = ImageDraft::empty("linux", "amd64", MediaFamily::Docker);
    draft.take_layer(&old, &old.config.diff_ids()[0], "x").unwrap();
    writer.commit(&draft).unwrap();
    let new = store.open("new").unwrap().unwrap();
    let mut tar = Vec::new();
    store.read_layer(&new, &new.config.diff_ids()[0]).unwrap().read_to_end(&mut tar).unwrap();
    assert!(matches!(draft.layers[0].content, LayerContent::From { .. }));
    assert!(!tar.is_empty());
}
