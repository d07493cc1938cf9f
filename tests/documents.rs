//! The documents of the specifications in `spec-fixtures/documents`: all valid ones are read, and written byte for byte as
//! recorded; all invalid ones are refused with the line at fault.

use std::fs;
use std::path::{Path, PathBuf};

use lifecycle::api::{ApiVersion, BuildpackApi, PlatformApi};
use lifecycle::data::analyzed::Analyzed;
use lifecycle::data::build_metadata::{BuildMetadata, LauncherMetadata};
use lifecycle::data::build_plan::BuildPlan;
use lifecycle::data::cache_metadata::CacheMetadata;
use lifecycle::data::group::Group;
use lifecycle::data::launch_toml::{BuildToml, LaunchToml, legacy_bom_json};
use lifecycle::data::layer_toml::LayerToml;
use lifecycle::data::layers_metadata::{LayerSha, LayersMetadata, LayersMetadataCompat};
use lifecycle::data::order::Order;
use lifecycle::data::plan::Plan;
use lifecycle::data::project::ProjectMetadata;
use lifecycle::data::report::{ImageReport, Report, ReportedRunImage};
use lifecycle::data::run::{RunImageForExport, RunToml, StackToml};
use lifecycle::data::store::StoreToml;
use lifecycle::data::system::System;

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec-fixtures/documents")
}

fn valid(name: &str) -> String {
    fs::read_to_string(documents().join("valid").join(name)).unwrap()
}

fn written(name: &str) -> String {
    fs::read_to_string(documents().join("written").join(name)).unwrap()
}

fn platform(minor: u64) -> PlatformApi {
    PlatformApi::supported(ApiVersion::new(0, minor)).unwrap()
}

fn buildpack(minor: u64) -> BuildpackApi {
    BuildpackApi::supported(ApiVersion::new(0, minor)).unwrap()
}

#[test]
fn analyzed_toml() {
    let analyzed = Analyzed::parse(&valid("analyzed.toml")).unwrap();
    let text = analyzed.to_toml().unwrap();
    assert_eq!(text, written("analyzed.toml"));
    assert_eq!(Analyzed::parse(&text).unwrap(), analyzed);
    assert_eq!(Analyzed::parse("").unwrap(), Analyzed::default());
}

