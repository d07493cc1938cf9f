//! The export phase: run image + layers on disk → app image (platform.md, "Exporter").
//!
//! [`plan`] decides which layers there are, [`execute`] runs them through the image's store, the rest is labels and config.
//! The cache comes last, when the image is safe ([`Exported::write_cache`]).

mod ahead;
mod cache;
mod entrypoint;
mod execute;
mod extended;
mod history;
mod inputs;
mod metadata;
mod plan;
mod report;
mod sbom;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracing::{debug, debug_span, info, warn};

use crate::buildpack::ids;
use crate::cache::Cache;
use crate::data::layers_metadata::{RunImageForRebase, Stack};
use crate::data::report::Report;
use crate::error::{Context, Error, Result};
use crate::image::{Descriptor, DiffId, DraftLayer, Image, ImageDraft, ImageStore, LayerBlob};
use crate::layers::dir::BuildpackDir;
use crate::layers::fingerprint::LayerReader;
use crate::layers::{kept, slices};
use crate::phase::{labels, saving};

use ahead::Intake;
pub use ahead::{Ahead, FinishedLayer};
use cache::{CacheExport, Shared};
use execute::{Done, Workshop};
pub use extended::ExtendedRunImage;
pub use inputs::Inputs;
use plan::{Plan, PlannedLayer};

/// An image that was exported, and the cache that waits until the platform knows of it.
pub struct Exported {
    pub report: Report,
    cache: Option<(CacheExport, Shared)>,
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exported").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Exported {
    /// Writes the cache. What goes wrong there is told as a warning.
    pub fn write_cache(self) {
        let Some((cache, shared)) = self.cache else { return };
        if let Err(error) = cache.finish(shared) {
            warn!("Failed to export cache: {error}");
        }
    }
}

/// Exports the image to `store`. What was made ahead is in the store's writer already.
///
/// # Errors
/// Whatever keeps the image from being complete; a cache never does.
pub fn export(
    inputs: &Inputs<'_>,
    store: &dyn ImageStore,
    cache: Option<&dyn Cache>,
    mut ahead: Option<Ahead>,
) -> Result<Exported> {
    ahead.iter_mut().for_each(Ahead::build_is_over);
    let _span = debug_span!("export").entered();
    let _timing = crate::phase::timing::measure("Exporter");
    if inputs.api.has_lifecycle_sbom() {
        sbom::copy(inputs.layers_dir, inputs.launcher_sbom).context("failed to copy buildpacksio SBOMs")?;
    }
    ids::check_directories(&inputs.group.group)?;
    let process = entrypoint::default_process(inputs.process_type, inputs.build)?;
    let buildpacks = read_layers(inputs)?;
    let report_bom = report::legacy_bom(inputs.api, &buildpacks)?;
    let plan = make_plan(inputs, &buildpacks)?;

    let (old_cache, cache) = (cache, cache.and_then(|cache| open_cache(inputs, cache, &buildpacks)));
    let fingerprints = old_cache.and_then(Cache::fingerprints);
    let intake = match ahead {
        Some(ahead) => Intake::Begun(ahead),
        None => Intake::New(store.writer(inputs.names, Some(inputs.run_image))?),
    };
    let (mut done, draft) = {
        let work = || {
            let workshop = Workshop {
                writer: intake.writer(),
                ahead: intake.ahead(),
                cache: cache.as_ref().map(|c| (c.writer.as_ref(), &c.old)),
                old_cache,
                reader: LayerReader(fingerprints.as_deref().or(intake.ahead().map(Ahead::fingerprints))),
                threads: inputs.threads,
            };
            let done = execute::execute(&plan, &workshop)?;
            let draft = draft(inputs, &plan, &done, &buildpacks, process)?;
            Ok::<_, Error>((done, draft))
        };
        match &cache {
            Some(cache) if inputs.parallel => std::thread::scope(|scope| {
                scope.spawn(|| cache.prepare());
                work()
            })?,
            _ => work()?,
        }
    };
    let image = saving::save(intake.into_writer()?, &draft)?;
    let cache = cache.map(|cache| (cache, Shared::take(&plan, &mut done, blobs(&draft, plan.layers.len()))));
    Ok(Exported { report: report::report(inputs, report_bom, image), cache })
}

/// The blobs of the topmost layers, as far as the store has any.
fn blobs(draft: &ImageDraft, count: usize) -> HashMap<DiffId, LayerBlob> {
    let blob = |layer: &DraftLayer| {
        let Descriptor { digest, size, media_type, .. } = draft.descriptor(layer).ok()?;
        let diff_id = layer.diff_id().clone();
        Some((diff_id.clone(), LayerBlob { diff_id, digest, size, media_type }))
    };
    draft.layers.iter().rev().take(count).filter_map(blob).collect()
}

fn read_layers(inputs: &Inputs<'_>) -> Result<Vec<BuildpackDir>> {
    let read = |buildpack| {
        let mut dir = BuildpackDir::read(inputs.layers_dir, buildpack)?;
        if inputs.discards_changes {
            dir.use_kept_layers(inputs.layers_dir, kept::Owner { uid: inputs.uid, gid: inputs.gid })?;
        }
        Ok(dir)
    };
    inputs.group.group.iter().map(read).collect()
}

