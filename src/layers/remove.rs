//! Removing what is on disk of a layer.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Removes a layer: its directory, `<layer>.toml` and `<layer>.sha`. What is not there is no error.
pub fn remove_layer(buildpack_dir: &Path, name: &str) -> Result<()> {
    remove_tree(&buildpack_dir.join(name))?;
    remove_tree(&buildpack_dir.join(format!("{name}.sha")))?;
    remove_tree(&buildpack_dir.join(format!("{name}.toml")))
}

/// Removes a file, a link or a whole directory; one that is absent is no error. Read-only directories are made writable
/// first where their owner may do so: buildpacks make such layers (Go's module cache), and root would not notice.
pub fn remove_tree(path: &Path) -> Result<()> {
    match try_remove(path) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            make_writable(path);
            try_remove(path)
        }
        other => other,
    }
    .map_err(|e| Error::io("remove", path, &e))
}

fn try_remove(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// As far as it goes; the removal that follows tells what did not work.
fn make_writable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_everything_of_a_layer_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("bp");
        fs::create_dir_all(dir.join("x/ro")).unwrap();
        for name in ["x/ro/f", "x.toml", "x.sha", "x.y.toml", "y"] {
            fs::write(dir.join(name), "").unwrap();
        }
        symlink("../../y", dir.join("x/ro/link")).unwrap();
        fs::set_permissions(dir.join("x/ro"), fs::Permissions::from_mode(0o500)).unwrap();
        remove_layer(&dir, "x").unwrap();
        remove_layer(&dir, "x").unwrap();
        let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["x.y.toml", "y"]);
    }

    #[test]
    fn a_link_in_place_of_a_layer_is_removed_and_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("elsewhere")).unwrap();
        symlink(temp.path().join("elsewhere"), temp.path().join("x")).unwrap();
        remove_layer(temp.path(), "x").unwrap();
        assert!(temp.path().join("elsewhere").exists() && !temp.path().join("x").is_symlink());
    }
}
