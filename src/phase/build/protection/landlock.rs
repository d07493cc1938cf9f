//! A program that cannot write below the layers directory, by the kernel's Landlock: an unprivileged process may take rights
//! from itself and its children for good.
//!
//! Rules only allow, so what is allowed is everything beside the way from `/` down to the layers directory: the siblings at
//! each level. New entries directly in those few directories are refused, too. Reading and executing stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, path_beneath_rules,
};
use tracing::debug;

use crate::bail;
use crate::error::{Error, Result};

/// True if this machine can restrict a program: the kernel has it, the container's seccomp profile allows it, and renaming
/// from one directory to another can be told apart from other writes (ABI 2).
pub fn is_available() -> bool {
    let probe = thread::spawn(|| restrict(&[PathBuf::from("/")]));
    match probe.join() {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            debug!("Landlock is not available: {error}");
            false
        }
        Err(_) => false,
    }
}

/// What a program may write into if the layers directory is closed to it, except for `open`.
///
/// # Errors
/// A directory on the way cannot be listed, or the app directory cannot be kept open.
pub fn writable(layers_dir: &Path, app_dir: &Path, open: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| Error::io("realpath", path, &e));
    let (layers_dir, app_dir) = (real(layers_dir)?, real(app_dir)?);
    if layers_dir.starts_with(&app_dir) {
        bail!("the layers directory {} lies within the app directory {}", layers_dir.display(), app_dir.display());
    }
    let mut writable = vec![app_dir];
    let mut below = layers_dir.as_path();
    while let Some(parent) = below.parent() {
        for entry in fs::read_dir(parent).map_err(|e| Error::io("open", parent, &e))? {
            let entry = entry.map_err(|e| Error::io("readdirent", parent, &e))?;
            // A rule for a link would open what it points to, which may be the layers directory.
            let is_link = entry.file_type().is_ok_and(|t| t.is_symlink());
            if !is_link && entry.path() != below {
                writable.push(entry.path());
            }
        }
        below = parent;
    }
    writable.extend_from_slice(open);
    Ok(writable)
}

/// Does `work` on a thread that, with the programs it starts, can write only into `writable`.
pub fn restricted<T: Send>(writable: &[PathBuf], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = || {
        restrict(writable).map_err(|e| Error::new(format!("restrict bin/build: {e}")))?;
        work()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| bail!("the thread of bin/build panicked"))
}

fn restrict(writable: &[PathBuf]) -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_write(ABI::V2))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::Truncate)?
        .create()?
        .add_rules(path_beneath_rules(writable, AccessFs::from_write(ABI::V3)))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_beside_the_way_is_writable() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        for dir in ["app", "a/layers/one/x", "a/layers/two", "a/other"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::os::unix::fs::symlink("a/layers", root.join("link")).unwrap();
        let writable = writable(&root.join("link"), &root.join("app"), &[root.join("a/layers/two")]).unwrap();
        let has = |path: &str| writable.contains(&root.join(path));
        assert!(has("app") && has("a/other") && has("a/layers/two"));
        assert!(!has("a") && !has("a/layers") && !has("a/layers/one") && !has("link"));
        assert!(writable.contains(&PathBuf::from("/dev")) && !writable.contains(&PathBuf::from("/")));
        assert!(super::writable(&root.join("a/layers"), &root, &[]).is_err());
    }
}
