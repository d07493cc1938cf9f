//! What platform.md 0.15 ("P") says that the lifecycle MUST do with images and with the files between phases, clause by
//! clause: analyzer, restorer, exporter, rebaser. Each test quotes its clause.

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, sha256, skipped_without_root};

/// A launch layer, a cached layer, SBOM files, a process, a store.
const BUILD: &str = r#"
cd "$CNB_LAYERS_DIR"
mkdir -p launched/bin cached
echo l > launched/bin/l; echo c > cached/c
printf '[types]\nlaunch = true\n[metadata]\nkey = "value"\n' > launched.toml
printf '[types]\ncache = true\n' > cached.toml
for name in launch build launched; do echo '{"bomFormat":"CycloneDX"}' > $name.sbom.cdx.json; done
printf '[[processes]]\ntype = "web"\ncommand = ["l"]\ndefault = true\n[[processes]]\ntype = "other"\ncommand = ["o"]\n' > launch.toml
printf '[metadata]\nkept = "yes"\n' > store.toml
"#;

/// SBOM files are validated, those of the previous build, too.
const SBOM: &str = "sbom-formats = [\"application/vnd.cyclonedx+json\"]\n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run_image();
    sandbox.write("cnb/run.toml", "[[images]]\nimage = \"example.com/run\"\nmirrors = [\"mirror.example/run\"]\n");
    sandbox.buildpack_toml("a/one", "0.12", SBOM, "exit 0", BUILD);
    sandbox.order(&[&["a/one"]]);
    sandbox.write("app/main.txt", "hello\n");
    sandbox.own("app");
    sandbox
}

fn layout<'a>(sandbox: &'a Sandbox, phase: &str) -> Run<'a> {
    let dir = sandbox.path("layout");
    sandbox.phase(phase).args(["-layout", "-layout-dir"]).args([dir])
}

/// An image `example.com/app` and the cache of its build; the layers directory is as an analyzer of the next build finds it.
fn built() -> Sandbox {
    let sandbox = sandbox();
    let cache = sandbox.path("cache");
    sandbox.creator().args(["-cache-dir"]).args([cache]).args(["example.com/app"]).run().success();
    sandbox
}

fn clear_layers(sandbox: &Sandbox) {
    std::fs::remove_dir_all(sandbox.path("layers")).expect("remove layers");
    std::fs::create_dir(sandbox.path("layers")).expect("create layers");
    sandbox.own("layers");
}

fn analyzed(sandbox: &Sandbox) -> toml::Value {
    toml::from_str(&sandbox.read("layers/analyzed.toml")).expect("TOML")
}

fn label(config: &Value, name: &str) -> Value {
    serde_json::from_str(config["config"]["Labels"][name].as_str().unwrap_or_else(|| panic!("no label {name}"))).expect("JSON")
}

/// P "Analyzer": "`<image>` MUST be a valid image reference"; "each `<tag>` MUST be a valid image reference".
#[test]
fn output_names_are_valid_references() {
    let sandbox = sandbox();
    for args in [&["Not A Reference"][..], &["-tag", "Not A Reference", "example.com/app"]] {
        let outcome = sandbox.phase("analyzer").args(["-run-image", "example.com/run"]).args(args).run().says("Not A Reference");
        assert_ne!(outcome.code, Some(0), "{args:?}");
    }
}

/// P "Analyzer": "each `<tag>` MUST refer to the same registry as `<image>`"; P "Exporter" and "Creator": "the images MUST
/// refer to the same registry".
#[test]
fn output_names_are_of_one_registry() {
    let sandbox = sandbox();
    let analyzer =
        sandbox.phase("analyzer").args(["-run-image", "127.0.0.1:1/run", "-tag", "127.0.0.1:2/app", "127.0.0.1:1/app"]);
    analyzer.run().code(3).says("writing to multiple registries is unsupported");
    let creator = sandbox.phase("creator").args(["-run-image", "127.0.0.1:1/run", "-tag", "127.0.0.1:2/app", "127.0.0.1:1/app"]);
    creator.run().code(3).says("writing to multiple registries is unsupported");
}

