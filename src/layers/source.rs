//! What a layer is made from, and how its tar is written (layer-tar-rules.md).

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::image::DiffId;

/// Where a layer's tar comes from. The tar's bytes depend on nothing but the files it names.
#[derive(Clone, Debug)]
pub enum LayerSource {
    /// A directory with its ancestors (rules R1, R3): buildpack layers, config, SBOM.
    Directory { path: PathBuf, uid: u64, gid: u64 },
    /// Entries of the app directory in full path order (rule R2), as chosen by the slices.
    Slice { entries: Arc<Vec<PathBuf>>, app_dir: PathBuf, uid: u64, gid: u64 },
    /// The launcher binary at /cnb/lifecycle/launcher.
    Launcher { path: PathBuf },
    /// Symlinks /cnb/process/<type>.
    ProcessTypes { types: Vec<String> },
    /// A tar of an extension layer, gzip, zstd or plain, with times and names normalised.
    ExtensionTar { path: PathBuf },
    /// A plain tar that is taken as it is (cache files, layers of other images).
    Tar { path: PathBuf },
}

impl LayerSource {
    /// Writes the layer's tar.
    pub fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let _ = out;
        unimplemented!()
    }

    /// Reads everything and hashes it, writing nothing.
    pub fn diff_id(&self) -> Result<DiffId> {
        unimplemented!()
    }
}
