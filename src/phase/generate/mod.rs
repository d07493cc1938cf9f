//! The generate phase, the second half of the detector's work where extensions passed: Dockerfiles out of extensions
//! (platform.md, "Generation"; image_extension.md).

mod config;
mod context;
mod dockerfile;
mod place;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use tracing::{debug, info_span, warn};

use crate::api::PlatformApi;
use crate::buildpack::generate::generate as run_generate;
use crate::buildpack::program::Surroundings;
use crate::buildpack::store::Store;
use crate::buildpack::target::{for_build, variables};
use crate::data::analyzed::{Analyzed, RunImage};
use crate::data::group::GroupElement;
use crate::data::plan::Plan;
use crate::data::run::RunToml;
use crate::env::Env;
use crate::error::{Error, Failure, Result};
use crate::phase::timing;

use dockerfile::{Generated, Kind};

/// What the phase needs to know.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    pub store: &'a Store,
    /// Without target variables, which the phase adds.
    pub surroundings: &'a Surroundings,
    /// The environment of extensions.
    pub env: &'a Env,
    /// `<generated>`.
    pub generated_dir: PathBuf,
    /// The extensions of the group.
    pub extensions: &'a [GroupElement],
    pub run: &'a RunToml,
}

/// Runs the extensions in their order. Gives the plan without what they met, and what is known of images with the run image
/// that they chose.
///
/// # Errors
/// A bin/generate fails ([`Failure::ExtensionGenerate`]) or writes what it must not ([`Failure::Generate`]).
pub fn generate(inputs: &Inputs<'_>, analyzed: &Analyzed, plan: &Plan) -> Result<(Analyzed, Plan)> {
    let _span = info_span!("phase", name = "generate").entered();
    let _timing = timing::measure("Generator");
    run(inputs, analyzed, plan).map_err(|e| e.or_failure(Failure::Generate))
}

fn run(inputs: &Inputs<'_>, analyzed: &Analyzed, plan: &Plan) -> Result<(Analyzed, Plan)> {
    let target = variables(&for_build(&analyzed.run_image_target()));
    let surroundings = Surroundings { target, ..inputs.surroundings.clone() };
    // Dockerfiles and contexts stay where extensions write them from Platform API 0.13 on; before, only Dockerfiles are
    // wanted, at another place.
    let scratch = if inputs.api.has_extension_contexts() {
        None
    } else {
        let dir = tempfile::Builder::new().prefix("cnb-extensions-generated.").tempdir();
        Some(dir.map_err(|e| Error::new(format!("make directory for the outputs of extensions: {e}")))?)
    };
    let output = scratch.as_ref().map_or(inputs.generated_dir.as_path(), |dir| dir.path());

    let mut dockerfiles = Vec::new();
    let mut plan = plan.clone();
    for element in inputs.extensions {
        debug!("Running generate for extension {element}");
        debug!("Looking up extension");
        let extension = inputs.store.lookup(&GroupElement { extension: true, ..element.clone() })?;
        debug!("Finding plan");
        let requires = plan.requires_for(&element.id, true);
        debug!("Invoking command");
        let dir = run_generate(&extension, &surroundings, inputs.env, &requires, output)?;
        config::check(&dir.join("extend-config.toml"))?;
        for kind in [Kind::Run, Kind::Build] {
            dockerfiles.extend(Generated::find(&extension.id, kind, &dir)?);
        }
        context::check(&dir)?;
        let met: Vec<String> = requires.into_iter().map(|r| r.name).collect();
        plan = plan.without(&met);
        debug!("Finished running generate for extension {element}");
    }

    debug!("Checking run image");
    let choice = choose_run_image(&mut dockerfiles);
    let analyzed = apply(&choice, inputs, analyzed);
    debug!("Copying Dockerfiles");
    for dockerfile in &dockerfiles {
        place::place(inputs.api, &inputs.generated_dir, dockerfile)?;
    }
    Ok((analyzed, plan))
}

/// What the run.Dockerfiles ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct RunImageChoice {
    /// The image of the last one that does not begin with the run image as it is.
    image: Option<String>,
    /// It, or one after it, has instructions.
    extend: bool,
}

/// Those before one that starts from another image change nothing: they are marked as ignored.
fn choose_run_image(dockerfiles: &mut [Generated]) -> RunImageChoice {
    let mut choice = RunImageChoice::default();
    for dockerfile in dockerfiles.iter_mut().rev().filter(|d| d.kind == Kind::Run) {
        if choice.image.is_some() {
            dockerfile.is_ignored = true;
            continue;
        }
        choice.extend |= dockerfile.extends;
        if let Some(image) = &dockerfile.image {
            debug!("Found a run.Dockerfile from extension '{}' setting run image to '{image}' ", dockerfile.extension);
            choice.image = Some(image.clone());
        }
    }
    choice
}

fn apply(choice: &RunImageChoice, inputs: &Inputs<'_>, analyzed: &Analyzed) -> Analyzed {
    let mut analyzed = analyzed.clone();
    // Compared as it is written: a name with another digest is another image.
    let old = analyzed.run_image.as_ref().map(|r| r.image.as_str()).unwrap_or_default();
    if let Some(image) = choice.image.as_deref().filter(|image| !inputs.api.has_run_toml() || *image != old) {
        if !inputs.run.contains(image) {
            warn!("new runtime base image '{image}' not found in run metadata");
        }
        debug!("Updating analyzed metadata with new run image '{image}'");
        // What was known of the old image's target says nothing about the new one.
        let run_image = RunImage { reference: image.into(), image: image.into(), extend: choice.extend, target: None };
        analyzed.run_image = Some(run_image);
    }
    if let Some(run_image) = analyzed.run_image.as_mut().filter(|_| choice.extend) {
        debug!("Updating analyzed metadata to indicate run image extension");
        run_image.extend = true;
    }
    analyzed
}