/// P "Analyzer": "If `<layout>` is `true`, `<layout-dir>` MUST be provided".
#[test]
fn a_layout_needs_its_directory() {
    let sandbox = sandbox();
    let outcome = sandbox.phase("analyzer").args(["-layout", "-run-image", "example.com/run", "example.com/app"]).run();
    outcome.code(3).says("layout");
}

/// P "Analyzer": "MUST accept valid references to non-existent `<previous-image>`, `<cache-image>`, and `<image>` without
/// error"; "MUST resolve the run image from the contents of `run`"; "`run-image` MUST describe the `<run-image>`".
#[test]
fn a_first_build_is_analyzed() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    layout(&sandbox, "analyzer").args(["-previous-image", "example.com/before", "example.com/app"]).run().success();
    let analyzed = analyzed(&sandbox);
    assert_eq!(analyzed["image"]["reference"].as_str(), Some(""), "{analyzed:?}");
    assert!(analyzed["run-image"]["image"].as_str().is_some_and(|i| i.contains("example.com/run")), "{analyzed:?}");
    assert_eq!(analyzed["run-image"]["target"]["os"].as_str(), Some("linux"));
}

/// P "Analyzer": "or fail if `run` does not contain a valid run image".
#[test]
fn without_any_run_image_analysis_fails() {
    let sandbox = sandbox();
    sandbox.write("cnb/run.toml", "");
    let outcome = layout(&sandbox, "analyzer").args(["example.com/app"]).run();
    assert_ne!(outcome.code, Some(0), "{}", outcome.stdout);
}

/// P "Analyzer": "`image` MUST describe the `<previous-image>`, if accessible"; P "analyzed.toml": "`previous-image.metadata`
/// MUST be the TOML representation of the layer metadata label".
#[test]
fn the_previous_image_is_described() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    clear_layers(&sandbox);
    layout(&sandbox, "analyzer").args(["example.com/app"]).run().success();
    let analyzed = analyzed(&sandbox);
    assert!(analyzed["image"]["reference"].as_str().is_some_and(|r| r.contains("example.com/app")), "{analyzed:?}");
    let label = label(&sandbox.layout_read("example.com/app").0, "io.buildpacks.lifecycle.metadata");
    let sha = |value: &Value| value["buildpacks"][0]["layers"]["launched"]["sha"].as_str().map(ToOwned::to_owned);
    assert!(sha(&label).is_some(), "{label}");
    assert_eq!(analyzed["metadata"]["buildpacks"][0]["layers"]["launched"]["sha"].as_str().map(ToOwned::to_owned), sha(&label));
    assert_eq!(analyzed["metadata"]["app"][0]["sha"].as_str(), label["app"][0]["sha"].as_str());
}

/// P "Analyzer": "If `<skip-layers>` is `true` the lifecycle MUST NOT restore the SBOM layer (if any) from the previous image".
#[test]
fn skipped_layers_leave_the_sbom_alone() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    for (skip, restored) in [("-skip-layers=true", false), ("-skip-layers=false", true)] {
        clear_layers(&sandbox);
        layout(&sandbox, "analyzer").args([skip, "example.com/app"]).run().success();
        assert_eq!(sandbox.exists("layers/sbom/launch"), restored, "{skip}");
    }
}

