//! The SBOM files of lifecycle and launcher: copied beside those of the buildpacks (platform.md, "Exporter", since 0.11).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tracing::{debug, warn};

use crate::error::{Context, Error, Result};

/// Formats that the specification knows, by the end of their file names.
const EXTENSIONS: [&str; 3] = ["sbom.cdx.json", "sbom.spdx.json", "sbom.syft.json"];

/// Where the lifecycle is installed, with its SBOM files beside it.
const DEFAULT_DIR: &str = "/cnb/lifecycle";

/// Copies the files of the lifecycle into `<layers>/sbom/build` and those of the launcher into `<layers>/sbom/launch`.
/// `launcher_dir` is `-launcher-sbom`: unless it is the place of installation, every SBOM file in it is the launcher's.
pub fn copy(layers_dir: &Path, launcher_dir: Option<&Path>) -> Result<()> {
    let sbom = layers_dir.join("sbom");
    copy_installed("lifecycle", &sbom.join("build/buildpacksio_lifecycle"))?;
    let launcher = sbom.join("launch/buildpacksio_lifecycle/launcher");
    match launcher_dir.filter(|d| *d != Path::new(DEFAULT_DIR)) {
        None => copy_installed("launcher", &launcher),
        Some(dir) => copy_all(dir, &launcher),
    }
}

fn copy_installed(component: &str, to: &Path) -> Result<()> {
    for extension in EXTENSIONS {
        let name = format!("{component}.{extension}");
        let from = Path::new(DEFAULT_DIR).join(&name);
        match fs::metadata(&from) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                warn!("Did not find SBOM {name} in {DEFAULT_DIR}");
                continue;
            }
            Err(e) => return Err(Error::io("stat", &from, &e)),
            Ok(_) => {}
        }
        let to = to.join(extension);
        debug!("Copying SBOM {name} to {}", to.display());
        copy_file(&from, &to)?;
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    let mut names = Vec::new();
    let entries = fs::read_dir(from)
        .map_err(|e| Error::io("open", from, &e))
        .inspect_err(|_| warn!("Failed to list contents of directory {}", from.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("readdir", from, &e))?;
        let is_sbom = entry.file_name().to_str().is_some_and(|n| EXTENSIONS.iter().any(|e| n.ends_with(e)));
        if is_sbom && !entry.path().is_dir() {
            names.push(entry.file_name());
        }
    }
    fs::create_dir_all(to).map_err(|e| Error::io("mkdir", to, &e))?;
    names.sort();
    names.iter().try_for_each(|name| copy_file(&from.join(name), &to.join(name)))
}

/// Copies the content only: the mode is part of a layer and must not depend on how the lifecycle was installed.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(|e| Error::io("mkdir", dir, &e))?;
    }
    let copy = || {
        let mut input = fs::File::open(from)?;
        std::io::copy(&mut input, &mut fs::File::create(to)?)
    };
    copy().context(format!("failed while copying SBOM from {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_sbom_of_a_custom_directory_is_the_launchers() {
        let root = tempfile::tempdir().unwrap();
        let (from, layers) = (root.path().join("from"), root.path().join("layers"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("any.sbom.syft.json"), "{}").unwrap();
        fs::set_permissions(from.join("any.sbom.syft.json"), fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(from.join("readme.txt"), "").unwrap();
        fs::write(from.join("sub/x.sbom.cdx.json"), "").unwrap();
        copy(&layers, Some(&from)).unwrap();
        let copied = layers.join("sbom/launch/buildpacksio_lifecycle/launcher");
        let names: Vec<_> = fs::read_dir(&copied).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["any.sbom.syft.json"]);
        let mode = fs::metadata(copied.join("any.sbom.syft.json")).unwrap().permissions().mode();
        assert_ne!(mode & 0o200, 0, "the mode of the original is not copied");
    }

    #[test]
    fn a_custom_directory_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let error = copy(root.path(), Some(&root.path().join("none"))).unwrap_err().to_string();
        assert!(error.contains("none: no such file or directory"), "{error}");
    }
}
