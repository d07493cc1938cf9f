//! Which layers the app image gets, in which order, and what becomes of each: a decision, without any I/O.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::api::PlatformApi;
use crate::bail;
use crate::data::build_metadata::Process;
use crate::data::layers_metadata::LayersMetadata;
use crate::error::Result;
use crate::image::DiffId;
use crate::layers::dir::BuildpackDir;
use crate::layers::source::LayerSource;

/// The layers that are put on the run image, bottom first.
#[derive(Debug, Default)]
pub struct Plan {
    pub layers: Vec<PlannedLayer>,
}

/// One layer of the app image.
#[derive(Clone, Debug)]
pub struct PlannedLayer {
    /// `<buildpack id>:<layer>` or `buildpacksio/lifecycle:<what>`, as the log names it.
    pub id: String,
    pub place: Place,
    pub content: Content,
    /// `created_by` of its history entry.
    pub created_by: String,
}

/// Where the label `io.buildpacks.lifecycle.metadata` records the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it was made by an image extension.
    Extension,
    Buildpack {
        id: String,
        layer: String,
        cached: bool,
    },
    Sbom,
    App,
    Launcher,
    Config,
    ProcessTypes,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// From disk. If it turns out to be one of `known`, which the previous image has, that layer is reused.
    Source { source: LayerSource, known: Vec<DiffId> },
    /// Not on disk: taken from the previous image.
    Reused(DiffId),
}

/// What the plan is made from.
#[derive(Debug)]
pub struct Known<'a> {
    pub api: PlatformApi,
    pub layers_dir: &'a Path,
    pub uid: u64,
    pub gid: u64,
    /// Buildpack layers on disk, in group order.
    pub buildpacks: &'a [BuildpackDir],
    /// Layers made by extensions, bottom first: file and `created_by`.
    pub extension_layers: &'a [(PathBuf, String)],
    /// `<layers>/sbom/launch` exists.
    pub has_sbom: bool,
    /// The app's slices, the remainder last.
    pub slices: Vec<LayerSource>,
    pub launcher: &'a Path,
    pub processes: &'a [Process],
    /// What the previous image's label says, empty if there is none.
    pub previous: &'a LayersMetadata,
    /// The layers that the previous image really has.
    pub reusable: &'a HashSet<DiffId>,
}

/// Makes the plan. Errors: a layer without data that cannot be reused, layer metadata that could not be read, a process type
/// that cannot be a file name.
pub fn plan(known: &Known<'_>) -> Result<Plan> {
    let mut layers = Vec::new();
    for (index, (path, created_by)) in known.extension_layers.iter().enumerate() {
        layers.push(PlannedLayer {
            id: format!("{}:extended-layer-{index}", super::history::extension_id(created_by)),
            place: Place::Extension,
            content: Content::Source { source: LayerSource::ExtensionTar { path: path.clone() }, known: Vec::new() },
            created_by: created_by.clone(),
        });
    }
    for buildpack in known.buildpacks {
        layers.extend(buildpack_layers(known, buildpack)?);
    }
    if known.api.has_sbom() && known.has_sbom {
        let sha = known.previous.sbom.as_ref().map_or("", |s| s.sha.as_str());
        layers.push(directory(known, "launch.sbom", Place::Sbom, &known.layers_dir.join("sbom/launch"), sha));
    }
    layers.extend(app_layers(known));
    layers.push(PlannedLayer {
        id: "buildpacksio/lifecycle:launcher".into(),
        place: Place::Launcher,
        content: known.source(LayerSource::Launcher { path: known.launcher.to_owned() }, &known.previous.launcher.sha),
        created_by: super::history::LAUNCHER.into(),
    });
    layers.push(directory(known, "config", Place::Config, &known.layers_dir.join("config"), &known.previous.config.sha));
    layers.extend(process_types(known)?);
    Ok(Plan { layers })
}

impl Known<'_> {
    /// Content from disk with what the label says of its place in the previous image.
    fn source(&self, source: LayerSource, previous: &str) -> Content {
        let known = DiffId::parse(previous).into_iter().filter(|d| self.reusable.contains(d)).collect();
        Content::Source { source, known }
    }
}

