//! Where the extender finds Dockerfiles.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::dockerfile::{Generated, Kind};
use crate::api::PlatformApi;
use crate::error::{Context, Error, Result};
use crate::layers::dir::escape_id;

/// From Platform API 0.13 on a Dockerfile stays where the extension wrote it, `<generated>/<id>/<kind>.Dockerfile`; before, it
/// goes to `<generated>/<kind>/<id>/Dockerfile`, with its extend-config.toml. One that is ignored gets `.ignore` at the end.
pub(super) fn place(api: PlatformApi, generated: &Path, dockerfile: &Generated) -> Result<()> {
    let is_ignored = dockerfile.kind == Kind::Run && dockerfile.is_ignored;
    if api.has_extension_contexts() {
        if is_ignored {
            let path = &dockerfile.path;
            fs::rename(path, with_ignore(path))
                .map_err(|e| Error::io("rename", path, &e))
                .with_context(|| format!("failed to rename Dockerfile at {}", path.display()))?;
        }
        return Ok(());
    }
    let dir = generated.join(dockerfile.kind.to_string()).join(escape_id(&dockerfile.extension));
    fs::create_dir_all(&dir).map_err(|e| Error::io("mkdir", &dir, &e))?;
    let target = dir.join("Dockerfile");
    let target = if is_ignored { with_ignore(&target) } else { target };
    debug!("Copying {} to {}", dockerfile.path.display(), target.display());
    copy(&dockerfile.path, &target)
        .map_err(|e| Error::io("copy", &dockerfile.path, &e))
        .with_context(|| format!("failed to copy Dockerfile at {}", dockerfile.path.display()))?;
    let config = dockerfile.path.with_file_name("extend-config.toml");
    match copy(&config, &dir.join("extend-config.toml")) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::io("copy", &config, &e)).with_context(|| format!("failed to copy extend config at {}", config.display()))
        }
        _ => Ok(()),
    }
}

fn with_ignore(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".ignore");
    name.into()
}

/// The content into a new file; a link stays a link.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(from)?.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    fs::write(to, fs::read(from)?)
}
