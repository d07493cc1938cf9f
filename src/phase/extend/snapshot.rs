//! What an instruction changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::ignored::Ignored;
use super::layer_tar::LayerPaths;
use super::scan::{Files, Node, scan};
use crate::error::Result;

/// Knows the files as the layers so far have them.
#[derive(Debug)]
pub struct Snapshots {
    root: PathBuf,
    ignored: Ignored,
    /// `None` until the first full look.
    files: Option<Files>,
}

impl Snapshots {
    pub fn new(root: &Path, ignored: Ignored) -> Self {
        Self { root: root.to_owned(), ignored, files: None }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the present state as the one to compare with.
    pub fn look(&mut self) -> Result<()> {
        self.files = Some(scan(&self.root, &self.ignored, self.files.as_ref())?);
        Ok(())
    }

    /// What changed since the last look, by a new full look.
    pub fn changes(&mut self) -> Result<LayerPaths> {
        let before = self.files.take().unwrap_or_default();
        let now = scan(&self.root, &self.ignored, Some(&before))?;
        let changed = now.iter().filter(|(path, node)| before.get(*path).is_none_or(|old| node.differs(old)));
        let present = self.with_targets_and_parents(changed.map(|(path, node)| (path.clone(), node.is_symlink())));
        let mut deleted: Vec<PathBuf> = before.into_keys().filter(|path| is_topmost_deleted(path, &now)).collect();
        deleted.sort_unstable();
        self.files = Some(now);
        Ok(LayerPaths { present, deleted })
    }

    /// The layer for files that an instruction named itself, without a full look. Links above them are resolved.
    pub fn named(&mut self, paths: impl IntoIterator<Item = PathBuf>) -> Result<LayerPaths> {
        let real: Vec<_> = paths.into_iter().filter_map(|path| self.real_path(&path)).collect();
        let present = self.with_targets_and_parents(real);
        if self.files.is_some() {
            for path in &present {
                let node = Node::read(&self.on_disk(path))?;
                self.files.get_or_insert_default().insert(path.clone(), node);
            }
        }
        Ok(LayerPaths { present, deleted: Vec::new() })
    }

    /// With links in directories above resolved, and whether it is a link itself.
    fn real_path(&self, path: &Path) -> Option<(PathBuf, bool)> {
        let file = self.on_disk(path);
        let parent = file.parent()?.canonicalize().ok()?;
        let real = self.in_image(&parent.join(file.file_name()?))?;
        let link = self.on_disk(&real).symlink_metadata().ok()?.is_symlink();
        Some((real, link))
    }

    /// The paths, the final targets of links, all directories above; without what is ignored.
    fn with_targets_and_parents(&self, paths: impl IntoIterator<Item = (PathBuf, bool)>) -> Vec<PathBuf> {
        let mut all = BTreeSet::new();
        for (path, is_link) in paths {
            // A link that leads nowhere, through a file or to itself has no target that could be in the layer.
            let target = if is_link { self.on_disk(&path).canonicalize().ok().and_then(|t| self.in_image(&t)) } else { None };
            for path in [Some(path), target].into_iter().flatten() {
                if self.ignored.covers(&path) {
                    continue;
                }
                for path in path.ancestors().filter(|p| *p != Path::new("/")) {
                    if !all.insert(path.to_owned()) {
                        break;
                    }
                }
            }
        }
        all.into_iter().collect()
    }

    fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn in_image(&self, file: &Path) -> Option<PathBuf> {
        let below = file.strip_prefix(&self.root).ok()?;
        (!below.as_os_str().is_empty()).then(|| Path::new("/").join(below))
    }
}

/// Gone, while the directory it was in is still one. What was replaced by a file or link needs no whiteouts below.
fn is_topmost_deleted(path: &Path, now: &Files) -> bool {
    let parent = path.parent().unwrap_or(Path::new("/"));
    !now.contains_key(path) && (parent == Path::new("/") || now.get(parent).is_some_and(Node::is_directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    struct Fixture {
        dir: tempfile::TempDir,
        snapshots: Snapshots,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            for name in ["d/sub", "gone/y", "ignored"] {
                fs::create_dir_all(root.join(name)).unwrap();
            }
            for name in ["d/a", "d/b", "d/sub/c", "gone/x", "gone/y/z", "keep", "ignored/f"] {
                fs::write(root.join(name), name).unwrap();
            }
            symlink("keep", root.join("link")).unwrap();
            let mut snapshots = Snapshots::new(&root, Ignored::from_iter([PathBuf::from("/ignored")]));
            snapshots.look().unwrap();
            Self { dir, snapshots }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn changes(&mut self) -> (Vec<String>, Vec<String>) {
            texts(self.snapshots.changes().unwrap())
        }
    }

    fn texts(paths: LayerPaths) -> (Vec<String>, Vec<String>) {
        let texts = |list: Vec<PathBuf>| list.iter().map(|p| p.display().to_string()).collect();
        (texts(paths.present), texts(paths.deleted))
    }

    #[test]
    fn nothing_changed() {
        let mut f = Fixture::new();
        fs::read(f.path("d/a")).unwrap();
        fs::write(f.path("ignored/new"), "x").unwrap();
        assert_eq!(f.changes(), (vec![], vec![]));
    }

    #[test]
    fn content_behind_an_old_time_is_found_and_an_equal_file_is_not() {
        let mut f = Fixture::new();
        for (name, content) in [("d/a", "d/A"), ("d/b", "d/b")] {
            let times = fs::metadata(f.path(name)).unwrap().modified().unwrap();
            let parent = fs::metadata(f.path("d")).unwrap().modified().unwrap();
            fs::write(f.path("new"), content).unwrap();
            fs::rename(f.path("new"), f.path(name)).unwrap();
            fs::File::options().write(true).open(f.path(name)).unwrap().set_modified(times).unwrap();
            fs::File::open(f.path("d")).unwrap().set_modified(parent).unwrap();
        }
        assert_eq!(f.changes(), (vec!["/d".into(), "/d/a".into()], vec![]));
    }

    #[test]
    fn undone_changes_are_none_and_times_are_changes() {
        let mut f = Fixture::new();
        let mode = |m| fs::set_permissions(f.path("keep"), fs::Permissions::from_mode(m)).unwrap();
        mode(0o600);
        mode(0o644);
        assert_eq!(f.changes(), (vec![], vec![]));
        fs::File::open(f.path("d/sub")).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(5)).unwrap();
        assert_eq!(f.changes(), (vec!["/d".into(), "/d/sub".into()], vec![]));
    }

    #[test]
    fn one_whiteout_for_the_topmost_deleted_path() {
        let mut f = Fixture::new();
        fs::remove_dir_all(f.path("gone")).unwrap();
        fs::remove_dir_all(f.path("d/sub")).unwrap();
        fs::write(f.path("d/sub"), "now a file").unwrap();
        assert_eq!(f.changes(), (vec!["/d".into(), "/d/sub".into()], vec!["/gone".into()]));
    }

    #[test]
    fn a_directory_made_anew_whites_out_its_old_children() {
        let mut f = Fixture::new();
        fs::remove_dir_all(f.path("gone")).unwrap();
        fs::create_dir(f.path("gone")).unwrap();
        fs::write(f.path("gone/x"), "again").unwrap();
        assert_eq!(f.changes(), (vec!["/gone".into(), "/gone/x".into()], vec!["/gone/y".into()]));
    }

    #[test]
    fn changed_links_bring_their_targets_and_odd_links_do_not_fail() {
        let mut f = Fixture::new();
        for (target, name) in
            [("d/sub", "to-directory"), ("keep/x", "through-a-file"), ("loop", "loop"), ("ignored/f", "to-ignored")]
        {
            symlink(target, f.path(name)).unwrap();
        }
        let want = ["/d", "/d/sub", "/loop", "/through-a-file", "/to-directory", "/to-ignored"];
        assert_eq!(f.changes(), (want.map(String::from).to_vec(), vec![]));
    }

    #[test]
    fn named_files_are_no_change_afterwards() {
        let mut f = Fixture::new();
        symlink("d", f.path("linkdir")).unwrap();
        f.snapshots.look().unwrap();
        fs::write(f.path("d/new"), "x").unwrap();
        fs::write(f.path("ignored/new"), "x").unwrap();
        let named = f.snapshots.named(["/linkdir/new", "/ignored/new"].map(PathBuf::from)).unwrap();
        assert_eq!(texts(named), (vec!["/d".into(), "/d/new".into()], vec![]));
        assert_eq!(f.changes(), (vec![], vec![]));
    }
}
