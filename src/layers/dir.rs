//! What buildpacks left in the layers directory (buildpack.md, "Layers"): read once, then passed on by value.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::kept::{self, KeptLayers};
use super::source::LayerSource;
use crate::data::group::GroupElement;
use crate::data::layer_toml::LayerToml;
use crate::data::store::StoreToml;
use crate::error::{Context, Error, Result};

/// One buildpack's part of the layers directory.
#[derive(Debug)]
pub struct BuildpackDir {
    pub buildpack: GroupElement,
    /// `<layers>/<escaped id>`.
    pub path: PathBuf,
    /// Sorted by name, bytewise.
    pub layers: Vec<LayerDir>,
    pub store: Option<StoreToml>,
}

/// A layer: a directory, a `<layer>.toml`, or both.
#[derive(Debug)]
pub struct LayerDir {
    pub name: String,
    /// Of the layer's directory, whether it exists or not.
    pub path: PathBuf,
    pub has_data: bool,
    /// Without `<layer>.toml` the layer is of no type.
    pub metadata: Result<LayerToml>,
    /// The layer as its buildpack left it, where that is not what is in the directory now.
    pub kept: Option<LayerSource>,
}

/// The buildpack's id as the name of its directory.
pub fn escape_id(id: &str) -> String {
    id.replace('/', "_")
}

impl BuildpackDir {
    /// Reads the buildpack's directory; one that does not exist has no layers.
    ///
    /// # Errors
    /// If the directory or store.toml cannot be read. What is wrong with a `<layer>.toml` is told by the layer.
    pub fn read(layers_dir: &Path, buildpack: &GroupElement) -> Result<Self> {
        let path = layers_dir.join(escape_id(&buildpack.id));
        debug!("Reading buildpack directory: {}", path.display());
        let names = layer_names(&path).with_context(|| format!("reading layers for buildpack '{}'", buildpack.id))?;
        let store = StoreToml::read(&path.join("store.toml"))
            .with_context(|| format!("failed decoding store.toml for buildpack {:?}", buildpack.id))?;
        let layers = names.into_iter().map(|name| LayerDir::read(&path, name)).collect();
        Ok(Self { buildpack: buildpack.clone(), path, layers, store })
    }
}

impl LayerDir {
    /// What the layer is made from.
    pub fn source(&self, uid: u64, gid: u64) -> LayerSource {
        self.kept.clone().unwrap_or_else(|| LayerSource::Directory { path: self.path.clone(), uid, gid })
    }

    fn read(parent: &Path, name: String) -> Self {
        let path = parent.join(&name);
        let metadata = LayerToml::read(&parent.join(format!("{name}.toml")));
        let has_data = !fs::read_dir(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        Self { name, path, has_data, metadata, kept: None }
    }
}

impl BuildpackDir {
    /// Takes layers that the builder kept (layer protection `discard`) in the place of what became of their directories.
    pub fn use_kept_layers(&mut self, layers_dir: &Path, owner: kept::Owner) -> Result<()> {
        let kept = KeptLayers::read(layers_dir, &self.buildpack.id)?;
        for layer in &mut self.layers {
            layer.kept = kept.source(&layer.name, owner)?;
            layer.has_data |= layer.kept.is_some();
        }
        Ok(())
    }
}

/// Directories, and what has a `<layer>.toml`. Links to directories count only with one.
fn layer_names(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|e| Error::io("open", dir, &e))?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("readdir", dir, &e))?;
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        let Ok(name) = entry.file_name().into_string() else { continue };
        match name.strip_suffix(".toml") {
            _ if is_dir => drop(names.insert(name)),
            // Documents of the buildpack itself.
            Some("store" | "launch" | "build") | None => {}
            Some(layer) => drop(names.insert(layer.to_owned())),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_a_directory_or_a_toml_or_both() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a_one");
        for name in ["b", "no-toml", "launch"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for (name, text) in [
            ("b.toml", "[types]\nlaunch = true\n"),
            ("b-2.toml", "[types]\ncache = true\n"),
            ("bad.toml", "[types"),
            ("launch.toml", "[types]\nbuild = true\n"),
            ("build.toml", ""),
            ("store.toml", "[metadata]\nk = 1\n"),
            ("readme.md", ""),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        let buildpack = GroupElement { id: "a/one".into(), ..GroupElement::default() };
        let read = BuildpackDir::read(root.path(), &buildpack).unwrap();
        let seen: Vec<_> = read.layers.iter().map(|l| (l.name.as_str(), l.has_data, l.metadata.is_ok())).collect();
        let want =
            [("b", true, true), ("b-2", false, true), ("bad", false, false), ("launch", true, true), ("no-toml", true, true)];
        assert_eq!(seen, want);
        assert!(read.layers[0].metadata.as_ref().unwrap().launch);
        assert!(read.store.is_some());
    }

    #[test]
    fn a_buildpack_that_left_nothing_has_no_layers() {
        let root = tempfile::tempdir().unwrap();
        let read = BuildpackDir::read(root.path(), &GroupElement::default()).unwrap();
        assert!(read.layers.is_empty() && read.store.is_none());
    }
}