#[test]
fn lifecycle_metadata_label() {
    let metadata = Analyzed::parse(&valid("analyzed.toml")).unwrap().metadata;
    let label = metadata.to_json().unwrap();
    assert_eq!(label, written("lifecycle.metadata.json"));
    let again = LayersMetadata::from_json(&label).unwrap();
    assert_eq!(again.to_json().unwrap(), label);
    // Go writes null for lists that were never filled.
    let empty = LayersMetadata::default().to_json().unwrap();
    assert!(empty.starts_with(r#"{"app":null,"buildpacks":null,"config":{"sha":""},"#), "{empty}");
    assert_eq!(LayersMetadata::from_json(&empty).unwrap(), LayersMetadata::default());
}

#[test]
fn lifecycle_metadata_label_with_an_app_of_old() {
    let label = r#"{"app":{"sha":"sha256:old"},"buildpacks":null,"config":{"sha":"c"},"runImage":{"topLayer":"t"}}"#;
    assert!(LayersMetadata::from_json(label).is_err());
    let compat = LayersMetadataCompat::from_json(label).unwrap();
    assert_eq!(compat.rest.config.sha, "c");
    assert!(compat.to_json().unwrap().starts_with(r#"{"app":{"sha":"sha256:old"},"buildpacks":null,"config":{"sha":"c"}"#));
}

#[test]
fn cache_metadata() {
    let buildpacks = Analyzed::parse(&valid("analyzed.toml")).unwrap().metadata.buildpacks;
    let cache = CacheMetadata { sbom: LayerSha { sha: "s".into() }, buildpacks };
    let text = cache.to_json().unwrap();
    assert_eq!(text, written("cache.metadata.json"));
    assert_eq!(CacheMetadata::from_json(&text).unwrap().to_json().unwrap(), text);
    assert_eq!(CacheMetadata::default().to_json().unwrap(), r#"{"sbom":{"sha":""},"buildpacks":null}"#);
}

#[test]
fn group_toml() {
    let group = Group::parse(&valid("group.toml")).unwrap();
    assert!(group.extensions.iter().all(|e| e.extension && e.optional));
    let text = group.to_toml().unwrap();
    assert_eq!(text, written("group.toml"));
    assert_eq!(Group::parse(&text).unwrap(), group);
}

#[test]
fn plan_toml() {
    let plan = Plan::parse(&valid("plan.toml")).unwrap();
    let text = plan.to_toml().unwrap();
    assert_eq!(text, written("plan.toml"));
    assert_eq!(Plan::parse(&text).unwrap(), plan);
    assert_eq!(plan.requires_for("some/buildpack", false).len(), 2);
    assert_eq!(plan.requires_for("an/extension", false).len(), 0);
    assert_eq!(plan.without(&["plain".into()]).entries.len(), 1);
    assert_eq!(Plan::default().to_toml().unwrap(), "");
}

#[test]
fn metadata_toml_and_its_label() {
    for minor in [8, 9, 12] {
        let api = platform(minor);
        let mut metadata = BuildMetadata::parse(&valid("metadata.toml"), api).unwrap();
        let text = metadata.to_toml(api).unwrap();
        assert_eq!(text, written(&format!("metadata-0.{minor}.toml")));
        assert_eq!(BuildMetadata::parse(&text, api).unwrap(), metadata);
        metadata.launcher =
            LauncherMetadata { version: "1.2.3".into(), repository: "github.com/x/<y>".into(), commit: "abc".into() };
        assert_eq!(metadata.to_json(api).unwrap(), written(&format!("build.metadata-0.{minor}.json")));
    }
    assert_eq!(BuildMetadata::default().to_toml(platform(12)).unwrap(), "processes = []\n");
}

/// layer-protection-and-order.md §5.4: one more key, and only where an order was given.
#[test]
fn metadata_toml_with_ordered_layers() {
    let mut metadata = BuildMetadata::parse(&valid("metadata.toml"), platform(12)).unwrap();
    metadata.ordered_layers = vec![("other".into(), vec!["b".into(), "a".into()])];
    let text = metadata.to_toml(platform(12)).unwrap();
    let plain = written("metadata-0.12.toml");
    assert_eq!(text, plain.replace("  api = \"0.8\"\n", "  api = \"0.8\"\n  ordered-layers = [\"b\", \"a\"]\n"));
}

#[test]
fn report_toml() {
    let metadata = BuildMetadata::parse(&valid("report.toml").replace("[build]", "").replace("build.", ""), platform(8)).unwrap();
    let mut report = Report {
        build_bom: Some(metadata.bom),
        image: ImageReport {
            tags: vec!["registry.example.org/app".into(), "registry.example.org/app:v1".into()],
            image_id: "abc".into(),
            digest: "sha256:1111".into(),
            manifest_size: 1234,
        },
        run_image: None,
    };
    assert_eq!(report.to_toml().unwrap(), written("report.toml"));
    report.build_bom = Some(Vec::new());
    report.run_image = Some(ReportedRunImage {
        reference: "run@sha256:2222".into(),
        top_layer: "sha256:top".into(),
        export: RunImageForExport { image: "run".into(), mirrors: Vec::new() },
    });
    let text = report.to_toml().unwrap();
    assert!(text.starts_with("[image]\n"));
    // Tekton's task takes the digest with `grep digest | cut -d'"' -f2`.
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("digest")).collect();
    assert_eq!(lines, ["  digest = \"sha256:1111\""]);
}

#[test]
fn layer_toml() {
    let layer = LayerToml::parse(&valid("layer.toml"), Path::new("layer.toml")).unwrap();
    assert!(layer.launch && layer.cache && !layer.build);
    let text = layer.to_toml().unwrap();
    assert_eq!(text, written("layer.toml"));
    assert_eq!(LayerToml::parse(&text, Path::new("layer.toml")).unwrap().metadata, layer.metadata);
    assert_eq!(LayerToml::default().to_toml().unwrap(), "");

    let metadata: LayersMetadata = {
        let mut metadata = LayersMetadata::default();
        let mut buildpack = lifecycle::data::layers_metadata::BuildpackLayersMetadata::default();
        let layer = lifecycle::data::layers_metadata::LayerMetadata { sha: "sha256:x".into(), file: layer };
        buildpack.layers.insert("l".into(), layer);
        metadata.buildpacks.push(buildpack);
        metadata
    };
    let label = metadata.to_json().unwrap();
    assert!(label.contains(&written("layer.json")), "{label}");
}

/// nan and inf exist in TOML only: no label can hold them.
#[test]
fn layer_metadata_without_json_form() {
    for value in ["nan", "inf", "-inf"] {
        let text = format!("[[buildpacks]]\nkey = \"x\"\n[buildpacks.layers.l.metadata]\nv = {value}\n");
        let analyzed = Analyzed::parse(&text.replace("buildpacks", "metadata.buildpacks")).unwrap();
        assert!(analyzed.to_toml().unwrap().contains(&format!("v = {value}\n")));
        let error = analyzed.metadata.to_json().unwrap_err().to_string();
        assert!(error.starts_with("encode JSON: "), "{error}");
    }
}

#[test]
fn store_toml() {
    let store = StoreToml::parse(&valid("store.toml")).unwrap();
    assert_eq!(store.to_toml().unwrap(), written("store.toml"));
    assert_eq!(StoreToml::default().to_toml().unwrap(), "");
}

#[test]
fn project_metadata() {
    let project = ProjectMetadata::parse(&valid("project-metadata.toml")).unwrap();
    assert_eq!(project.to_json().unwrap(), written("project.metadata.json"));
    assert_eq!(ProjectMetadata::default().to_json().unwrap(), "{}");
}

#[test]
fn order_toml() {
    let order = Order::parse(&valid("order.toml")).unwrap();
    let ids: Vec<Vec<String>> = order.groups.iter().map(|g| g.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(ids, [vec!["some/buildpack@1.2.3", "other@2"], vec!["third@3"]]);
    assert!(order.groups[0][1].optional);
    assert_eq!(order.groups[0][1].exec_env, ["test"]);
    assert!(order.extension_groups[0][0].extension && order.extension_groups[0][0].optional);
}

#[test]
fn run_stack_and_system_toml() {
    let run = RunToml::parse(&valid("run.toml")).unwrap();
    assert_eq!(run.images.len(), 2);
    assert_eq!(StackToml::parse(&valid("stack.toml")).unwrap().run_image, run.images[0]);
    let system = System::parse(&valid("system.toml")).unwrap();
    assert_eq!((system.pre[0].id.as_str(), system.post[0].version.as_str()), ("first", "2"));
}

#[test]
fn launch_toml_and_build_toml() {
    let launch = LaunchToml::parse(&valid("launch.toml"), buildpack(9)).unwrap();
    assert_eq!(launch.processes[0].command, ["node", "server.js"]);
    assert!(launch.processes[0].direct && launch.processes[0].default);
    assert_eq!(
        legacy_bom_json(&launch.bom).unwrap(),
        "[{\"name\":\"node\",\"metadata\":{\"version\":\"20\"},\"buildpack\":{\"id\":\"\",\"version\":\"\"}}]\n"
    );
    assert_eq!(legacy_bom_json(&[]).unwrap(), "null\n");
    let old = LaunchToml::parse(&valid("launch-0.8.toml"), buildpack(8)).unwrap();
    assert_eq!(old.processes[0].command, ["node server.js"]);
    assert!(!old.processes[0].direct);
    assert!(LaunchToml::parse(&valid("launch.toml"), buildpack(8)).is_err());
    assert!(LaunchToml::parse(&valid("launch-0.8.toml"), buildpack(9)).is_err());
    let build = BuildToml::parse(&valid("build.toml")).unwrap();
    assert_eq!((build.unmet, build.bom.len()), (vec!["node".to_owned()], 1));
}

#[test]
fn build_plan() {
    let plan = BuildPlan::parse(&valid("build-plan.toml")).unwrap();
    assert_eq!(plan.sections.provides, ["node"]);
    assert_eq!(plan.or.len(), 2);
}

/// Every file of `invalid/` is named `<document>-<what>.toml` and begins with `# <message>`.
#[test]
fn invalid_documents_are_refused() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(documents().join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let result = match name.split('-').next().unwrap() {
            "analyzed" => Analyzed::read(&path).map(drop),
            "group" => Group::read(&path).map(drop),
            "order" => Order::read(&path).map(drop),
            "plan" => Plan::read(&path).map(drop),
            "run" => RunToml::read(&path).map(drop),
            "system" => System::read(&path).map(drop),
            "project" => ProjectMetadata::read(&path).map(drop),
            "metadata" => BuildMetadata::read(&path, platform(12)).map(drop),
            "layer" => LayerToml::read(&path).map(drop),
            "launch" => LaunchToml::read(&path, buildpack(9)).map(drop),
            "store" => StoreToml::read(&path).map(drop),
            other => panic!("{other}?"),
        };
        let error = result.expect_err(name).to_string().replace(path.to_str().unwrap(), "FILE");
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        if error != expected {
            wrong.push(format!("{name}: {error}"));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 15, "{seen}");
}

#[test]
fn missing_documents() {
    let path = Path::new("/nonexistent/file.toml");
    for (result, document) in
        [(Group::read(path).map(drop), "group"), (Order::read(path).map(drop), "order"), (Plan::read(path).map(drop), "plan")]
    {
        let expected = format!("failed to read {document} file: open /nonexistent/file.toml: no such file or directory");
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    assert_eq!(Analyzed::read(path).unwrap(), Analyzed::default());
    assert_eq!(RunToml::read(path).unwrap(), RunToml::default());
    assert_eq!(StackToml::read(path).unwrap(), StackToml::default());
    assert_eq!(System::read(path).unwrap(), System::default());
    assert_eq!(ProjectMetadata::read(path).unwrap(), ProjectMetadata::default());
    assert_eq!(LayerToml::read(path).unwrap(), LayerToml::default());
    assert_eq!(StoreToml::read(path).unwrap(), None);
}

/// Keys match whatever their case, as in the reference; names that people choose do not change.
#[test]
fn keys_in_any_case() {
    let layer = LayerToml::parse("[Types]\nLaunch = true\n[METADATA]\nKey = 1\nkey = 2\n", Path::new("layer.toml")).unwrap();
    assert!(layer.launch);
    assert_eq!(layer.to_toml().unwrap(), "[metadata]\n  Key = 1\n  key = 2\n");
    let order = Order::parse("[[Order]]\n[[Order.Group]]\nID = \"A/b\"\nVersion = \"1\"\nOptional = true\n").unwrap();
    assert_eq!(order.groups[0][0].to_string(), "A/b@1");
    assert!(order.groups[0][0].optional);
    let label = r#"{"Buildpacks":[{"Key":"a","layers":{"L":{"SHA":"s","Data":{"N":1}}}}],"RunImage":{"TopLayer":"t"}}"#;
    let metadata = LayersMetadata::from_json(label).unwrap();
    assert_eq!(metadata.buildpacks[0].layers["L"].sha, "s");
    assert_eq!(metadata.run_image.top_layer, "t");
    assert!(metadata.to_json().unwrap().contains(r#""data":{"N":1}"#));
    let error = Order::parse("[[ORDER]]\n[[ORDER.GROUP]]\nID = 1\n").unwrap_err().to_string();
    assert_eq!(error, "toml: line 3: invalid type: integer `1`, expected a string");
}
