//! Layers as their buildpacks left them, kept aside from what later buildpacks do to the directories (layer protection
//! `discard`): `<layers>/@exported/<escaped buildpack id>/<layer>.tar` and an index.
//!
//! Buildpacks run as the user who writes these files, so this keeps mistakes out of images, not attacks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dir::escape_id;
use super::remove::remove_tree;
use super::source::LayerSource;
use super::tar::tee::copy_layer;
use crate::bail;
use crate::error::{Error, Result};
use crate::image::DiffId;

const DIR: &str = "@exported";
const INDEX: &str = "index.json";

/// Whom the entries of a layer belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: u64,
    pub gid: u64,
}

/// The kept layers of one buildpack.
#[derive(Clone, Debug, Default)]
pub struct KeptLayers {
    dir: PathBuf,
    owner: Owner,
    /// By name.
    layers: BTreeMap<String, DiffId>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    owner: Owner,
    layers: BTreeMap<String, String>,
}

impl KeptLayers {
    /// Keeps the layers `names` of a buildpack, as they are on disk now.
    pub fn keep(layers_dir: &Path, buildpack_id: &str, names: &[String], owner: Owner) -> Result<Self> {
        let dir = dir_of(layers_dir, buildpack_id);
        remove_tree(&dir)?;
        fs::create_dir_all(&dir).map_err(|e| Error::io("mkdir", &dir, &e))?;
        let mut layers = BTreeMap::new();
        for name in names {
            let path = layers_dir.join(escape_id(buildpack_id)).join(name);
            let source = LayerSource::Directory { path, uid: owner.uid, gid: owner.gid };
            let diff_id =
                write_tar(&source, &tar_of(&dir, name)).map_err(|e| e.context(format!("keep layer '{buildpack_id}:{name}'")))?;
            layers.insert(name.clone(), diff_id);
        }
        let index = Index { owner, layers: layers.iter().map(|(name, d)| (name.clone(), d.to_string())).collect() };
        let text = serde_json::to_string(&index).map_err(|e| Error::new(format!("encode JSON: {e}")))?;
        let path = dir.join(INDEX);
        fs::write(&path, text).map_err(|e| Error::io("open", &path, &e))?;
        Ok(Self { dir, owner, layers })
    }

    /// What was kept of a buildpack; nothing if the build did not keep layers.
    pub fn read(layers_dir: &Path, buildpack_id: &str) -> Result<Self> {
        let dir = dir_of(layers_dir, buildpack_id);
        let path = dir.join(INDEX);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|e| Error::io("open", &path, &e))?,
        };
        let malformed = |what: String| Error::new(format!("{}: {what}", path.display()));
        let Index { owner, layers } = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let diff_id = |text: &str| DiffId::parse(text).ok_or_else(|| malformed(format!("'{text}' is no diffID")));
        let layers = layers.into_iter().map(|(name, text)| Ok((name, diff_id(&text)?))).collect::<Result<_>>()?;
        Ok(Self { dir, owner, layers })
    }

    pub fn diff_id(&self, name: &str) -> Option<&DiffId> {
        self.layers.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.keys().map(String::as_str)
    }

    /// The kept layer.
    ///
    /// # Errors
    /// It was kept for another user than the one that layers are exported for.
    pub fn source(&self, name: &str, owner: Owner) -> Result<Option<LayerSource>> {
        if !self.layers.contains_key(name) {
            return Ok(None);
        }
        if owner != self.owner {
            let (kept, now) = (self.owner, owner);
            bail!(
                "the builder kept layer '{name}' for user {}:{}, the exporter's is {}:{}: set CNB_USER_ID and CNB_GROUP_ID for the \
                 builder, too",
                kept.uid,
                kept.gid,
                now.uid,
                now.gid
            );
        }
        Ok(Some(LayerSource::Tar { path: tar_of(&self.dir, name) }))
    }
}

/// Removes all that was kept.
pub fn clear(layers_dir: &Path) -> Result<()> {
    remove_tree(&layers_dir.join(DIR))
}

fn dir_of(layers_dir: &Path, buildpack_id: &str) -> PathBuf {
    layers_dir.join(DIR).join(escape_id(buildpack_id))
}

fn tar_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.tar"))
}

fn write_tar(source: &LayerSource, path: &Path) -> Result<DiffId> {
    let mut file = File::create(path).map_err(|e| Error::io("open", path, &e))?;
    copy_layer(source, &mut file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_layers_do_not_change_with_their_directories() {
        let layers = tempfile::tempdir().unwrap();
        let layer = layers.path().join("a_b/x");
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("f"), "first").unwrap();
        let owner = Owner { uid: 1, gid: 2 };
        let source = LayerSource::Directory { path: layer.clone(), uid: 1, gid: 2 };
        let before = source.diff_id().unwrap();
        let kept = KeptLayers::keep(layers.path(), "a/b", &["x".into()], owner).unwrap();
        assert_eq!(kept.diff_id("x"), Some(&before));
        fs::write(layer.join("f"), "second").unwrap();

        let read = KeptLayers::read(layers.path(), "a/b").unwrap();
        let source = read.source("x", owner).unwrap().unwrap();
        assert_eq!(source.diff_id().unwrap(), before);
        assert!(read.source("y", owner).unwrap().is_none());
        assert!(read.source("x", Owner::default()).unwrap_err().to_string().contains("for user 1:2"));
        clear(layers.path()).unwrap();
        assert_eq!(KeptLayers::read(layers.path(), "a/b").unwrap().names().count(), 0);
    }
}
