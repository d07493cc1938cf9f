//! Dockerfiles without `RUN`, applied to a directory instead of a container's root.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::super::blob::Blob;
use super::super::cache::LayerCache;
use super::super::ignored::Ignored;
use super::super::snapshot::Snapshots;
use super::super::working_image::WorkingImage;
use super::{Recipe, Workshop};
use crate::error::Result;
use crate::image::Digest;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    /// A base image with one layer, and a root with a user.
    fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        for directory in ["root/etc", "context/dir", "kaniko", "base/blobs/sha256"] {
            fs::create_dir_all(fixture.path(directory)).unwrap();
        }
        fs::write(fixture.path("root/etc/passwd"), "cnb:x:1000:1000::/home/cnb:/bin/sh\n").unwrap();
        fs::write(fixture.path("context/file"), "file").unwrap();
        fs::write(fixture.path("context/dir/inner"), "inner").unwrap();
        let layer = Digest::of(b"layer");
        let config = json!({"architecture": "amd64", "os": "linux", "created": "1980-01-01T00:00:01Z",
            "config": {"User": "cnb", "Env": ["BASE=base"], "OnBuild": ["ENV TRIGGERED=yes"], "Cmd": ["base"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.as_str()]}, "history": [{"created_by": "base"}]});
        let config = fixture.blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 5, "digest": layer.as_str()}]});
        let manifest = fixture.blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        fs::write(fixture.path("base/index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
        fixture
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> serde_json::Value {
        let digest = Digest::of(bytes);
        fs::write(self.path("base/blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "size": bytes.len(), "digest": digest.as_str()})
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn apply(&self, dockerfile: &str, args: &[(&str, &str)]) -> Result<WorkingImage> {
        let path = self.path("Dockerfile");
        fs::write(&path, format!("ARG base_image\nFROM ${{base_image}}\n{dockerfile}")).unwrap();
        let mut workshop = Workshop {
            program: PathBuf::from("/no/program"),
            scratch: self.path("kaniko"),
            snapshots: Snapshots::new(&self.path("root"), Ignored::from_iter([PathBuf::from("/ignored")])),
            cache: LayerCache::open(&self.path("kaniko/cache"), Duration::from_secs(60)).unwrap(),
            empty: Blob::empty().unwrap(),
            download: &|_, file| {
                std::io::Write::write_all(file, b"downloaded").unwrap();
                Ok(None)
            },
        };
        let args = args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let recipe = Recipe { path, extension: "ext".into(), args, context: self.path("context") };
        let mut image = WorkingImage::read(&self.path("base"))?;
        workshop.apply(&recipe, &mut image)?;
        Ok(image)
    }

    fn error(&self, dockerfile: &str) -> String {
        let error = self.apply(dockerfile, &[]).unwrap_err().to_string();
        error.replace(&format!("{} ", self.path("Dockerfile").display()), "")
    }

    /// Names in the new layers that are not empty.
    fn layers(image: &WorkingImage) -> Vec<Vec<String>> {
        let names = |blob: &Blob| {
            let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(blob.open().unwrap()));
            tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect::<Vec<_>>()
        };
        image.new_layers().iter().map(names).filter(|names| !names.is_empty()).collect()
    }
}

fn runs_as_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: only root may give files away");
    }
    root
}

const MANY: &str = "\
ARG name=default
ENV A=1 B=$BASE-$TRIGGERED
LABEL a='$A' b=\"$A\"
COPY file /copied/$name
WORKDIR /work
COPY dir sub
ADD http://host/dir/remote?x /work/
COPY file /ignored/
COPY <<EOT /heredoc
$A
EOT
USER 0
ENTRYPOINT [\"x\"]
";

#[test]
fn every_instruction_makes_a_layer() {
    if !runs_as_root() {
        return;
    }
    let f = Fixture::new();
    let image = f.apply(MANY, &[("name", "given")]).unwrap();
    let config = &image.config.json["config"];
    assert_eq!(config["Env"], json!(["BASE=base", "TRIGGERED=yes", "A=1", "B=base-yes"]));
    assert_eq!(config["Labels"], json!({"a": "$A", "b": "1"}));
    assert_eq!((&config["User"], &config["WorkingDir"], &config["Entrypoint"]), (&json!("0"), &json!("/work"), &json!(["x"])));
    assert!(config["OnBuild"].is_null() && config["Cmd"].is_null());
    // Eleven instructions and a trigger on one layer.
    assert_eq!((image.base_layer_count(), image.new_layers().len()), (1, 12));
    let want = [
        vec!["copied", "copied/given"],
        vec!["work"],
        vec!["work", "work/sub", "work/sub/inner"],
        vec!["work", "work/remote"],
        vec!["heredoc"],
    ];
    assert_eq!(Fixture::layers(&image), want);
    assert_eq!(fs::read_to_string(f.path("root/heredoc")).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(f.path("root/work/remote")).unwrap(), "downloaded");
    assert!(f.path("root/ignored/file").exists());
    assert_eq!(fs::read_dir(f.path("kaniko")).unwrap().count(), 1, "nothing but the cache is left");
}

#[test]
fn the_second_time_layers_come_from_the_cache() {
    if !runs_as_root() {
        return;
    }
    let f = Fixture::new();
    let first = f.apply(MANY, &[]).unwrap();
    for name in ["copied", "work", "heredoc"] {
        let path = f.path("root").join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let second = f.apply(MANY, &[]).unwrap();
    assert_eq!(second.digest().unwrap(), first.digest().unwrap());
    assert_eq!(fs::read_to_string(f.path("root/work/sub/inner")).unwrap(), "inner");
    // Another value of a variable, another text of a here-document.
    assert!(f.apply(MANY, &[("name", "other")]).is_ok() && f.path("root/copied/other").exists());
    f.apply(&MANY.replace("\n$A\n", "\nnew\n"), &[]).unwrap();
    assert_eq!(fs::read_to_string(f.path("root/heredoc")).unwrap(), "new\n");
}

#[test]
fn errors_name_file_and_line() {
    let f = Fixture::new();
    for (dockerfile, want) in [
        ("ENV A=1\nCOPY --from=x a b\n", "line 4: COPY --from is not supported"),
        ("FROM two\n", "line 3: only one FROM instruction is supported"),
        (
            "ENV A=\"1\n",
            "line 3: ENV A=\"1: failed to process \"\\\"1\": unexpected end of statement while looking for matching double-quote",
        ),
        (
            "ADD --checksum=sha256:00 http://h/f /f\n",
            "line 3: ADD --checksum=sha256:00 http://h/f /f: http://h/f has the checksum sha256:",
        ),
        ("COPY --chmod=x file /f\n", "line 3: COPY --chmod=x file /f: --chmod: \"x\" is not an octal mode"),
        ("EXPOSE http\n", "line 3: EXPOSE http: invalid containerPort: http"),
    ] {
        let got = f.error(dockerfile);
        assert!(got.starts_with(want), "{dockerfile}: {got}");
    }
    assert!(f.error("NOPE x\n").ends_with("dockerfile parse error on line 3: unknown instruction: NOPE"));
    let missing = f.error("COPY nothing /x\n");
    assert!(missing.starts_with("line 3: COPY nothing /x: failed to get files used from context"), "{missing}");
}

#[test]
fn from_scratch_starts_from_nothing() {
    let f = Fixture::new();
    let mut image = WorkingImage::read(&f.path("base")).unwrap();
    image.clear();
    image.add_layer(Blob::empty().unwrap(), "ENV A=1");
    image.name_history(|text| format!("named '{text}'"));
    assert_eq!(history(&image), ["named 'ENV A=1'"]);
    assert_eq!(image.config.json["config"], json!({}));
}

#[test]
fn texts_are_named_once_and_texts_of_the_base_stay() {
    let f = Fixture::new();
    let mut image = WorkingImage::read(&f.path("base")).unwrap();
    for name in ["one", "two"] {
        image.add_layer(Blob::empty().unwrap(), "ENV A=1");
        image.name_history(|text| format!("{name} '{text}'"));
    }
    assert_eq!(history(&image), ["base", "one 'ENV A=1'", "two 'ENV A=1'"]);
}

fn history(image: &WorkingImage) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_slice(&image.encode().unwrap().config).unwrap();
    let entries = config["history"].as_array().unwrap().iter();
    entries.map(|entry| entry["created_by"].as_str().unwrap_or_default().to_owned()).collect()
}
