use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn take(dir: &Path) -> Snapshot {
    Snapshot::take(dir, &|_| false).unwrap()
}

/// Makes a tree, changes it, and gives what the snapshots say.
fn changes(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir_all(at.join("x/sub")).unwrap();
    for file in ["x/f", "x/sub/g", "x.toml", "x-y"] {
        fs::write(at.join(file), "content").unwrap();
    }
    symlink("f", at.join("x/link")).unwrap();
    let before = take(at);
    before.let_time_pass();
    change(at);
    before.changes(&take(at)).iter().map(ToString::to_string).collect()
}

#[test]
fn each_kind_of_write_is_seen() {
    assert_eq!(changes(|_| ()), [""; 0]);
    assert_eq!(changes(|at| drop(fs::read(at.join("x/f")))), [""; 0]);
    assert_eq!(changes(|at| fs::write(at.join("x/new"), "").unwrap()), ["added x/new"]);
    assert_eq!(changes(|at| fs::write(at.join("x/f"), "longer content").unwrap()), ["modified x/f"]);
    assert_eq!(changes(|at| fs::remove_file(at.join("x/sub/g")).unwrap()), ["removed x/sub/g"]);
    assert_eq!(changes(|at| fs::remove_dir_all(at.join("x/sub")).unwrap()), ["removed x/sub", "removed x/sub/g"]);
    let renamed = changes(|at| fs::rename(at.join("x/f"), at.join("x/h")).unwrap());
    assert_eq!(renamed, ["removed x/f", "added x/h"]);
    let mode = |mode| move |at: &Path| fs::set_permissions(at.join("x/f"), fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(changes(mode(0o755)), ["modified x/f"]);
    let relinked = changes(|at| {
        fs::remove_file(at.join("x/link")).unwrap();
        symlink("g", at.join("x/link")).unwrap();
    });
    assert_eq!(relinked, ["touched x/link"]);
    assert_eq!(changes(|at| fs::hard_link(at.join("x/f"), at.join("x-z")).unwrap()), ["touched x/f", "added x-z"]);
}

/// The same size and the old mtime do not hide a write.
#[test]
fn forged_times_are_seen() {
    let forged = changes(|at| {
        let path = at.join("x/f");
        let mtime = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "CONTENT").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    });
    assert_eq!(forged, ["touched x/f"]);
}

#[test]
fn skipped_directories_are_entries_without_content() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("x/sub")).unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    assert_eq!(Snapshot::take(dir.path(), &|name| name == b"x").unwrap().len(), 2);
    assert_eq!(Snapshot::of_files(dir.path()).unwrap().len(), 1);
    assert!(take(&dir.path().join("absent")).is_empty());
}
