use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::api::{ApiVersion, PlatformApi};
use crate::cache::{CacheWriter, StagedLayer};
use crate::data::build_metadata::{BuildMetadata, Process};
use crate::data::cache_metadata::CacheMetadata;
use crate::data::group::{Group, GroupElement};
use crate::data::layers_metadata::LayersMetadata;
use crate::data::project::ProjectMetadata;
use crate::data::run::RunImageForExport;
use crate::image::layout::LayoutStore;
use crate::image::{MediaFamily, Platform};
use crate::layers::compression::Compression;
use crate::layers::source::LayerSource;

const RUN: &str = "registry.local/run";

/// An app that was built: layers `both` (launch, cache), `cached` and `only` (launch) of one buildpack.
struct World {
    root: tempfile::TempDir,
    store: LayoutStore,
    build: BuildMetadata,
    api: u64,
    threads: usize,
    parallel: bool,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(root.path().join("layout"), Platform::host(), Compression::default());
        let process = Process { kind: "web".into(), command: vec!["x".into()], ..Process::default() };
        let build = BuildMetadata { processes: vec![process], ..BuildMetadata::default() };
        let world = Self { root, store, build, api: 12, threads: 1, parallel: false };
        for (path, content) in [
            ("app/main", "m"),
            ("launcher", "l"),
            ("layers/config/metadata.toml", ""),
            ("layers/a_one/both/f", "both"),
            ("layers/a_one/both.toml", "[types]\nlaunch = true\ncache = true\n"),
            ("layers/a_one/cached/f", "cached"),
            ("layers/a_one/cached.toml", "[types]\ncache = true\n"),
            ("layers/a_one/only/f", "only"),
            ("layers/a_one/only.toml", "[types]\nlaunch = true\n[metadata]\nk = 1\n"),
        ] {
            world.write(path, content);
        }
        let mut draft = ImageDraft::empty("linux", "amd64", MediaFamily::Oci);
        let writer = world.store.writer(&[RUN.into()], None).unwrap();
        let types = vec!["of the run image".into()];
        draft.add_layer(writer.add_layer(&LayerSource::ProcessTypes { types }, None).unwrap(), "base");
        draft.set_env("PATH", "/bin");
        draft.keep_history = true;
        writer.commit(&draft).unwrap();
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn open(&self, name: &str) -> Arc<Image> {
        self.store.open(name).unwrap().unwrap()
    }

    fn label(&self, name: &str) -> Value {
        serde_json::from_str(self.open(name).config.label(labels::LIFECYCLE_METADATA).unwrap()).unwrap()
    }

    /// Exports to `name`, over `previous`.
    fn export(&self, name: &str, previous: Option<&str>, cache: Option<&dyn Cache>) -> Result<Report> {
        let element = GroupElement { id: "a/one".into(), version: "1".into(), api: "0.12".into(), ..GroupElement::default() };
        let previous = previous.map(|name| self.open(name));
        let label = previous.as_ref().and_then(|image| image.config.label(labels::LIFECYCLE_METADATA));
        let inputs = Inputs {
            api: PlatformApi::supported(ApiVersion::new(0, self.api)).unwrap(),
            layers_dir: &self.path("layers"),
            app_dir: &self.path("app"),
            group: &Group { group: vec![element], extensions: Vec::new() },
            build: &self.build,
            project: &ProjectMetadata::default(),
            uid: 1,
            gid: 2,
            launcher: &self.path("launcher"),
            launcher_sbom: None,
            process_type: Some("web"),
            exec_env: "test",
            created: Some("2020-09-13T12:26:40Z"),
            names: &[name.into()],
            run_image: &self.open(RUN),
            run_image_names: &RunImageForExport { image: RUN.into(), mirrors: vec!["mirror".into()] },
            extended: None,
            use_extended_config: false,
            previous: previous.as_ref(),
            previous_metadata: &label.map_or_else(LayersMetadata::default, |l| LayersMetadata::from_json(l).unwrap()),
            parallel: self.parallel,
            threads: self.threads,
            discards_changes: false,
            report_run_image: false,
        };
        let exported = export(&inputs, &self.store, cache, None)?;
        let report = exported.report.clone();
        exported.write_cache();
        Ok(report)
    }
}

/// A cache that only notes what it is asked for.
#[derive(Default)]
struct Notes {
    old: CacheMetadata,
    notes: Arc<Mutex<Vec<String>>>,
    /// Beginning of the notes of acts that fail.
    broken: Option<&'static str>,
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}

struct NotesWriter {
    notes: Arc<Mutex<Vec<String>>>,
    broken: Option<&'static str>,
}

impl NotesWriter {
    fn note(&self, note: String) -> Result<()> {
        let broken = self.broken.is_some_and(|broken| note.starts_with(broken));
        self.notes.lock().unwrap().push(note);
        if broken { Err(Error::new("the cache is broken")) } else { Ok(()) }
    }
}

fn last(source: &LayerSource) -> String {
    let LayerSource::Directory { path, .. } = source else { panic!("{source:?} is cached") };
    path.file_name().unwrap().to_string_lossy().into_owned()
}

