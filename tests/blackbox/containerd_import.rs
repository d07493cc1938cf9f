//! The archives that an engine with containerd is sent, imported by the real containerd. Debian has it with docker.io.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Fixture, fixture};
use crate::engine::Kind;
use crate::support::{skipped_without_root, spawn};

/// A containerd of this test's own. Namespaces do not see each other's blobs.
struct Containerd {
    dir: tempfile::TempDir,
    process: Child,
}

impl Containerd {
    /// `None` where it cannot run, which is said.
    fn start() -> Option<Self> {
        if skipped_without_root() {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("lifecycle-containerd.").tempdir().expect("create directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("config.toml"), "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").expect("write");
        let log = fs::File::create(path("log")).expect("create log");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(path("config.toml")).arg("--root").arg(path("root")).arg("--state").arg(path("state"));
        command.arg("--address").arg(path("sock")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if !["containerd", "ctr"].iter().all(|program| Command::new(program).arg("--version").output().is_ok()) {
            eprintln!("SKIP: containerd and ctr are not installed: archives are not imported by them");
            return None;
        }
        let mut containerd = Self { process: spawn(&mut command), dir };
        let start = Instant::now();
        while containerd.ctr("none", &["version"]).is_err() {
            let ended = containerd.process.try_wait().expect("wait");
            if ended.is_some() || start.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(containerd.dir.path().join("log")).unwrap_or_default();
                eprintln!("SKIP: containerd does not start here, archives are not imported by it:\n{log}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(containerd)
    }

    fn ctr(&self, namespace: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.path().join("sock")).args(["--namespace", namespace]).args(args);
        let output = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .wait_with_output()
            .expect("run ctr");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Imports and unpacks; images get the name `test/<name>@<digest>`.
    fn import(&self, namespace: &str, name: &str, archive: &[u8]) -> Result<String, String> {
        let path = self.file(&format!("{name}.tar"));
        fs::write(&path, archive).expect("write archive");
        let base = format!("test/{name}");
        let options = ["images", "import", "--snapshotter", "native", "--digests", "--base-name", &base];
        self.ctr(namespace, &[&options[..], &[path.to_str().expect("UTF-8")]].concat())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What `ctr images check` says of an image.
    fn check(&self, namespace: &str, name: &str) -> String {
        let all = self.ctr(namespace, &["images", "check", "--snapshotter", "native"]).expect("check images");
        all.lines().find(|line| line.starts_with(&format!("test/{name}@"))).unwrap_or_default().to_owned()
    }

    /// The image is there with all its blobs, is unpacked, and can be given out again.
    #[track_caller]
    fn assert_whole(&self, namespace: &str, name: &str, manifest: &str) {
        let line = self.check(namespace, name);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.first(), Some(&format!("test/{name}@sha256:{manifest}").as_str()));
        assert!(words.contains(&"complete") && words.last() == Some(&"true"), "{line}");
        let out = self.file("exported.tar");
        self.ctr(namespace, &["images", "export", out.to_str().expect("UTF-8"), words[0]]).expect("export");
        let exported = fs::read(out).expect("read");
        let mut names = Vec::new();
        for entry in tar::Archive::new(exported.as_slice()).entries().expect("tar") {
            names.push(entry.expect("entry").path().expect("name").to_string_lossy().into_owned());
        }
        assert!(names.contains(&format!("blobs/sha256/{manifest}")), "{names:?}");
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It has started nothing that would outlive it, and mounts nothing with the native snapshotter.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The archive that the engine was sent last.
fn last_archive(fixture: &Fixture) -> Vec<u8> {
    fixture.engine.loaded.lock().expect("bodies").pop().expect("an archive")
}

#[test]
fn containerd_takes_an_archive_with_what_it_lacks() {
    let Some(containerd) = Containerd::start() else { return };
    let fixture = fixture(Kind::Containerd);
    let run = fixture.engine.image("example.com/run:latest").expect("the run image").0;
    let run_archive = fixture.engine.store().save(&run);
    containerd.import("store", "run", &run_archive).expect("import the run image");
    containerd.assert_whole("store", "run", &run);

    fixture.create(&[]);
    let first = fixture.check();
    containerd.import("store", "app", &last_archive(&fixture)).expect("import");
    containerd.assert_whole("store", "app", &first);

    fixture.change();
    fixture.create(&[]).says("Reusing layer 'a/one:big'");
    let second = fixture.check();
    let changes = last_archive(&fixture);
    assert!(changes.len() < 60_000, "{} bytes", changes.len());
    containerd.import("store", "changed", &changes).expect("import");
    containerd.assert_whole("store", "changed", &second);

    // Where the rest is not there, that is noticed: the import fails, and no whole image is left.
    let error = containerd.import("empty", "changed", &changes).expect_err("an image without most of its layers");
    assert!(error.contains("not found"), "{error}");
    let line = containerd.check("empty", "changed");
    assert!(line.is_empty() || line.contains("incomplete"), "{line}");
}

#[test]
fn containerd_takes_a_whole_archive() {
    let Some(containerd) = Containerd::start() else { return };
    let fixture = fixture(Kind::OldContainerd);
    fixture.create(&[]);
    let id = fixture.check();
    containerd.import("empty", "app", &last_archive(&fixture)).expect("import");
    containerd.assert_whole("empty", "app", &id);
}
