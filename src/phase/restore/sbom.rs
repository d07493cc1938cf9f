//! SBOM files of earlier builds come back beside the layers that buildpacks may reuse.
//!
//! The analyzer has put those of the previous image below `<layers>/sbom/launch`, the cache holds those of cached layers.
//! Each goes from `<layers>/sbom/<launch|cache>/<escaped id>/<layer>/sbom.<ext>.json` to
//! `<layers>/<escaped id>/<layer>.sbom.<ext>.json`.

use std::fs;
use std::path::Path;

use tracing::{debug, info, warn};

use super::{Inputs, extract_cached};
use crate::data::cache_metadata::CacheMetadata;
use crate::error::{Error, Result};
use crate::layers::dir::escape_id;
use crate::layers::extract::Fault;
use crate::layers::remove::remove_tree;

pub(super) fn restore(inputs: &Inputs<'_>, cached: &CacheMetadata) -> Result<()> {
    let sha = &cached.sbom.sha;
    if !sha.is_empty() {
        info!("Restoring data for SBOM from cache");
    }
    if inputs.skip_layers {
        return Ok(());
    }
    let sbom_dir = inputs.layers_dir.join("sbom");
    if !sha.is_empty() {
        debug!("Retrieving SBOM layer data for {sha:?}");
        match extract_cached(inputs, sha, &sbom_dir.join("cache")) {
            Ok(_) => {}
            Err(Fault::Archive(error)) => warn!("Skipping restore for SBOM: {error}"),
            Err(Fault::Disk(error)) => return Err(error.context("restoring layer")),
        }
    }
    let copied = ["cache", "launch"].into_iter().try_for_each(|kind| copy(inputs, &sbom_dir.join(kind)));
    remove_tree(&sbom_dir)?;
    copied
}

/// Copies the files of layers, for the buildpacks of the group that have a directory: one that has none keeps no layer.
fn copy(inputs: &Inputs<'_>, from: &Path) -> Result<()> {
    for buildpack in inputs.buildpacks {
        let id = escape_id(&buildpack.id);
        let to = inputs.layers_dir.join(&id);
        if !to.is_dir() {
            continue;
        }
        for (layer, layer_dir) in entries(&from.join(&id))? {
            for (file, path) in entries(&layer_dir)? {
                let Some(name) = sbom_name(&file) else { continue };
                if fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
                    copy_file(&path, &to.join(format!("{layer}.{name}")))?;
                }
            }
        }
    }
    Ok(())
}

/// Names and paths in a directory by name; nothing if it is none.
fn entries(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    if !fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("open", dir, &e))? {
        let entry = entry.map_err(|e| Error::io("readdir", dir, &e))?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The part of a file name from `sbom` to the last `json`; `None` for other files.
fn sbom_name(file: &str) -> Option<&str> {
    let end = file.rfind("json")? + "json".len();
    (file.starts_with("sbom") && end > "sbomjson".len()).then(|| &file[..end])
}

/// Content only: mode and owner are those of any file that the restorer writes.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = fs::File::open(from).map_err(|e| Error::io("open", from, &e))?;
    let mut target = fs::File::create(to).map_err(|e| Error::io("open", to, &e))?;
    std::io::copy(&mut source, &mut target).map_err(|e| Error::io("copy", to, &e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sbom_files_are_taken() {
        let cases = [
            ("sbom.cdx.json", Some("sbom.cdx.json")),
            ("sbom.legacy.json", Some("sbom.legacy.json")),
            ("sbom.json.bak", Some("sbom.json")),
            ("sbomjson", None),
            ("other.json", None),
            ("my-sbom.cdx.json", None),
            ("sbom.cdx.xml", None),
        ];
        for (file, want) in cases {
            assert_eq!(sbom_name(file), want, "{file}");
        }
    }
}