impl Cache for Notes {
    fn name(&self) -> String {
        "notes".into()
    }
    fn metadata(&self) -> Result<CacheMetadata> {
        Ok(self.old.clone())
    }
    fn read_layer(&self, _: &DiffId) -> Result<Box<dyn Read + Send>> {
        Err(Error::new("nothing is read while an image is exported"))
    }
    fn writer(&self) -> Result<Box<dyn CacheWriter>> {
        let writer = NotesWriter { notes: self.notes.clone(), broken: self.broken };
        writer.note("writer".into())?;
        Ok(Box::new(writer))
    }
}

impl CacheWriter for NotesWriter {
    fn add_layer(&self, source: &LayerSource) -> Result<DiffId> {
        self.note(format!("add {}", last(source)))?;
        source.diff_id()
    }
    fn stage(&self) -> Result<Option<Box<dyn StagedLayer>>> {
        self.note("stage".into())?;
        let staged = NotesWriter { notes: self.notes.clone(), broken: self.broken };
        Ok(Some(Box::new(Staged { writer: staged, bytes: 0 })))
    }
    fn add_exported(&self, source: &LayerSource, _: &LayerBlob, _: &str) -> Result<()> {
        self.note(format!("mount {}", last(source)))
    }
    fn reuse_layer(&self, diff_id: &DiffId) -> Result<()> {
        self.note(format!("reuse {diff_id}"))
    }
    fn commit(self: Box<Self>, metadata: &CacheMetadata) -> Result<()> {
        let layers: Vec<&str> = metadata.buildpacks[0].layers.keys().map(String::as_str).collect();
        self.note(format!("commit {}", layers.join(" ")))
    }
}

