use serde_json::{Value, json};

use super::*;
use crate::image::layout::LayoutStore;
use crate::image::{MediaFamily, Platform};
use crate::layers::compression::Compression;
use crate::layers::source::LayerSource;

const APP: &str = "registry.local/app";
const RUN: &str = "registry.local/run";
const NEW: &str = "registry.local/run:new";

/// A layout directory with an app image on a run image, and a new run image.
struct World {
    dir: tempfile::TempDir,
    store: LayoutStore,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(dir.path().join("layout"), Platform::host(), Compression::default());
        let world = Self { dir, store };
        world.image(RUN, None, &["base"], |draft| draft.set_label("io.buildpacks.base.id", "old"));
        world.image(NEW, None, &["base", "patch"], |draft| {
            draft.config.json["variant"] = "v8".into();
            draft.set_label("io.buildpacks.base.id", "new");
            draft.set_label("io.buildpacks.stack.id", "s");
            draft.set_label("own", "of the run image");
            draft.set_env("PATH", "/new");
        });
        world.app(&json!({"image": RUN, "mirrors": [NEW]}), "0.12");
        world
    }

    /// The app image, made by this Platform API, with these names of its run image.
    fn app(&self, names: &Value, api: &str) {
        let base = self.open(RUN);
        let mut run_image = names.clone();
        run_image["topLayer"] = base.config.top_layer().unwrap().as_str().into();
        run_image["reference"] = "old".into();
        let label = json!({"app": {"sha": "of an old image"}, "runImage": run_image}).to_string();
        self.image(APP, Some(&base), &["app"], |draft| {
            draft.set_env("CNB_PLATFORM_API", api);
            draft.set_env("PATH", "/app");
            draft.set_label(LIFECYCLE_METADATA, &label);
            draft.set_entrypoint(&["/cnb/process/web"]);
        });
    }

    fn image(&self, name: &str, base: Option<&Arc<Image>>, layers: &[&str], edit: impl FnOnce(&mut ImageDraft)) {
        let mut draft = match base {
            Some(base) => ImageDraft::from_base(base).unwrap(),
            None => ImageDraft::empty("linux", "amd64", MediaFamily::Oci),
        };
        let writer = self.store.writer(&[name.into()], None).unwrap();
        for layer in layers {
            let path = self.dir.path().join(layer);
            std::fs::create_dir_all(&path).unwrap();
            draft.add_layer(writer.add_layer(&LayerSource::Directory { path, uid: 1, gid: 1 }, None).unwrap(), layer);
        }
        edit(&mut draft);
        writer.commit(&draft).unwrap();
    }

    fn open(&self, name: &str) -> Arc<Image> {
        self.store.open(name).unwrap().unwrap()
    }

    fn rebase(&self, minor: u64, run_image: &str, force: bool) -> Result<Report> {
        let inputs = Inputs {
            api: PlatformApi::supported(ApiVersion::new(0, minor)).unwrap(),
            force,
            app: &self.open(APP),
            run_image: &self.open(run_image),
            run_image_name: run_image,
            names: &[APP.into()],
            report_run_image: false,
        };
        rebase(&inputs, &self.store)
    }

    fn label(&self) -> Value {
        serde_json::from_str(self.open(APP).config.label(LIFECYCLE_METADATA).unwrap()).unwrap()
    }
}

/// platform.md, "Rebaser": labels and layers of the new run image, everything else of the app image.
#[test]
fn layers_of_the_app_on_the_new_run_image() {
    let world = World::new();
    let before = world.open(APP);
    let report = world.rebase(12, NEW, false).unwrap();
    let (after, new) = (world.open(APP), world.open(NEW));

    let mut expected = new.config.diff_ids();
    expected.push(before.config.top_layer().unwrap());
    assert_eq!(after.config.diff_ids(), expected);
    assert_eq!(after.config.entrypoint(), ["/cnb/process/web"]);
    assert_eq!(after.config.env("PATH"), Some("/app"));
    assert_eq!(after.config.label("io.buildpacks.base.id"), Some("new"));
    assert_eq!(after.config.label("io.buildpacks.stack.id"), Some("s"));
    assert_eq!(after.config.label("own"), None);
    assert_eq!((after.config.os(), after.config.variant()), ("linux", "v8"));
    let label = world.label();
    assert_eq!(label["runImage"]["topLayer"], new.config.top_layer().unwrap().as_str());
    assert_eq!(label["runImage"]["reference"], new.identifier.as_str());
    assert_eq!(label["app"]["sha"], "of an old image");
    assert_eq!(report.image.tags.len(), 1);
    assert_eq!(report.build_bom, None);
}

#[test]
fn below_0_12_labels_of_targets_stay_and_names_do_not_matter() {
    let world = World::new();
    world.app(&json!({"image": "other"}), "0.12");
    world.rebase(11, NEW, false).unwrap();
    assert_eq!(world.open(APP).config.label("io.buildpacks.base.id"), Some("old"));
    assert_eq!(world.label()["runImage"]["image"], "other");
}

#[test]
fn an_unlisted_run_image_is_refused_and_the_names_that_are_allowed_are_told() {
    let world = World::new();
    world.app(&json!({"image": "other", "mirrors": ["m1", "m2"]}), "0.12");
    let before = world.open(APP);
    let error = world.rebase(12, NEW, false).unwrap_err().to_string();
    for part in [
        "new base image 'registry.local/run:new' not found in existing run image metadata",
        "allowed are other, m1, m2",
        FORCE_HINT,
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(world.open(APP), before, "nothing is written");

    world.rebase(12, NEW, true).unwrap();
    assert_eq!(world.label()["runImage"]["image"], NEW);
    assert_eq!(world.label()["stack"]["runImage"], json!({"image": NEW}));
}

#[test]
fn images_of_older_platform_apis_are_checked_by_their_stack() {
    let world = World::new();
    world.app(&json!({"image": RUN, "mirrors": [NEW]}), "0.11");
    assert_eq!(world.rebase(12, NEW, true).unwrap_err().to_string(), "stack not defined on app image");
}

#[test]
fn an_image_whose_label_does_not_fit_its_layers_is_refused() {
    let world = World::new();
    world.image(APP, Some(&world.open(RUN)), &["app"], |draft| draft.set_env("CNB_PLATFORM_API", "0.12"));
    let error = world.rebase(12, NEW, false).unwrap_err().to_string();
    assert!(error.contains("could not find base layer in image"), "{error}");
}