fn make_plan(inputs: &Inputs<'_>, buildpacks: &[BuildpackDir]) -> Result<Plan> {
    let reusable: HashSet<DiffId> = inputs.previous.iter().flat_map(|image| image.config.diff_ids()).collect();
    let extension_layers = match inputs.extended {
        Some(extended) if inputs.api.has_run_image_extension() => extended.layers.as_slice(),
        _ => &[],
    };
    let patterns: Vec<_> = inputs.build.slices.iter().map(|slice| slice.paths.clone()).collect();
    let slices = slices::app_layers(inputs.app_dir, &patterns, inputs.uid, inputs.gid)
        .context("exporting app layers: creating app layers")?;
    std::fs::metadata(inputs.launcher)
        .map_err(|e| Error::io("stat", inputs.launcher, &e))
        .with_context(|| format!("creating launcher layers: failed to stat launcher at path '{}'", inputs.launcher.display()))?;
    plan::plan(&plan::Known {
        api: inputs.api,
        layers_dir: inputs.layers_dir,
        uid: inputs.uid,
        gid: inputs.gid,
        buildpacks,
        extension_layers,
        has_sbom: inputs.layers_dir.join("sbom/launch").is_dir(),
        slices,
        launcher: inputs.launcher,
        processes: &inputs.build.processes,
        previous: inputs.previous_metadata,
        reusable: &reusable,
    })
}

/// A cache that cannot be begun is none.
fn open_cache(inputs: &Inputs<'_>, cache: &dyn Cache, buildpacks: &[BuildpackDir]) -> Option<CacheExport> {
    CacheExport::new(inputs, cache, buildpacks).inspect_err(|error| warn!("Failed to export cache: {error}")).ok()
}

/// The new image: run image, layers, labels, config.
fn draft(
    inputs: &Inputs<'_>,
    plan: &Plan,
    done: &[Done],
    buildpacks: &[BuildpackDir],
    process: Option<&str>,
) -> Result<ImageDraft> {
    let run_image = inputs.run_image;
    let mut draft = ImageDraft::from_base(run_image)?;
    let Some(top_layer) = run_image.config.top_layer() else {
        return Err(Error::new(format!("get run image top layer SHA: image {} has no layers", run_image.name)));
    };
    draft.keep_history = inputs.api.has_history();
    if let Some(created) = inputs.created {
        draft.created = created.to_owned();
    }
    if let Some(extended) = inputs.extended.filter(|_| inputs.use_extended_config) {
        draft.replace_config(&extended.config);
    }
    for (layer, done) in plan.layers.iter().zip(done) {
        add_layer(&mut draft, layer, done, inputs.previous)?;
    }
    let names = if inputs.api.has_run_toml() { inputs.run_image_names.clone() } else { Default::default() };
    let run_image_data =
        RunImageForRebase { top_layer: top_layer.to_string(), reference: run_image.identifier.clone(), export: names };
    let stack = Stack { run_image: inputs.run_image_names.clone() };
    let metadata = metadata::layers_metadata(plan, done, buildpacks, run_image_data, stack);

    let mut label = |key: &str, value: &str| {
        info!("Adding label '{key}'");
        draft.set_label(key, value);
    };
    label(labels::LIFECYCLE_METADATA, &metadata.to_json().context("marshall metadata")?);
    label(labels::BUILD_METADATA, &inputs.build.to_json(inputs.api).context("parse build metadata")?);
    label(labels::PROJECT_METADATA, &inputs.project.to_json().context("parse project metadata")?);
    for own in &inputs.build.labels {
        label(&own.key, &own.value);
    }
    if inputs.api.has_exec_env() && !inputs.exec_env.is_empty() {
        label(labels::EXEC_ENV, inputs.exec_env);
    }
    let path = draft.config.env("PATH").map(str::to_owned);
    for (name, value) in entrypoint::variables(inputs.api, inputs.layers_dir, inputs.app_dir, path.as_deref()) {
        debug!("Setting {name}={value}");
        draft.set_env(name, &value);
    }
    debug!("Setting WORKDIR: '{}'", inputs.app_dir.display());
    draft.set_working_dir(&inputs.app_dir.display().to_string());
    draft.set_entrypoint(&[&entrypoint::entrypoint(process)]);
    draft.set_cmd(&[]);
    Ok(draft)
}

fn add_layer(draft: &mut ImageDraft, layer: &PlannedLayer, done: &Done, previous: Option<&Arc<Image>>) -> Result<()> {
    match (&done.blob, previous) {
        (Some(blob), _) => draft.add_layer(blob.clone(), &layer.created_by),
        (None, Some(image)) => {
            draft
                .take_layer(image, &done.diff_id, &layer.created_by)
                .with_context(|| format!("reusing layer: '{}'", layer.id))?;
        }
        (None, None) => return Err(Error::new(format!("reusing layer: '{}': there is no previous image", layer.id))),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
