//! Where buildpacks and extensions lie (platform.md, "Buildpacks Directory Layout", "Extensions Directory Layout").

use std::path::{Path, PathBuf};

use super::descriptor::{Descriptor, ModuleKind};
use crate::bail;
use crate::data::group::GroupElement;
use crate::error::Result;
use crate::layers::dir::escape_id;

/// The directories `<buildpacks>/<escaped id>/<version>` and `<extensions>/<escaped id>/<version>`.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Empty if there is none.
    pub buildpacks: PathBuf,
    /// Empty if there is none.
    pub extensions: PathBuf,
}

impl Store {
    /// The module that an element of an order or a group refers to.
    ///
    /// # Errors
    /// There is no such module, its descriptor is malformed, or its API is not supported (exit 12).
    pub fn lookup(&self, element: &GroupElement) -> Result<Descriptor> {
        let kind = ModuleKind::of(element);
        let dir = match kind {
            ModuleKind::Buildpack if self.buildpacks.as_os_str().is_empty() => bail!("missing buildpacks directory"),
            ModuleKind::Extension if self.extensions.as_os_str().is_empty() => bail!("missing extensions directory"),
            ModuleKind::Buildpack => &self.buildpacks,
            ModuleKind::Extension => &self.extensions,
        };
        // As text: a version that begins with a slash must not lead out of the directory by `Path::join`.
        let below = format!("{}/{}/{}/{}", dir.display(), escape_id(&element.id), element.version, kind.file_name());
        let path: PathBuf = Path::new(&below).components().collect();
        Descriptor::read(kind, &path, element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_id_and_version() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("some_id/1.2");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("buildpack.toml"), "api = \"0.12\"\n[buildpack]\nid = \"some/id\"\n").unwrap();
        std::fs::write(module.join("extension.toml"), "api = \"0.10\"\n[extension]\nid = \"an/extension\"\n").unwrap();
        let store = Store { buildpacks: dir.path().into(), extensions: dir.path().into() };
        let element = |id: &str, version: &str| GroupElement { id: id.into(), version: version.into(), ..Default::default() };
        let buildpack = store.lookup(&element("some/id", "1.2")).unwrap();
        assert_eq!((buildpack.id.as_str(), buildpack.root.as_path()), ("some/id", module.as_path()));
        assert_eq!(store.lookup(&element("some_id", "/1.2/")).unwrap().root, module);
        let extension = GroupElement { extension: true, ..element("some/id", "1.2") };
        assert_eq!(store.lookup(&extension).unwrap().id, "an/extension");
        let error = store.lookup(&element("some/id", "2")).unwrap_err();
        let path = dir.path().join("some_id/2/buildpack.toml");
        assert_eq!(error.to_string(), format!("open {}: no such file or directory", path.display()));
        assert_eq!(Store::default().lookup(&extension).unwrap_err().to_string(), "missing extensions directory");
    }
}
