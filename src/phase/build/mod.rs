//! The build phase (platform.md, "builder"; buildpack.md, "Phase #3: Build"): runs bin/build of each buildpack of the group
//! and puts together what they left.

mod outputs;
mod processes;
mod protection;

use std::fs;
use std::path::Path;

use tracing::debug;

use crate::api::PlatformApi;
use crate::buildpack::build;
use crate::buildpack::program::Surroundings;
use crate::buildpack::store::Store;
use crate::data::build_metadata::BuildMetadata;
use crate::data::build_plan::Require;
use crate::data::group::{Group, GroupElement};
use crate::data::launch_toml::legacy_bom_json;
use crate::data::plan::{Plan, write_buildpack_plan};
use crate::env::{Env, Vars};
use crate::error::{Context, Error, Result};
use crate::layers::dir::escape_id;
use crate::layers::load_order::LoadOrder;
use crate::layers::remove::remove_tree;
use crate::layers::sbom;
use crate::process::temporary::TemporaryDirectory;

use outputs::Outputs;
use processes::Processes;
use protection::Guard;
pub use protection::{LayerOwner, Mode, Policy};

/// What a build needs. Directories are absolute.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    pub layers_dir: &'a Path,
    pub surroundings: &'a Surroundings,
    /// The lifecycle's own environment.
    pub env: &'a Vars,
    pub store: &'a Store,
    pub group: &'a Group,
    pub plan: &'a Plan,
    pub protection: &'a Policy,
    /// Whom layers are exported for, as far as they are made while buildpacks run.
    pub layer_owner: LayerOwner,
    /// `load-order` and `build-write` count.
    pub honours_proposals: bool,
    pub finished: Option<Finished<'a>>,
}

/// Told of each buildpack when it is done, before the next one runs.
#[derive(Clone, Copy)]
pub struct Finished<'a>(pub &'a dyn Fn(&GroupElement));

impl std::fmt::Debug for Finished<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Finished")
    }
}

/// Runs all buildpacks, in the order of the group.
///
/// # Errors
/// [`crate::error::Failure::BuildpackBuild`] if a bin/build fails; nothing of later buildpacks is run then.
pub fn build(inputs: &Inputs<'_>) -> Result<BuildMetadata> {
    let _span = tracing::info_span!("phase", name = "build").entered();
    let _timing = crate::phase::timing::measure("Builder");
    let layers_dir = inputs.layers_dir;
    remove_tree(&layers_dir.join("sbom")).context("cleaning layers SBOM directory")?;

    let app_dir = &inputs.surroundings.app;
    let mut guard = Guard::start(inputs.protection, layers_dir, app_dir, inputs.layer_owner, inputs.group)?;
    let mut env = Env::for_build(inputs.env);
    let mut plan = inputs.plan.clone();
    let mut processes = Processes::default();
    let mut metadata = BuildMetadata::default();
    let mut build_bom = Vec::new();
    let mut sbom_files = Vec::new();
    for buildpack in &inputs.group.group {
        debug!("Running build for buildpack {buildpack}");
        debug!("Finding plan");
        let requires = plan.requires_for(&buildpack.id, false);
        let outputs = build_one(inputs, buildpack, &requires, &mut env, guard.as_mut())?;
        debug!("Updating buildpack processes");
        sbom_files.extend(outputs.sbom_files);
        build_bom.extend(outputs.build_bom);
        metadata.bom.extend(outputs.launch_bom);
        metadata.labels.extend(outputs.labels);
        metadata.slices.extend(outputs.slices);
        metadata.ordered_layers.extend(outputs.ordered_layers.map(|layers| (buildpack.id.clone(), layers)));
        plan = plan.without(&outputs.met);
        debug!("Updating process list");
        processes.add(outputs.processes);
        debug!("Finished running build for buildpack {buildpack}");
        if let Some(Finished(tell)) = inputs.finished {
            tell(buildpack);
        }
    }

    if inputs.api.has_sbom() {
        debug!("Copying SBOM files");
        sbom::copy(layers_dir, &sbom_files)?;
    }
    if inputs.api.bom_is_in_files() {
        debug!("Creating SBOM files for legacy BOM");
        let launch_bom = std::mem::take(&mut metadata.bom);
        for (kind, bom) in [("launch", launch_bom), ("build", build_bom)] {
            write_text(&layers_dir.join("sbom").join(kind).join("sbom.legacy.json"), &legacy_bom_json(&bom)?)
                .with_context(|| format!("encoding {kind} bom"))?;
        }
    }
    debug!("Listing processes");
    metadata.buildpack_default_process_type = processes.default_type().to_owned();
    metadata.processes = processes.list(inputs.api);
    metadata.buildpacks.clone_from(&inputs.group.group);
    // That they are extensions, and optional, is clear from where they stand.
    let unmarked = |e: &GroupElement| GroupElement { extension: false, optional: false, ..e.clone() };
    metadata.extensions = inputs.group.extensions.iter().map(unmarked).collect();
    Ok(metadata)
}

fn build_one(
    inputs: &Inputs<'_>,
    element: &GroupElement,
    requires: &[Require],
    env: &mut Env,
    mut guard: Option<&mut Guard<'_>>,
) -> Result<Outputs> {
    debug!("Looking up buildpack");
    let buildpack = inputs.store.lookup(element)?;

    debug!("Creating plan directory");
    let dir_name = escape_id(&buildpack.id);
    let plan_dir = TemporaryDirectory::new(&format!("{dir_name}-"))?;

    debug!("Preparing paths");
    let buildpack_layers = inputs.layers_dir.join(&dir_name);
    fs::create_dir_all(&buildpack_layers).map_err(|e| Error::io("mkdir", &buildpack_layers, &e))?;
    let plan_path = plan_dir.path().join(&dir_name).join("plan.toml");
    write_buildpack_plan(&plan_path, requires)?;

    debug!("Running build command");
    let command = build::command(&buildpack, inputs.surroundings, env, &buildpack_layers, &plan_path)?;
    match guard.as_deref_mut() {
        None => build::run(command)?,
        Some(guard) => {
            guard.run(element, command)?;
            guard.check(element)?;
        }
    }

    debug!("Processing layers");
    let layers = outputs::process_layers(&buildpack_layers).context("failed to process buildpack layer")?;
    let order = LoadOrder::of(&buildpack_layers, &layers, inputs.honours_proposals)
        .context("failed to process buildpack layer: failed to decode layer metadata file")?;
    debug!("Updating environment");
    outputs::update_environment(&buildpack_layers, &layers, &order.layers, env)?;
    debug!("Reading output files");
    let mut outputs = outputs::read(&buildpack_layers, &buildpack, requires, &layers)?;
    outputs.ordered_layers = order.of_launch;
    if let Some(guard) = guard {
        guard.settle(element, &layers, inputs.honours_proposals)?;
    }
    Ok(outputs)
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| Error::io("mkdir", dir, &e))?;
    }
    fs::write(path, text).map_err(|e| Error::io("open", path, &e))
}
