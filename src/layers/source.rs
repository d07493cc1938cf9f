//! What a layer is made from, and how its tar is written (layer-tar-rules.md).

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::slices::Slice;
use super::tar::out::{HashOut, TarOut, WriteOut};
use super::tar::walk::{Order, Walker};
use super::tar::watch::{Print, Trace, Watch};
use super::tar::{extension, special};
use crate::error::{Error, Result};
use crate::image::DiffId;

/// Where a layer's tar comes from. The tar's bytes depend on nothing but the files it names.
#[derive(Clone, Debug)]
pub enum LayerSource {
    /// A directory with its ancestors (rules R1, R3): buildpack layers, config, SBOM.
    Directory { path: PathBuf, uid: u64, gid: u64 },
    /// The app directory with its ancestors in full path order (rule R2), or one slice of it; see
    /// [`super::slices::app_layers`].
    App { path: PathBuf, slice: Option<Slice>, uid: u64, gid: u64 },
    /// The launcher binary at /cnb/lifecycle/launcher.
    Launcher { path: PathBuf },
    /// Symlinks /cnb/process/<type>.
    ProcessTypes { types: Vec<String> },
    /// A tar of an extension layer, gzip, zstd or plain, with times and names normalised.
    ExtensionTar { path: PathBuf },
    /// A plain tar that is taken as it is (cache files, layers of other images).
    Tar { path: PathBuf },
    /// Another source; when its tar was written, `print` says what its entries were like before they were read.
    Traced { source: Box<LayerSource>, print: Arc<Mutex<Option<Print>>> },
}

impl LayerSource {
    /// Writes the layer's tar. A file that changes while it is read is an error.
    pub fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let mut out = WriteOut::new(out);
        self.produce(&mut out)?;
        out.finish()
    }

    /// Reads everything and hashes it, writing nothing.
    pub fn diff_id(&self) -> Result<DiffId> {
        let mut out = HashOut::new();
        self.produce(&mut out)?;
        Ok(out.finish())
    }

    /// Writes the layer's tar into the receiver's memory.
    pub fn produce(&self, out: &mut dyn TarOut) -> Result<()> {
        match self {
            Self::Traced { source, print } => {
                let mut watch = Watch { trace: Some(Trace::new()), skip_content: false };
                source.produce_watched(out, &mut watch)?;
                let mut print = print.lock().unwrap_or_else(PoisonError::into_inner);
                *print = watch.trace.map(Trace::finish);
                Ok(())
            }
            _ => self.produce_watched(out, &mut Watch::default()),
        }
    }

    /// Writes the layer's tar and notes what `watch` asks for; only of layers that are directories.
    pub fn produce_watched(&self, out: &mut dyn TarOut, watch: &mut Watch) -> Result<()> {
        match self {
            Self::Directory { path, uid, gid } => {
                let mut walker = Walker::new(out, watch);
                walker.ancestors(path)?;
                walker.owned_by(*uid, *gid);
                walker.tree(path, Order::ByName, false)?;
                out.end()
            }
            Self::App { slice: Some(slice), .. } if slice.is_empty() => out.end(),
            Self::App { path, slice, uid, gid } => {
                let adding = |e: Error| e.context("failed to add app directory to archive");
                let mut walker = Walker::new(out, watch);
                walker.ancestors(path).map_err(adding)?;
                walker.owned_by(*uid, *gid);
                match slice {
                    None => walker.tree(path, Order::ByPath, true),
                    Some(slice) => slice.walk(path, &mut walker),
                }
                .map_err(adding)?;
                out.end()
            }
            Self::Launcher { path } => {
                special::launcher(path, out)?;
                out.end()
            }
            Self::ProcessTypes { types } => {
                special::process_types(types, out)?;
                out.end()
            }
            Self::ExtensionTar { path } => extension::rewrite(path, out),
            Self::Traced { source, .. } => source.produce_watched(out, watch),
            Self::Tar { path } => {
                let mut file = std::fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
                loop {
                    let space = out.space()?;
                    match file.read(space) {
                        Ok(0) => return Ok(()),
                        Ok(n) => out.advance(n)?,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(Error::io("read", path, &e)),
                    }
                }
            }
        }
    }
}
