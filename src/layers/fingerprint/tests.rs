use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::layers::extract::extract_noting;
use crate::layers::slices::app_layers;
use crate::layers::verify::Verified;

struct Fixture {
    temp: TempDir,
    fingerprints: Fingerprints,
}

impl Fixture {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        fs::create_dir_all(temp.path().join("cache")).unwrap();
        fs::create_dir_all(temp.path().join("bp/layer/d")).unwrap();
        let fingerprints = Fingerprints::load(&temp.path().join("cache"));
        let fixture = Self { temp, fingerprints };
        fixture.write("big", &vec![1; 1 << 20]);
        fixture.write("d/f", b"content");
        fixture.write("d/g", b"content");
        symlink("f", fixture.path("d/l")).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("bp/layer").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn layer(&self) -> LayerSource {
        LayerSource::Directory { path: self.temp.path().join("bp/layer"), uid: 1, gid: 2 }
    }

    /// As the next process would see it.
    fn reload(&mut self) {
        self.fingerprints = Fingerprints::load(&self.temp.path().join("cache"));
    }

    fn learn(&mut self) -> DiffId {
        std::thread::sleep(Duration::from_millis(30));
        let diff_id = self.fingerprints.diff_id(&self.layer()).unwrap();
        self.fingerprints.save();
        self.reload();
        diff_id
    }
}

/// Bytes that this thread has read.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn what_is_unchanged_is_not_read() {
    let mut f = Fixture::new();
    let diff_id = f.learn();
    let before = bytes_read();
    assert_eq!(f.fingerprints.diff_id(&f.layer()).unwrap(), diff_id);
    assert!(bytes_read() - before < 10_000);
    // It is still known in the build after.
    f.fingerprints.save();
    f.reload();
    assert_eq!(f.fingerprints.lookup(&f.layer()), Some(diff_id));
    let other = LayerSource::Directory { path: f.temp.path().join("bp/layer"), uid: 1, gid: 3 };
    assert_eq!(f.fingerprints.lookup(&other), None, "the tar depends on the owner");
}

#[test]
fn slices_of_the_app_have_their_own() {
    let mut f = Fixture::new();
    std::thread::sleep(Duration::from_millis(30));
    let layers = || app_layers(&f.path(""), &[vec!["big".into()]], 1, 2).unwrap();
    let diff_ids: Vec<_> = layers().iter().map(|l| f.fingerprints.diff_id(l).unwrap()).collect();
    f.fingerprints.save();
    let layers = layers();
    f.reload();
    assert_eq!(f.fingerprints.lookup(&layers[0]), Some(diff_ids[0].clone()));
    assert_eq!(f.fingerprints.lookup(&layers[1]), None, "small");
}

/// What was written a moment ago may be written again within the same tick of the clock.
#[test]
fn what_was_just_written_is_not_trusted() {
    let mut f = Fixture::new();
    f.fingerprints.diff_id(&f.layer()).unwrap();
    f.fingerprints.save();
    f.reload();
    assert_eq!(f.fingerprints.lookup(&f.layer()), None);
}

#[test]
fn what_changes_while_it_is_read_is_not_remembered() {
    let mut f = Fixture::new();
    std::thread::sleep(Duration::from_millis(30));
    f.fingerprints.diff_id(&f.layer()).unwrap();
    f.write("d/f", b"CONTENT");
    f.fingerprints.save();
    f.reload();
    assert_eq!(f.fingerprints.lookup(&f.layer()), None);
}

#[test]
fn restored_layers_are_known_at_once() {
    let mut f = Fixture::new();
    let diff_id = f.layer().diff_id().unwrap();
    let mut tar = Vec::new();
    f.layer().write_tar(&mut tar).unwrap();
    for (change, known) in [(None, true), (Some("mode"), false), (Some("extra"), false), (Some("ancestor"), false)] {
        fs::remove_dir_all(f.path("")).unwrap();
        fs::set_permissions(f.temp.path().join("bp"), fs::Permissions::from_mode(0o755)).unwrap();
        match change {
            Some("mode") => {
                fs::create_dir(f.path("")).unwrap();
                fs::set_permissions(f.path(""), fs::Permissions::from_mode(0o711)).unwrap();
            }
            Some("extra") => {
                fs::create_dir(f.path("")).unwrap();
                f.write("extra", b"");
            }
            Some(_) => fs::set_permissions(f.temp.path().join("bp"), fs::Permissions::from_mode(0o700)).unwrap(),
            None => {}
        }
        let mut reader = Verified::new(&tar[..], diff_id.clone());
        let extracted = extract_noting(&mut reader, &f.path("")).unwrap();
        f.fingerprints.restored(&f.layer(), &diff_id, &extracted);
        f.fingerprints.save();
        f.reload();
        assert_eq!(f.fingerprints.lookup(&f.layer()), known.then(|| diff_id.clone()), "{change:?}");
        assert_eq!(f.layer().diff_id().unwrap() == diff_id, known, "{change:?}");
        f.write("d/f", b"other");
        assert_eq!(f.fingerprints.lookup(&f.layer()), None);
        let _ = fs::remove_file(f.temp.path().join("cache/.fingerprints"));
        f.reload();
    }
}

