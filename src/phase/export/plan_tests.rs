use super::*;
use crate::api::ApiVersion;
use crate::data::group::GroupElement;
use crate::data::layer_toml::LayerToml;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata, LayerSha};
use crate::layers::dir::LayerDir;

fn sha(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn layer(name: &str, has_data: bool, file: LayerToml) -> LayerDir {
    LayerDir { name: name.into(), path: Path::new("/layers/a_one").join(name), has_data, metadata: Ok(file), kept: None }
}

fn launch() -> LayerToml {
    LayerToml { launch: true, ..LayerToml::default() }
}

fn dir(layers: Vec<LayerDir>) -> Vec<BuildpackDir> {
    let buildpack = GroupElement { id: "a/one".into(), version: "1.0".into(), ..GroupElement::default() };
    vec![BuildpackDir { buildpack, path: "/layers/a_one".into(), layers, store: None }]
}

/// A previous image whose layers `a`, `b` … have the diffIDs aaa…, bbb…
fn previous(layers: &str) -> LayersMetadata {
    let layers = layers.chars().map(|c| (c.to_string(), LayerMetadata { sha: sha(c), file: launch() }));
    let buildpack = BuildpackLayersMetadata { id: "a/one".into(), layers: layers.collect(), ..Default::default() };
    LayersMetadata { buildpacks: vec![buildpack], launcher: LayerSha { sha: sha('f') }, ..LayersMetadata::default() }
}

#[derive(Default)]
struct Case<'a> {
    buildpacks: &'a [BuildpackDir],
    previous: LayersMetadata,
    reusable: &'a str,
    processes: &'a [&'a str],
}

impl Case<'_> {
    fn plan(&self, minor: u64) -> Result<Plan> {
        let app = |n: &str| LayerSource::Tar { path: n.into() };
        let process = |kind: &&str| Process { kind: (*kind).into(), ..Process::default() };
        plan(&Known {
            api: PlatformApi::supported(ApiVersion::new(0, minor)).unwrap(),
            layers_dir: Path::new("/layers"),
            uid: 1,
            gid: 2,
            buildpacks: self.buildpacks,
            extension_layers: &[("/extended/x".into(), "Layer: 'RUN x', Created by extension: x/ext".into())],
            has_sbom: true,
            slices: vec![app("1"), app("2")],
            launcher: Path::new("/launcher"),
            processes: &self.processes.iter().map(process).collect::<Vec<_>>(),
            previous: &self.previous,
            reusable: &self.reusable.chars().filter_map(|c| DiffId::parse(&sha(c))).collect(),
        })
    }
}

/// platform.md, "Exporter": the lifecycle MUST put layers into the image in this order.
#[test]
fn order_of_layers() {
    let buildpacks =
        dir(vec![layer("ruby", true, launch()), layer("ruby-deps", true, launch()), layer("build", true, LayerToml::default())]);
    let case = Case { buildpacks: &buildpacks, processes: &["web"], ..Case::default() };
    let plan = case.plan(15).unwrap();
    let seen: Vec<_> = plan.layers.iter().map(|l| (l.id.as_str(), l.created_by.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("x/ext:extended-layer-0", "Layer: 'RUN x', Created by extension: x/ext"),
            ("a/one:ruby", "Layer: 'ruby', Created by buildpack: a/one@1.0"),
            ("a/one:ruby-deps", "Layer: 'ruby-deps', Created by buildpack: a/one@1.0"),
            ("buildpacksio/lifecycle:launch.sbom", "Software Bill-of-Materials"),
            ("slice-1", "Application Slice: 1"),
            ("slice-2", "Application Slice: 2"),
            ("buildpacksio/lifecycle:launcher", "Buildpacks Application Launcher"),
            ("buildpacksio/lifecycle:config", "Buildpacks Launcher Config"),
            ("buildpacksio/lifecycle:process-types", "Buildpacks Process Types"),
        ]
    );
}

#[test]
fn no_sbom_layer_below_0_8_and_no_links_without_processes() {
    let plan = Case::default().plan(7).unwrap();
    assert!(plan.layers.iter().all(|l| !matches!(l.place, Place::Sbom | Place::ProcessTypes)));
}

/// Only what the previous image has can save anything by being hashed first.
#[test]
fn layers_are_compared_only_with_what_the_previous_image_has() {
    let known = |reusable| {
        let buildpacks = dir(vec![layer("a", true, launch())]);
        let plan = Case { buildpacks: &buildpacks, previous: previous("a"), reusable, processes: &[] }.plan(12).unwrap();
        match &plan.layers[1].content {
            Content::Source { known, .. } => known.clone(),
            Content::Reused(_) => panic!("the layer is on disk"),
        }
    };
    assert_eq!(known("a"), [DiffId::parse(&sha('a')).unwrap()]);
    assert_eq!(known("b"), []);
}

#[test]
fn a_layer_without_data_is_taken_from_the_previous_image() {
    let buildpacks = dir(vec![layer("a", false, launch())]);
    let case = |previous, reusable| Case { buildpacks: &buildpacks, previous, reusable, processes: &[] };
    let plan = case(previous("a"), "a").plan(12).unwrap();
    assert!(matches!(&plan.layers[1].content, Content::Reused(d) if d.as_str() == sha('a')));

    let error = |case: Case<'_>| case.plan(12).unwrap_err().to_string();
    assert_eq!(error(case(previous("b"), "b")), "cannot reuse 'a/one:a', previous image has no metadata for layer 'a/one:a'");
    assert!(error(case(previous("a"), "b")).contains(&sha('a')), "the image has lost the layer");
}

#[test]
fn a_cached_layer_must_have_data() {
    let buildpacks = dir(vec![layer("a", false, LayerToml { cache: true, ..launch() })]);
    let case = Case { buildpacks: &buildpacks, previous: previous("a"), reusable: "a", processes: &[] };
    assert_eq!(case.plan(12).unwrap_err().to_string(), "layer 'a/one:a' is cache=true but has no contents");
}

#[test]
fn all_layers_with_bad_metadata_are_named() {
    let bad = |name: &str| LayerDir { metadata: Err(crate::error::Error::new("not TOML")), ..layer(name, true, launch()) };
    let buildpacks = dir(vec![bad("x"), bad("y")]);
    let error = Case { buildpacks: &buildpacks, ..Case::default() }.plan(12).unwrap_err().to_string();
    assert_eq!(error, "failed to parse metadata for layers 'a/one:x': not TOML, 'a/one:y': not TOML");
}

#[test]
fn process_types_must_be_file_names() {
    for bad in ["a/b", "a>b", "a<b", "a:b", "a|b", "a&b", r"a\b", ""] {
        assert!(Case { processes: &["web", bad], ..Case::default() }.plan(12).is_err(), "{bad}");
    }
    assert!(Case { processes: &["with blank", "ünï.x_y-z"], ..Case::default() }.plan(12).is_ok());
}
