//! The layers of an app image: environment, exec.d and profile.d.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::metadata::Buildpack;
use crate::env::Env;
use crate::error::{Context, Error, Result};

/// The layer directories of one buildpack, in the order in which they count.
pub(super) type Layers = Vec<PathBuf>;

/// Per buildpack of the group, its layers.
pub(super) fn find(layers_dir: &Path, buildpacks: &[Buildpack]) -> Result<Vec<Layers>> {
    let mut found = Vec::with_capacity(buildpacks.len());
    for buildpack in buildpacks {
        let dir = layers_dir.join(buildpack.id.replace('/', "_"));
        match fs::metadata(&dir) {
            Ok(_) => found.push(in_order(&dir, buildpack).context("add layer root")?),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("stat", &dir, &e).context("find buildpack directory")),
        }
    }
    Ok(found)
}

/// By name; those for which the buildpack gave an order come last, in that order.
fn in_order(dir: &Path, buildpack: &Buildpack) -> Result<Layers> {
    let mut layers: Layers = subdirs(dir)?;
    if !buildpack.ordered_layers.is_empty() {
        let place = |path: &PathBuf| buildpack.ordered_layers.iter().position(|l| path.file_name() == Some(l));
        layers.sort_by_key(|path| place(path).map_or(0, |n| n + 1));
    }
    Ok(layers)
}

/// `bin` and `lib` of all layers of a buildpack come before its environment files, buildpack by buildpack.
pub(super) fn modify_env(buildpacks: Vec<Layers>, env: &mut Env, kind: &str) -> Result<Vec<Layers>> {
    for layers in &buildpacks {
        layers.iter().try_for_each(|layer| env.add_root_dir(layer)).context("add layer root")?;
        for layer in layers {
            let dirs = [Some(layer.join("env")), Some(layer.join("env.launch")), of_process(layer, "env.launch", kind)];
            dirs.iter().flatten().try_for_each(|dir| env.add_env_dir(dir)).context("add layer env")?;
        }
    }
    Ok(buildpacks)
}

/// The files in `<layer>/<folder>` and `<layer>/<folder>/<process type>` of all layers.
pub(super) fn scripts(buildpacks: &[Layers], folder: &str, kind: &str) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for layer in buildpacks.iter().flatten() {
        for dir in [Some(layer.join(folder)), of_process(layer, folder, kind)].iter().flatten() {
            scripts.extend(list(dir)?.into_iter().filter(|(_, is_dir)| !is_dir).map(|(path, _)| path));
        }
    }
    Ok(scripts)
}

/// The profile scripts of all layers, then that of the app.
pub(super) fn profiles(buildpacks: &[Layers], app_dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let mut profiles = scripts(buildpacks, "profile.d", kind)?;
    let path = app_dir.join(".profile");
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => profiles.push(".profile".into()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => {
            let act = format!("failed to determine if app profile script exists at path '{}'", path.display());
            return Err(Error::io("stat", &path, &e).context(act));
        }
    }
    Ok(profiles)
}

fn of_process(layer: &Path, folder: &str, kind: &str) -> Option<PathBuf> {
    (!kind.is_empty()).then(|| layer.join(folder).join(kind))
}

/// A link is no layer.
fn subdirs(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(dir)?.into_iter().filter(|(_, is_dir)| *is_dir).map(|(path, _)| path).collect())
}

/// The entries of a directory, sorted by name; true for directories. Nothing if it does not exist.
fn list(dir: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let read = || -> io::Result<Vec<_>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            entries.push((entry.path(), entry.file_type()?.is_dir()));
        }
        Ok(entries)
    };
    match read() {
        Ok(mut entries) => {
            entries.sort_unstable();
            Ok(entries)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("open", dir, &e).context(format!("failed to list files in dir '{}'", dir.display()))),
    }
}