/// P "Restorer": "if persistent metadata for that buildpack exists in the analysis metadata, lifecycle MUST write a toml
/// representation of the persistent metadata to `<layers>/<buildpack-id>/store.toml`"; "MUST perform layer restoration for any
/// app image layers or cached layers created by any buildpack present in the provided `<group>`"; "MUST use the provided
/// `cache-dir`".
#[test]
fn store_and_layers_of_the_group_come_back() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    let group = sandbox.read("layers/group.toml");
    let cache = sandbox.path("cache");
    for (skip, restored) in [(false, true), (true, false)] {
        clear_layers(&sandbox);
        layout(&sandbox, "analyzer").args(["example.com/app"]).run().success();
        sandbox.write("layers/group.toml", &group);
        let restorer = layout(&sandbox, "restorer").args(["-cache-dir"]).args([&cache]);
        let restorer = if skip { restorer.args(["-skip-layers"]) } else { restorer };
        restorer.run().success();
        assert!(sandbox.read("layers/a_one/store.toml").contains("kept = \"yes\""));
        // "If `<skip-layers>` is `true` the lifecycle MUST NOT perform layer restoration."
        assert_eq!(sandbox.exists("layers/a_one/cached/c"), restored, "skip: {skip}");
        assert_eq!(sandbox.exists("layers/a_one/launched.toml"), restored, "skip: {skip}");
        assert!(!sandbox.exists("layers/a_one/launched"), "a launch layer that is not cached has no contents");
    }
}

/// P "Exporter": the app image "MUST be based on the `run-image` in analyzed.toml", "MUST contain all buildpack-provided launch
/// layers", the SBOM layer, "one or more app layers", "one or more launcher layers", "a layer that includes
/// `<layers>/config/metadata.toml`"; P "io.buildpacks.lifecycle.metadata": each `sha` "MUST contain the digest of the
/// uncompressed layer", "`runImage.topLayer` MUST contain the uncompressed digest of the top layer of the run-image".
#[test]
fn the_image_has_its_layers_and_the_label_names_them() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    let (config, _) = sandbox.layout_read("example.com/app");
    let (run, _) = sandbox.layout_read("example.com/run");
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff_ids");
    assert_eq!(diff_ids[0], run["rootfs"]["diff_ids"][0]);
    let label = label(&config, "io.buildpacks.lifecycle.metadata");
    assert_eq!(label["runImage"]["topLayer"], diff_ids[0]);
    assert_eq!(label["runImage"]["image"], json!("example.com/run"));
    assert_eq!(label["runImage"]["mirrors"], json!(["mirror.example/run"]));
    // P: "Where `stack` MUST contain the same data as the top-level `runImage` key."
    assert_eq!(label["stack"]["runImage"]["image"], label["runImage"]["image"]);
    let buildpack = &label["buildpacks"][0];
    assert_eq!((&buildpack["key"], &buildpack["version"]), (&json!("a/one"), &json!("1.0")));
    assert_eq!(buildpack["layers"].as_object().map(|l| l.keys().cloned().collect::<Vec<_>>()), Some(vec!["launched".to_owned()]));
    let shas = [
        &buildpack["layers"]["launched"],
        &label["sbom"],
        &label["app"][0],
        &label["launcher"],
        &label["config"],
        &label["process-types"],
    ];
    for sha in shas {
        assert!(diff_ids.contains(&sha["sha"]), "{sha} is not in {diff_ids:?}");
    }
    assert_eq!(diff_ids.len(), 1 + shas.len());
}

/// P "Exporter": "MUST contain the following `Env` entries"; "MUST have the working directory set to the value of `<app>`";
/// "MUST contain the following labels"; "`processes` MUST contain all buildpack contributed processes".
#[test]
fn the_config_says_how_to_run_it() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    let (config, _) = sandbox.layout_read("example.com/app");
    let env = config["config"]["Env"].as_array().expect("Env");
    let layers = sandbox.path("layers");
    let app = sandbox.path("app");
    for (name, value) in [("CNB_LAYERS_DIR", layers.display().to_string()), ("CNB_APP_DIR", app.display().to_string())] {
        assert!(env.contains(&json!(format!("{name}={value}"))), "{name} in {env:?}");
    }
    let path = env.iter().filter_map(Value::as_str).find_map(|e| e.strip_prefix("PATH=")).expect("PATH");
    assert!(path.starts_with("/cnb/process:/cnb/lifecycle:"), "{path}");
    assert_eq!(config["config"]["WorkingDir"], json!(app));
    for name in ["io.buildpacks.lifecycle.metadata", "io.buildpacks.project.metadata"] {
        assert!(label(&config, name).is_object());
    }
    let build = label(&config, "io.buildpacks.build.metadata");
    let types: Vec<_> = build["processes"].as_array().expect("processes").iter().map(|p| p["type"].clone()).collect();
    assert_eq!(types, [json!("other"), json!("web")]);
    assert_eq!(build["buildpacks"][0]["id"], json!("a/one"));
}