struct Staged {
    writer: NotesWriter,
    bytes: usize,
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StagedLayer for Staged {
    fn keep(self: Box<Self>, _: &DiffId) -> Result<()> {
        assert!(self.bytes >= 1024, "the whole tar has passed");
        self.writer.note("keep".into())
    }
}

/// platform.md, "Exporter", as far as one image can show it.
#[test]
fn what_an_exported_image_holds() {
    let world = World::new();
    let report = world.export("registry.local/app", None, None).unwrap();
    let (run, app) = (world.open(RUN), world.open("registry.local/app"));
    assert_eq!(app.config.diff_ids()[0], run.config.top_layer().unwrap());
    assert_eq!(app.config.diff_ids().len(), 1 + 2 + 1 + 3, "run image, layers, app, launcher, config, process types");
    assert_eq!(app.config.entrypoint(), ["/cnb/process/web"]);
    assert_eq!(app.config.cmd(), [""; 0]);
    assert_eq!(app.config.env("PATH"), Some("/cnb/process:/cnb/lifecycle:/bin"));
    assert_eq!(app.config.env("CNB_PLATFORM_API"), Some("0.12"));
    assert_eq!(app.config.working_dir(), world.path("app").to_str().unwrap());
    assert_eq!(app.config.created(), "2020-09-13T12:26:40Z");
    assert!(app.config.history().iter().all(|entry| entry.created == app.config.created()));
    let texts: Vec<String> = app.config.history().into_iter().map(|entry| entry.created_by).collect();
    assert_eq!(texts[..2], ["base", "Layer: 'both', Created by buildpack: a/one@1"]);
    assert_eq!(app.config.label(labels::EXEC_ENV), None, "since Platform API 0.15");

    let label = world.label("registry.local/app");
    let sha = |value: &Value| DiffId::parse(value["sha"].as_str().unwrap()).unwrap();
    let recorded = [
        &label["buildpacks"][0]["layers"]["both"],
        &label["buildpacks"][0]["layers"]["only"],
        &label["app"][0],
        &label["launcher"],
        &label["config"],
        &label["process-types"],
    ];
    assert_eq!(recorded.map(sha).as_slice(), &app.config.diff_ids()[1..]);
    assert_eq!(label["buildpacks"][0]["layers"]["only"]["data"]["k"], 1);
    assert_eq!(label["runImage"]["topLayer"], run.config.top_layer().unwrap().as_str());
    assert_eq!(label["runImage"]["mirrors"][0], "mirror");
    assert_eq!(label["stack"]["runImage"]["image"], RUN);
    assert_eq!(report.image.tags.len(), 1);
}

#[test]
fn older_platforms_get_no_texts_and_the_run_image_as_stack_only() {
    let world = World { api: 11, ..World::new() };
    world.export("registry.local/app", None, None).unwrap();
    let app = world.open("registry.local/app");
    assert!(app.config.history().iter().all(|entry| entry.created_by.is_empty()));
    let label = world.label("registry.local/app");
    assert_eq!(label["runImage"]["image"], Value::Null);
    assert_eq!(label["stack"]["runImage"]["image"], RUN);
}

/// platform.md, "Build Reproducibility".
#[test]
fn the_same_build_gives_the_same_image_however_many_threads_export_it() {
    let mut world = World::new();
    world.export("registry.local/one", None, None).unwrap();
    (world.threads, world.parallel) = (4, true);
    world.export("registry.local/two", None, Some(&Notes::default())).unwrap();
    assert_eq!(world.open("registry.local/one").digest, world.open("registry.local/two").digest);
}

#[test]
fn unchanged_layers_are_those_of_the_previous_image() {
    let world = World::new();
    world.export("registry.local/app", None, None).unwrap();
    let before = world.open("registry.local/app");
    world.write("layers/a_one/both/f", "changed");
    fs::remove_dir_all(world.path("layers/a_one/only")).unwrap();
    world.export("registry.local/app", Some("registry.local/app"), None).unwrap();
    let after = world.open("registry.local/app");
    let changed: Vec<usize> = (0..7).filter(|&i| before.config.diff_ids()[i] != after.config.diff_ids()[i]).collect();
    assert_eq!(changed, [1], "only the layer that was written again; the one without data came from the previous image");
}

#[test]
fn a_layer_for_launch_and_cache_is_read_once() {
    let world = World::new();
    let cache = Notes::default();
    world.export("registry.local/app", None, Some(&cache)).unwrap();
    assert_eq!(cache.take(), ["writer", "stage", "keep", "add cached", "commit both cached"]);
}

#[test]
fn what_the_old_cache_has_is_reused() {
    let world = World::new();
    let mut cache = Notes::default();
    world.export("registry.local/app", None, Some(&cache)).unwrap();
    cache.take();
    let both = world.label("registry.local/app")["buildpacks"][0].clone();
    let entry = format!(r#"{{"buildpacks":[{both}]}}"#);
    cache.old = CacheMetadata::from_json(&entry).unwrap();
    world.export("registry.local/app", Some("registry.local/app"), Some(&cache)).unwrap();
    let sha = both["layers"]["both"]["sha"].as_str().unwrap();
    assert_eq!(cache.take(), ["writer".into(), format!("reuse {sha}"), "add cached".into(), "commit both cached".into()]);
}

/// A cache never fails a build: whatever it cannot do, the image is there.
#[test]
fn a_broken_cache_costs_only_the_cache() {
    for broken in ["writer", "stage", "keep", "add", "commit"] {
        let world = World::new();
        let cache = Notes { broken: Some(broken), ..Notes::default() };
        world.export("registry.local/app", None, Some(&cache)).unwrap_or_else(|error| panic!("{broken}: {error}"));
        world.open("registry.local/app");
        let notes = cache.take();
        let committed = notes.last().unwrap().as_str();
        let want = match broken {
            "writer" => "writer",
            "keep" => "commit cached",
            "add" => "commit both",
            _ => "commit both cached",
        };
        assert_eq!(committed, want, "{broken}: {notes:?}");
    }
}

#[test]
fn nothing_is_cached_when_the_export_fails() {
    let world = World::new();
    fs::remove_file(world.path("launcher")).unwrap();
    let cache = Notes::default();
    let error = world.export("registry.local/app", None, Some(&cache)).unwrap_err().to_string();
    assert!(error.contains("failed to stat launcher at path") && error.contains("no such file"), "{error}");
    assert!(!cache.take().iter().any(|note| note.starts_with("commit")));
    assert_eq!(world.store.open("registry.local/app").unwrap(), None);
}

#[test]
fn the_sbom_of_launch_layers_is_a_layer_and_that_of_cached_ones_is_cached() {
    let world = World::new();
    world.write("layers/sbom/launch/a_one/sbom.cdx.json", "{}");
    world.write("layers/sbom/cache/a_one/cached/sbom.cdx.json", "{}");
    let cache = Notes::default();
    world.export("registry.local/app", None, Some(&cache)).unwrap();
    assert!(world.label("registry.local/app")["sbom"]["sha"].is_string());
    assert!(cache.take().contains(&"add cache".to_owned()));
}

/// image_extension.md: layers that extensions made lie between those of the run image and of buildpacks.
#[test]
fn an_extended_run_image_is_read_with_the_layers_that_are_there() {
    let world = World::new();
    let dir = world.path("extended");
    assert!(ExtendedRunImage::read(&dir).unwrap().is_none());
    let layout = world.path("layout/registry.local/run/latest");
    let copy = dir.join("run/sha256:abc");
    copy_dir(&layout, &copy);
    let extended = ExtendedRunImage::read(&dir).unwrap().unwrap();
    assert_eq!(extended.layers.len(), 1);
    assert_eq!(extended.layers[0].1, "base");
    fs::remove_file(&extended.layers[0].0).unwrap();
    assert!(ExtendedRunImage::read(&dir).unwrap().unwrap().layers.is_empty(), "a layer of the run image itself");
    copy_dir(&layout, &dir.join("run/sha256:def"));
    let error = ExtendedRunImage::read(&dir).unwrap_err().to_string();
    assert!(error.contains("to have only 1 item; found 2"), "{error}");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy_dir(&entry.path(), &to) } else { fs::copy(entry.path(), to).map(drop).unwrap() }
    }
}
