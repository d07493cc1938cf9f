//! The rebase phase: the layers of an app image on another run image, without a build (platform.md, "Rebaser").

mod checks;

use std::sync::Arc;

use tracing::{debug_span, warn};

use crate::api::{ApiVersion, PlatformApi};
use crate::bail;
use crate::data::layers_metadata::{LayersMetadataCompat, Stack};
use crate::data::report::{Report, ReportedRunImage};
use crate::data::run::RunImageForExport;
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, Image, ImageDraft, ImageStore};
use crate::phase::labels::{self, LIFECYCLE_METADATA};
use crate::phase::saving;

const FORCE_HINT: &str = "please provide -force to override";

/// What the phase works on.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    /// Findings that would keep an image from being rebased are only warnings.
    pub force: bool,
    pub app: &'a Arc<Image>,
    pub run_image: &'a Arc<Image>,
    /// What the platform calls the new run image.
    pub run_image_name: &'a str,
    /// Names of the rebased image, the main one first.
    pub names: &'a [String],
    /// `CNB_REPORT_RUN_IMAGE`.
    pub report_run_image: bool,
}

/// Rebases the image and saves it to `store`.
///
/// # Errors
/// The image was not made by a lifecycle, or it does not fit the new run image; nothing is written then.
pub fn rebase(inputs: &Inputs<'_>, store: &dyn ImageStore) -> Result<Report> {
    let _span = debug_span!("rebase").entered();
    let _timing = crate::phase::timing::measure("Rebaser");
    let (app, run_image) = (inputs.app, inputs.run_image);
    if made_with_targets(app) {
        checks::target(app, run_image, inputs.force)?;
    } else {
        checks::stack(app, run_image)?;
    }
    let mut metadata = match app.config.label(LIFECYCLE_METADATA).filter(|label| !label.is_empty()) {
        Some(label) => LayersMetadataCompat::from_json(label).with_context(|| labels::cannot_read(LIFECYCLE_METADATA))?,
        None => LayersMetadataCompat::default(),
    };
    let old_top = &metadata.rest.run_image.top_layer;
    let Some(old_top) = DiffId::parse(old_top).filter(|top| app.config.diff_ids().contains(top)) else {
        bail!(
            "rebase app image: could not find base layer in image: '{}' has no layer '{old_top}', \
             which its label {LIFECYCLE_METADATA} calls the top layer of its run image",
            app.name
        );
    };
    let mut draft = ImageDraft::rebase(app, &old_top, run_image).context("rebase app image")?;

    let Some(top_layer) = run_image.config.top_layer() else {
        bail!("get rebase run image top layer SHA: image '{}' has no layers", run_image.name);
    };
    let run = &mut metadata.rest.run_image;
    run.top_layer = top_layer.to_string();
    run.reference = run_image.identifier.clone();
    if inputs.api.has_run_toml() {
        check_name(&mut metadata, inputs.run_image_name, inputs.force)?;
    }
    draft.set_label(LIFECYCLE_METADATA, &metadata.to_json().context("marshall metadata")?);
    sync_labels(&mut draft, run_image, inputs.api);

    let writer = store.writer(inputs.names, Some(run_image))?;
    let image = saving::save(writer, &draft)?;
    let report_run_image = inputs.report_run_image.then(|| ReportedRunImage {
        reference: metadata.rest.run_image.reference.clone(),
        top_layer: metadata.rest.run_image.top_layer.clone(),
        export: metadata.rest.run_image.export.clone(),
    });
    Ok(Report { build_bom: None, image, run_image: report_run_image })
}

/// Whether the app image was made under a Platform API that knows targets; before, stacks say what fits.
fn made_with_targets(app: &Image) -> bool {
    app.config.env("CNB_PLATFORM_API").and_then(ApiVersion::parse).is_some_and(ApiVersion::has_targets)
}

/// The new run image must be one that the app image's label names, for only these are known to fit.
fn check_name(metadata: &mut LayersMetadataCompat, name: &str, force: bool) -> Result<()> {
    let own = &metadata.rest.run_image;
    let stack = metadata.rest.stack.as_ref().map(|stack| &stack.run_image);
    if own.export.contains(name) || stack.is_some_and(|stack| stack.contains(name)) {
        return Ok(());
    }
    let known = match stack {
        _ if !own.export.image.is_empty() => own.to_json()?,
        Some(stack) => stack.to_json()?,
        None => "not found".into(),
    };
    let finding = format!("rebase app image: new base image '{name}' not found in existing run image metadata: {known}");
    if !force {
        return Err(Error::new(format!("{finding}; {}; {FORCE_HINT}", allowed(&own.export, stack))));
    }
    warn!("{finding}");
    let export = RunImageForExport { image: name.to_owned(), mirrors: Vec::new() };
    metadata.rest.stack = Some(Stack { run_image: export.clone() });
    metadata.rest.run_image.export = export;
    Ok(())
}

/// The names that would have been accepted.
fn allowed(own: &RunImageForExport, stack: Option<&RunImageForExport>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in own.names().chain(stack.into_iter().flat_map(RunImageForExport::names)) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    match names.as_slice() {
        [] => "the image names no run image".into(),
        names => format!("allowed are {}", names.join(", ")),
    }
}

/// What the run image's labels say of it is true of the rebased image, what the old one's said is not.
fn sync_labels(draft: &mut ImageDraft, run_image: &Image, api: PlatformApi) {
    let of_run_image =
        |name: &str| name.starts_with("io.buildpacks.stack.") || (api.has_targets() && name.starts_with("io.buildpacks.base."));
    for name in draft.config.labels().keys().filter(|name| of_run_image(name)) {
        draft.remove_label(name);
    }
    for (name, value) in run_image.config.labels().iter().filter(|(name, _)| of_run_image(name)) {
        draft.set_label(name, value);
    }
}

#[cfg(test)]
mod tests;