#[test]
fn damaged_records_are_none() {
    let mut f = Fixture::new();
    let diff_id = f.learn();
    let file = f.temp.path().join("cache/.fingerprints");
    let text = fs::read_to_string(&file).unwrap();
    for bad in ["", "\n", "sha256:", &text[..40], &text.replace(' ', "  "), &text.replace("sha256:", "sha512:")] {
        fs::write(&file, bad).unwrap();
        f.reload();
        assert_eq!(f.fingerprints.lookup(&f.layer()), None);
        assert_eq!(f.fingerprints.diff_id(&f.layer()).unwrap(), diff_id);
    }
}

/// A change of the tree. Times of modification are put back, so that they tell nothing.
#[derive(Clone, Debug)]
enum Change {
    Rewrite(u8),
    Append(u8),
    SwapFiles,
    Chmod(u16),
    NewFile(u8),
    Remove,
    Relink(u8),
    ReplaceBySame,
    Touch,
    ParentMode(u16),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Rewrite),
        any::<u8>().prop_map(Change::Append),
        Just(Change::SwapFiles),
        (0o400..0o777_u16).prop_map(Change::Chmod),
        any::<u8>().prop_map(Change::NewFile),
        Just(Change::Remove),
        any::<u8>().prop_map(Change::Relink),
        Just(Change::ReplaceBySame),
        Just(Change::Touch),
        (0o700..0o777_u16).prop_map(Change::ParentMode),
    ]
}

fn apply(f: &Fixture, change: &Change) {
    let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let (file, dir) = (f.path("d/f"), f.path("d"));
    let (file_time, dir_time) = (time(&file), time(&dir));
    match change {
        Change::Rewrite(byte) => f.write("d/f", &[*byte; 7]),
        Change::Append(byte) => {
            let _ = File::options().append(true).open(&file).and_then(|mut file| file.write_all(&[*byte]));
        }
        Change::SwapFiles => {
            let _ = fs::rename(&file, f.path("tmp"));
            let _ = fs::rename(f.path("d/g"), &file);
            let _ = fs::rename(f.path("tmp"), f.path("d/g"));
        }
        Change::Chmod(mode) => {
            let _ = fs::set_permissions(&file, fs::Permissions::from_mode((*mode).into()));
        }
        Change::NewFile(n) => f.write(&format!("d/new{n}"), b""),
        Change::Remove => {
            let _ = fs::remove_file(&file);
        }
        Change::Relink(n) => {
            let _ = fs::remove_file(f.path("d/l"));
            symlink(n.to_string(), f.path("d/l")).unwrap();
        }
        Change::ReplaceBySame => {
            let content = fs::read(&file).unwrap_or_default();
            let _ = fs::remove_file(&file);
            f.write("d/f", &content);
        }
        Change::Touch => {}
        Change::ParentMode(mode) => {
            fs::set_permissions(f.temp.path().join("bp"), fs::Permissions::from_mode((*mode).into())).unwrap();
        }
    }
    for (path, time) in [(&file, file_time), (&dir, dir_time)] {
        if let Ok(file) = File::open(path) {
            let _ = file.set_times(FileTimes::new().set_modified(time).set_accessed(time));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever is done to a tree, a diffID that is said to be unchanged is that of the files.
    #[test]
    fn never_wrong(before in any::<bool>(), changes in prop::collection::vec(change(), 0..4), settle in any::<bool>()) {
        let mut f = Fixture::new();
        if settle {
            std::thread::sleep(Duration::from_millis(30));
        }
        f.fingerprints.diff_id(&f.layer()).unwrap();
        if before {
            for change in &changes {
                apply(&f, change);
            }
        }
        f.fingerprints.save();
        f.reload();
        if !before {
            for change in &changes {
                apply(&f, change);
            }
        }
        if let Some(known) = f.fingerprints.lookup(&f.layer()) {
            prop_assert_eq!(&known, &f.layer().diff_id().unwrap());
            prop_assert!(settle);
        }
    }
}
