//! SBOM files that buildpacks write beside their layers, and where builds collect them (buildpack.md, "Software Bill of
//! Materials"; platform.md, "sbom").

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::dir::escape_id;
use crate::bail;
use crate::data::group::GroupElement;
use crate::data::layer_toml::LayerToml;
use crate::error::{Context, Error, Result};

/// Which of `<layers>/sbom/{build,cache,launch}` a file goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Build,
    Cache,
    Launch,
}

impl Kind {
    fn dir(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Cache => "cache",
            Self::Launch => "launch",
        }
    }
}

/// An SBOM file and what it is for; a file of a layer for launch and cache is listed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbomFile {
    pub path: PathBuf,
    pub kind: Kind,
    pub buildpack_id: String,
    /// Empty for what belongs to no layer.
    pub layer: OsString,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    CycloneDx,
    Spdx,
    Syft,
}

impl Format {
    const ALL: [Self; 3] = [Self::CycloneDx, Self::Spdx, Self::Syft];

    fn of(file_name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|f| {
            let stem = file_name.as_bytes().strip_suffix(f.file_name().as_bytes());
            stem.is_some_and(|stem| stem.ends_with(b"."))
        })
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "application/vnd.cyclonedx+json",
            Self::Spdx => "application/spdx+json",
            Self::Syft => "application/vnd.syft+json",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::CycloneDx => "sbom.cdx.json",
            Self::Spdx => "sbom.spdx.json",
            Self::Syft => "sbom.syft.json",
        }
    }
}

/// Names of the form `*.sbom.*.json` in the buildpack's directory, sorted.
pub fn file_names(buildpack_dir: &Path) -> Result<Vec<OsString>> {
    let entries = match fs::read_dir(buildpack_dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io("open", buildpack_dir, &e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io("readdirent", buildpack_dir, &e))?.file_name();
        let stem = name.as_bytes().strip_suffix(b".json").unwrap_or_default();
        if stem.windows(6).any(|w| w == b".sbom.") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The SBOM files of one buildpack. Files of layers that it does not have are passed over.
///
/// # Errors
/// A format that does not exist, or whose media type is not among `declared` (buildpack.md, "sbom-formats").
pub fn collect(
    buildpack_dir: &Path,
    buildpack: &GroupElement,
    layers: &BTreeMap<OsString, LayerToml>,
    declared: &[String],
) -> Result<Vec<SbomFile>> {
    let mut files = Vec::new();
    for name in file_names(buildpack_dir)? {
        let path = buildpack_dir.join(&name);
        let layer = name.as_bytes().split(|b| *b == b'.').next().unwrap_or_default();
        let layer = OsStr::from_bytes(layer);
        let (layer, kinds) = match layer.to_str() {
            Some("launch") => (OsStr::new(""), [Some(Kind::Launch), None]),
            Some("build") => (OsStr::new(""), [Some(Kind::Build), None]),
            _ => {
                let Some(toml) = layers.get(layer) else { continue };
                let first = if toml.launch { Kind::Launch } else { Kind::Build };
                (layer, [Some(first), toml.cache.then_some(Kind::Cache)])
            }
        };
        let Some(format) = Format::of(&name) else { bail!("unsupported SBOM file format: '{}'", path.display()) };
        check_declared(format, declared)
            .with_context(|| format!("validating SBOM file '{}' for buildpack: '{buildpack}'", path.display()))?;
        for kind in kinds.into_iter().flatten() {
            let (buildpack_id, layer) = (buildpack.id.clone(), layer.to_owned());
            files.push(SbomFile { path: path.clone(), kind, buildpack_id, layer, format });
        }
    }
    Ok(files)
}

fn check_declared(format: Format, declared: &[String]) -> Result<()> {
    for text in declared {
        if media_type(text).context("parsing declared media type")? == format.media_type() {
            return Ok(());
        }
    }
    bail!("undeclared SBOM media type: '{}'", format.media_type())
}

/// The type without its parameters, in lower case (RFC 2045).
fn media_type(text: &str) -> Result<String> {
    let is_token = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b));
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let well_formed = match kind.split_once('/') {
        Some((main, sub)) => is_token(main) && is_token(sub),
        None => is_token(kind),
    };
    let parameters = parts.filter(|p| !p.is_empty()).all(|p| p.split_once('=').is_some_and(|(name, _)| is_token(name.trim())));
    if !well_formed || !parameters {
        bail!("mime: '{text}' is no media type");
    }
    Ok(kind.to_ascii_lowercase())
}

/// Copies the files to `<layers>/sbom/<kind>/<escaped buildpack id>/<layer>/sbom.<format>.json`.
pub fn copy(layers_dir: &Path, files: &[SbomFile]) -> Result<()> {
    for file in files {
        let dir = layers_dir.join("sbom").join(file.kind.dir()).join(escape_id(&file.buildpack_id)).join(&file.layer);
        fs::create_dir_all(&dir).map_err(|e| Error::io("mkdir", &dir, &e))?;
        copy_entry(&file.path, &dir.join(file.format.file_name()))?;
    }
    Ok(())
}

/// Links stay links; what is neither file, link nor directory is passed over.
fn copy_entry(from: &Path, to: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(from).map_err(|e| Error::io("lstat", from, &e))?;
    if metadata.is_dir() {
        fs::create_dir_all(to).map_err(|e| Error::io("mkdir", to, &e))?;
        for entry in fs::read_dir(from).map_err(|e| Error::io("open", from, &e))? {
            let name = entry.map_err(|e| Error::io("readdirent", from, &e))?.file_name();
            copy_entry(&from.join(&name), &to.join(&name))?;
        }
    } else if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(|e| Error::io("readlink", from, &e))?;
        symlink(target, to).map_err(|e| Error::io("symlink", to, &e))?;
    } else if metadata.is_file() {
        // Not `fs::copy`: the mode is that of a new file, as restored SBOM files have it, too.
        let mut input = fs::File::open(from).map_err(|e| Error::io("open", from, &e))?;
        let mut output = fs::File::create(to).map_err(|e| Error::io("open", to, &e))?;
        std::io::copy(&mut input, &mut output).map_err(|e| Error::io("write", to, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_lose_parameters_and_case() {
        assert_eq!(media_type("Application/SPDX+json; version=2.3").unwrap(), "application/spdx+json");
        for bad in ["", "//", "a/b/c", "a b", "a/b; c"] {
            assert!(media_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_follow_the_types_of_their_layers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x.sbom.cdx.json", "launch.sbom.cdx.json", "gone.sbom.foo.json", "x.sbom.json", "build.sbom.cdx.json"] {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        let layer = LayerToml { launch: true, cache: true, ..LayerToml::default() };
        let layers = BTreeMap::from([(OsString::from("x"), layer)]);
        let declared = ["application/vnd.cyclonedx+json".to_owned()];
        let files = collect(dir.path(), &GroupElement::default(), &layers, &declared).unwrap();
        let seen: Vec<_> = files.iter().map(|f| (f.layer.to_str().unwrap(), f.kind)).collect();
        assert_eq!(seen, [("", Kind::Build), ("", Kind::Launch), ("x", Kind::Launch), ("x", Kind::Cache)]);
        copy(dir.path(), &files).unwrap();
        assert!(dir.path().join("sbom/cache/x/sbom.cdx.json").is_file());
        let error = collect(dir.path(), &GroupElement::default(), &layers, &[]).unwrap_err().to_string();
        assert!(error.ends_with("undeclared SBOM media type: 'application/vnd.cyclonedx+json'"), "{error}");
    }
}
