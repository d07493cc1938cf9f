//! The label `io.buildpacks.lifecycle.metadata` of the new image.

use super::execute::Done;
use super::plan::{Place, Plan};
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata, LayerSha, LayersMetadata, RunImageForRebase, Stack};
use crate::layers::dir::BuildpackDir;

/// Records every layer's diffID in its place. `run_image` holds the names only from Platform API 0.12 on, `stack` always.
pub fn layers_metadata(
    plan: &Plan,
    done: &[Done],
    buildpacks: &[BuildpackDir],
    run_image: RunImageForRebase,
    stack: Stack,
) -> LayersMetadata {
    let mut metadata = LayersMetadata {
        buildpacks: buildpacks.iter().map(buildpack).collect(),
        run_image,
        stack: Some(stack),
        ..LayersMetadata::default()
    };
    for (layer, done) in plan.layers.iter().zip(done) {
        let sha = LayerSha { sha: done.diff_id.to_string() };
        match &layer.place {
            Place::Extension => {}
            Place::Buildpack { id, layer, .. } => {
                let buildpack = metadata.buildpacks.iter_mut().find(|b| b.id == *id);
                if let Some(entry) = buildpack.and_then(|b| b.layers.get_mut(layer)) {
                    entry.sha = sha.sha;
                }
            }
            Place::Sbom => metadata.sbom = Some(sha),
            Place::App => metadata.app.push(sha),
            Place::Launcher => metadata.launcher = sha,
            Place::Config => metadata.config = sha,
            Place::ProcessTypes => metadata.process_types = sha,
        }
    }
    metadata
}

/// All launch layers of a buildpack, still without diffIDs.
fn buildpack(dir: &BuildpackDir) -> BuildpackLayersMetadata {
    let launch = dir.layers.iter().filter_map(|l| l.metadata.as_ref().ok().filter(|m| m.launch).map(|m| (l, m)));
    BuildpackLayersMetadata {
        id: dir.buildpack.id.clone(),
        version: dir.buildpack.version.clone(),
        layers: launch.map(|(l, m)| (l.name.clone(), LayerMetadata { sha: String::new(), file: m.clone() })).collect(),
        layers_absent: false,
        store: dir.store.clone(),
    }
}
