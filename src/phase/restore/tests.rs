use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use sha2::Digest as _;

use super::*;
use crate::cache::CacheWriter;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata};
use crate::data::store::StoreToml;
use crate::data::value::Value;

/// A cache in memory that does not verify: the readers of real ones do, which their own tests show. One layer's reader
/// ends in an error, as theirs do for a wrong sum.
#[derive(Default)]
struct Memory {
    metadata: CacheMetadata,
    tars: BTreeMap<String, Vec<u8>>,
    damaged: Option<String>,
}

struct Damaged<R>(R);

impl<R: Read> Read for Damaged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("wrong sum")),
            n => Ok(n),
        }
    }
}

impl Cache for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn metadata(&self) -> Result<CacheMetadata> {
        Ok(self.metadata.clone())
    }

    fn read_layer(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        let Some(tar) = self.tars.get(diff_id.as_str()) else { crate::bail!("no layer {diff_id}") };
        let reader = Cursor::new(tar.clone());
        Ok(if self.damaged.as_deref() == Some(diff_id.as_str()) { Box::new(Damaged(reader)) } else { Box::new(reader) })
    }

    fn writer(&self) -> Result<Box<dyn CacheWriter>> {
        crate::bail!("read only")
    }
}

struct Fixture {
    temp: tempfile::TempDir,
    image: LayersMetadata,
    cache: Memory,
    group: Vec<GroupElement>,
}

fn fixture() -> Fixture {
    let group = vec![GroupElement { id: "a/one".into(), version: "1".into(), ..GroupElement::default() }];
    Fixture { temp: tempfile::tempdir().unwrap(), image: LayersMetadata::default(), cache: Memory::default(), group }
}

impl Fixture {
    fn layers(&self) -> &Path {
        self.temp.path()
    }

