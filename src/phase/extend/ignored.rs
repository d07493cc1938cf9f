//! Paths that never get into a layer.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A set of absolute paths; each stands for itself and all below it.
#[derive(Clone, Debug, Default)]
pub struct Ignored(HashSet<PathBuf>);

/// Kept out of layers in every image: `/var/run` and `/etc/mtab` describe the running system, `/kaniko` is the cache.
const ALWAYS: [&str; 3] = ["/var/run", "/etc/mtab", "/kaniko"];

impl Ignored {
    /// All mounts of this container, what [`ALWAYS`] names, and `more`: app, layers and platform directory, the lifecycle.
    pub fn of_container(more: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let mounts = "/proc/self/mountinfo";
        let text = fs::read_to_string(mounts).map_err(|e| Error::io("open", mounts, &e))?;
        Ok(mount_points(&text).chain(ALWAYS.map(PathBuf::from)).chain(more).filter(|p| p != Path::new("/")).collect())
    }

    /// Whether the path itself was named.
    pub fn names(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// Whether the path or a directory above it was named.
    pub fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|p| self.names(p))
    }
}

impl FromIterator<PathBuf> for Ignored {
    fn from_iter<I: IntoIterator<Item = PathBuf>>(paths: I) -> Self {
        Self(paths.into_iter().collect())
    }
}

/// The fifth field; space, tab, newline and backslash in it are octal escapes.
fn mount_points(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| {
        let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        PathBuf::from(escapes.iter().fold(point.to_owned(), |text, (from, to)| text.replace(from, to)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let text = "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /a\\040b rw,x shared:1 - tmpfs t rw\n3 1 0:3 /x /etc/hosts rw - ext4 d rw\n";
        let points: Vec<_> = mount_points(text).collect();
        assert_eq!(points, [Path::new("/"), Path::new("/a b"), Path::new("/etc/hosts")]);
    }

    #[test]
    fn covers_whole_names_only() {
        let ignored = Ignored::from_iter([PathBuf::from("/data/dir")]);
        assert!(ignored.covers(Path::new("/data/dir")) && ignored.covers(Path::new("/data/dir/x/y")));
        assert!(!ignored.covers(Path::new("/data/dirx")) && !ignored.covers(Path::new("/data")));
    }
}