fn directory(known: &Known<'_>, what: &str, place: Place, path: &Path, previous: &str) -> PlannedLayer {
    let created_by = match place {
        Place::Sbom => super::history::SBOM,
        _ => super::history::CONFIG,
    };
    let source = LayerSource::Directory { path: path.to_owned(), uid: known.uid, gid: known.gid };
    PlannedLayer {
        id: format!("buildpacksio/lifecycle:{what}"),
        place,
        content: known.source(source, previous),
        created_by: created_by.into(),
    }
}

fn buildpack_layers(known: &Known<'_>, dir: &BuildpackDir) -> Result<Vec<PlannedLayer>> {
    let mut layers = Vec::new();
    let previous = known.previous.buildpack(&dir.buildpack.id);
    for layer in &dir.layers {
        let Ok(file) = &layer.metadata else { continue };
        if !file.launch {
            continue;
        }
        let id = format!("{}:{}", dir.buildpack.id, layer.name);
        let before = previous.and_then(|b| b.layers.get(&layer.name));
        let content = if layer.has_data {
            known.source(layer.source(known.uid, known.gid), before.map_or("", |l| l.sha.as_str()))
        } else if file.cache {
            bail!("layer '{id}' is cache=true but has no contents");
        } else {
            let Some(before) = before else {
                bail!("cannot reuse '{id}', previous image has no metadata for layer '{id}'");
            };
            match DiffId::parse(&before.sha).filter(|d| known.reusable.contains(d)) {
                Some(diff_id) => Content::Reused(diff_id),
                None => bail!("reusing layer: '{id}': previous image has no layer with diffID '{}'", before.sha),
            }
        };
        layers.push(PlannedLayer {
            created_by: super::history::buildpack_layer(&layer.name, &dir.buildpack),
            place: Place::Buildpack { id: dir.buildpack.id.clone(), layer: layer.name.clone(), cached: file.cache },
            id,
            content,
        });
    }
    let malformed: Vec<String> = dir
        .layers
        .iter()
        .filter_map(|l| l.metadata.as_ref().err().map(|e| format!("'{}:{}': {e}", dir.buildpack.id, l.name)))
        .collect();
    if !malformed.is_empty() {
        bail!("failed to parse metadata for layers {}", malformed.join(", "));
    }
    Ok(layers)
}

fn app_layers(known: &Known<'_>) -> impl Iterator<Item = PlannedLayer> {
    let before = || known.previous.app.iter().filter_map(|l| DiffId::parse(&l.sha)).filter(|d| known.reusable.contains(d));
    let count = known.slices.len();
    known.slices.iter().enumerate().map(move |(index, source)| PlannedLayer {
        id: format!("slice-{}", index + 1),
        place: Place::App,
        content: Content::Source { source: source.clone(), known: before().collect() },
        created_by: super::history::app_layer(index, count),
    })
}

/// The links of the processes. Their names become file names in the image.
fn process_types(known: &Known<'_>) -> Result<Option<PlannedLayer>> {
    const FORBIDDEN: &str = r"/><:|&\";
    if known.processes.is_empty() {
        return Ok(None);
    }
    for process in known.processes {
        if process.kind.is_empty() {
            bail!("creating layer 'process-types': type is required for all processes");
        }
        if process.kind.contains(|c| FORBIDDEN.contains(c)) {
            bail!(
                "creating layer 'process-types': invalid process type '{}': type may not contain characters '{FORBIDDEN}'",
                process.kind
            );
        }
    }
    let types = known.processes.iter().map(|p| p.kind.clone()).collect();
    Ok(Some(PlannedLayer {
        id: "buildpacksio/lifecycle:process-types".into(),
        place: Place::ProcessTypes,
        content: known.source(LayerSource::ProcessTypes { types }, &known.previous.process_types.sha),
        created_by: super::history::PROCESS_TYPES.into(),
    }))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