    /// Puts a file into the cache, as a layer of its own; returns its diffID.
    fn tar(&mut self, path: &str) -> String {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        let name = self.layers().join(path);
        let name = name.to_str().unwrap();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(4);
        header.set_cksum();
        builder.append(&header, &b"data"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        let sha = DiffId::from_sha256(&sha2::Sha256::digest(&tar).into()).to_string();
        self.cache.tars.insert(sha.clone(), tar);
        sha
    }

    fn cached(&mut self, name: &str) -> String {
        let sha = self.tar(&format!("a_one/{name}/f"));
        let mut layer = LayerMetadata { sha: sha.clone(), ..LayerMetadata::default() };
        layer.file.cache = true;
        layer.file.metadata = Some(Value::Table([("from".to_owned(), Value::String("cache".into()))].into()));
        if self.cache.metadata.buildpacks.is_empty() {
            self.cache.metadata.buildpacks.push(BuildpackLayersMetadata { id: "a/one".into(), ..Default::default() });
        }
        self.cache.metadata.buildpacks[0].layers.insert(name.into(), layer);
        sha
    }

    fn restore(&self, skip_layers: bool) -> Result<()> {
        restore(&Inputs {
            api: PlatformApi::latest(),
            layers_dir: self.layers(),
            buildpacks: &self.group,
            image: &self.image,
            cache: Some(&self.cache),
            skip_layers,
        })
    }

    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
            let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
            paths.sort();
            for path in paths {
                if path.is_dir() {
                    walk(&path, root, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = Vec::new();
        walk(self.layers(), self.layers(), &mut found);
        found
    }
}

#[test]
fn metadata_data_and_store_come_back() {
    let mut f = fixture();
    for n in 0..20 {
        f.cached(&format!("c{n:02}"));
    }
    let store = StoreToml { metadata: Some([("kept".to_owned(), Value::Bool(true))].into()) };
    f.image.buildpacks.push(BuildpackLayersMetadata { id: "a/one".into(), store: Some(store), ..Default::default() });
    f.restore(false).unwrap();
    let mut want: Vec<_> = (0..20).flat_map(|n| [format!("a_one/c{n:02}/f"), format!("a_one/c{n:02}.toml")]).collect();
    want.push("a_one/store.toml".into());
    want.sort_by_key(|p| p.replace(".toml", "/").replace("/f", "."));
    let mut files = f.files();
    files.sort();
    want.sort();
    assert_eq!(files, want);
    assert_eq!(fs::read_to_string(f.layers().join("a_one/c00.toml")).unwrap(), "[metadata]\n  from = \"cache\"\n");
}

#[test]
fn damaged_layers_are_left_out_with_all_that_came_of_them() {
    let mut f = fixture();
    let (damaged, gone, hostile) = (f.cached("damaged"), f.cached("gone"), f.cached("hostile"));
    f.cached("good");
    f.cache.damaged = Some(damaged);
    f.cache.tars.remove(&gone);
    let elsewhere = f.tar("b_two/x/f");
    let tar = f.cache.tars[&elsewhere].clone();
    f.cache.tars.insert(hostile, tar);
    f.restore(false).unwrap();
    let want = ["a_one/damaged.toml", "a_one/gone.toml", "a_one/good/f", "a_one/good.toml", "a_one/hostile.toml"];
    assert_eq!(f.files(), want);
    assert!(!f.layers().join("a_one/damaged").exists());
}

#[test]
fn a_disk_that_cannot_be_written_fails_the_phase() {
    let mut f = fixture();
    f.cached("c");
    fs::create_dir_all(f.layers().join("a_one/c/f")).unwrap();
    let error = f.restore(false).unwrap_err().to_string();
    assert!(error.starts_with("restoring data: restoring layer a/one:c: rename "), "{error}");
}

#[test]
fn names_that_are_paths_lead_nowhere() {
    let mut f = fixture();
    f.group[0].id = "a/one".into();
    let mut layer = LayerMetadata::default();
    layer.file.launch = true;
    let layers = ["../../out", "x/y", "..", "fine"].into_iter().map(|name| (name.to_owned(), layer.clone())).collect();
    f.image.buildpacks.push(BuildpackLayersMetadata { id: "a/one".into(), layers, ..Default::default() });
    f.restore(false).unwrap();
    assert_eq!(f.files(), ["a_one/fine.toml"]);
}

#[test]
fn sbom_files_go_beside_the_layers_of_the_group() {
    let mut f = fixture();
    f.cached("c");
    let sha = f.tar("sbom/cache/a_one/c/sbom.cdx.json");
    f.cache.metadata.sbom.sha = sha;
    for path in ["launch/a_one/l/sbom.spdx.json", "launch/a_one/sbom.cdx.json", "launch/z_z/l/sbom.cdx.json", "build/x"] {
        let path = f.layers().join("sbom").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    f.restore(false).unwrap();
    assert_eq!(f.files(), ["a_one/c/f", "a_one/c.sbom.cdx.json", "a_one/c.toml", "a_one/l.sbom.spdx.json"]);
}

#[test]
fn a_damaged_sbom_layer_does_not_fail_the_build() {
    let mut f = fixture();
    let sha = f.tar("sbom/cache/a_one/c/sbom.cdx.json");
    f.cache.damaged = Some(sha.clone());
    f.cache.metadata.sbom.sha = sha;
    fs::create_dir_all(f.layers().join("a_one")).unwrap();
    f.restore(false).unwrap();
    assert_eq!(f.files(), [""; 0]);
}

#[test]
fn skip_layers_leaves_the_sbom_alone_and_removes_what_is_not_described() {
    let mut f = fixture();
    f.cached("c");
    fs::create_dir_all(f.layers().join("a_one/c")).unwrap();
    fs::create_dir_all(f.layers().join("sbom/launch")).unwrap();
    fs::write(f.layers().join("sbom/launch/f"), "").unwrap();
    f.restore(true).unwrap();
    assert_eq!(f.files(), ["sbom/launch/f"]);
    assert!(!f.layers().join("a_one/c").exists());
}