/// P "Exporter": entry points: "MUST have `ENTRYPOINT=/cnb/process/<process-type>`", if there is no such process "MUST fail",
/// "MUST have `ENTRYPOINT=/cnb/process/<buildpack-default-process-type>`", else "MUST have `ENTRYPOINT` set to
/// `/cnb/lifecycle/launcher`".
#[test]
fn the_entrypoint_is_the_process_asked_for() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    let entrypoint = || sandbox.layout_read("example.com/app").0["config"]["Entrypoint"].clone();
    sandbox.creator().args(["-process-type", "other", "example.com/app"]).run().success();
    assert_eq!(entrypoint(), json!(["/cnb/process/other"]));
    sandbox.creator().args(["-process-type", "missing", "example.com/app"]).run().code(62).says("missing");
    sandbox.creator().args(["example.com/app"]).run().success();
    assert_eq!(entrypoint(), json!(["/cnb/process/web"]));
    sandbox.buildpack_toml("a/one", "0.12", SBOM, "exit 0", "exit 0");
    clear_layers(&sandbox);
    sandbox.creator().args(["example.com/app"]).run().success();
    assert_eq!(entrypoint(), json!(["/cnb/lifecycle/launcher"]));
}

/// P "Exporter": "`<layers>/sbom/launch/<buildpack-id>/sbom.<ext>` MUST contain the buildpack-provided `launch` SBOM",
/// "`<layers>/sbom/launch/<buildpack-id>/<layer-id>/sbom.<ext>` MUST contain the buildpack-provided layer SBOM", "`<layers>/sbom/
/// build/<buildpack-id>/sbom.<ext>` MUST contain the buildpack-provided `build` SBOM".
#[test]
fn sbom_files_have_their_places() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    for name in ["launch/a_one/sbom.cdx.json", "launch/a_one/launched/sbom.cdx.json", "build/a_one/sbom.cdx.json"] {
        assert!(sandbox.exists(&format!("layers/sbom/{name}")), "{name}");
    }
}

/// P "report.toml": "`tags` MUST contain all tag references to the exported app image", "`manifest-size` MUST contain the
/// manifest size in bytes". (`digest` is there for images in registries: `tests/registry`.)
#[test]
fn the_report_tells_of_the_image() {
    if skipped_without_root() {
        return;
    }
    let sandbox = built();
    let report: toml::Value = toml::from_str(&sandbox.read("layers/report.toml")).expect("TOML");
    let index: Value = serde_json::from_str(&sandbox.read("layout/example.com/app/latest/index.json")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("digest");
    let manifest = sandbox.read(&format!("layout/example.com/app/latest/blobs/{}", digest.replace(':', "/")));
    assert_eq!(format!("sha256:{}", sha256(manifest.as_bytes())), digest);
    assert_eq!(report["image"]["manifest-size"].as_integer(), i64::try_from(manifest.len()).ok());
    assert_eq!(report["image"]["tags"].as_array().map(Vec::len), Some(1));
}

/// P "Map an image reference to a path in the layout directory": "The path MUST be `<layout-dir>/<registry>/<repo>/<image>/<tag>`".
#[test]
fn layouts_lie_where_their_names_say() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.creator().args(["group/app:v1"]).run().success();
    assert!(sandbox.exists("layout/index.docker.io/group/app/v1/index.json"));
}
