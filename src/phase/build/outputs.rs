//! What one bin/build left: layers, build.toml, launch.toml, SBOM files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tracing::warn;

use crate::bail;
use crate::buildpack::descriptor::Descriptor;
use crate::data::build_metadata::Process;
use crate::data::build_plan::Require;
use crate::data::group::GroupElement;
use crate::data::launch_toml::{BomEntry, BuildToml, Label, LaunchToml, ProcessEntry, Slice};
use crate::data::layer_toml::LayerToml;
use crate::env::Env;
use crate::error::{Context, Error, Result};
use crate::layers::sbom::{self, SbomFile};

/// The layers of one buildpack by name: all that have a `<layer>.toml`.
pub(super) type Layers = BTreeMap<OsString, LayerToml>;

#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub sbom_files: Vec<SbomFile>,
    pub build_bom: Vec<BomEntry>,
    pub launch_bom: Vec<BomEntry>,
    pub labels: Vec<Label>,
    /// Names of requirements that later buildpacks need not meet.
    pub met: Vec<String>,
    pub processes: Vec<Process>,
    pub slices: Vec<Slice>,
    /// All layers for the launch in their order, if it is not that of their names.
    pub ordered_layers: Option<Vec<String>>,
}

/// Reads every `<layer>.toml`, once. Directories of layers that are of no type get the suffix `.ignore`
/// (buildpack.md, "Layer Types").
///
/// launch.toml, build.toml and store.toml are read so, too, as in the reference: `launch = true` at their top level is an
/// error, and a directory `launch` is ignored.
pub(super) fn process_layers(dir: &Path) -> Result<Layers> {
    let mut layers = Layers::new();
    for name in toml_names(dir)? {
        let mut file = name.clone();
        file.push(".toml");
        let toml = LayerToml::read(&dir.join(file)).context("failed to decode layer metadata file")?;
        if !toml.launch && !toml.cache && !toml.build {
            rename_ignored(&dir.join(&name)).context("failed to rename layer directory")?;
        }
        layers.insert(name, toml);
    }
    Ok(layers)
}

fn toml_names(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("open", dir, &e))? {
        let entry = entry.map_err(|e| Error::io("readdirent", dir, &e))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if let Some(name) = entry.file_name().as_bytes().strip_suffix(b".toml") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn rename_ignored(layer: &Path) -> Result<()> {
    let mut ignored = layer.as_os_str().to_owned();
    ignored.push(".ignore");
    let fail = |e: &std::io::Error| Err(Error::io("rename", format!("{} {}", layer.display(), ignored.display()), e));
    match fs::symlink_metadata(layer) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return fail(&e),
        Ok(_) => {}
    }
    // Not even an empty directory is replaced: it is the buildpack's.
    if fs::symlink_metadata(&ignored).is_ok_and(|m| m.is_dir()) {
        return fail(&ErrorKind::AlreadyExists.into());
    }
    fs::rename(layer, &ignored).or_else(|e| fail(&e))
}

/// Lets the layers for builds change the environment of the buildpacks that follow: layer by layer in `order`, its
/// directories, then `env`, then `env.build`.
pub(super) fn update_environment(dir: &Path, layers: &Layers, order: &[OsString], env: &mut Env) -> Result<()> {
    for name in order.iter().filter(|name| layers.get(*name).is_some_and(|toml| toml.build)) {
        let layer = dir.join(name);
        env.add_root_dir(&layer)?;
        env.add_env_dir(&layer.join("env"))?;
        env.add_env_dir(&layer.join("env.build"))?;
    }
    Ok(())
}

/// Reads the documents of one buildpack and its SBOM files.
pub(super) fn read(dir: &Path, buildpack: &Descriptor, plan: &[Require], layers: &Layers) -> Result<Outputs> {
    let element = GroupElement { id: buildpack.id.clone(), version: buildpack.version.clone(), ..GroupElement::default() };
    let BuildToml { bom, unmet } = BuildToml::read(&dir.join("build.toml"))?;
    let mut outputs = Outputs { build_bom: checked_bom(dir, &element, bom)?, ..Outputs::default() };
    check_unmet(&unmet, plan)?;
    outputs.met = plan.iter().map(|r| r.name.clone()).filter(|name| !unmet.contains(name)).collect();
    outputs.sbom_files = sbom::collect(dir, &element, layers, &buildpack.sbom_formats)?;

    let launch = LaunchToml::read(&dir.join("launch.toml"), buildpack.api)?;
    outputs.launch_bom = checked_bom(dir, &element, launch.bom)?;
    if launch.processes.iter().filter(|p| p.default).count() > 1 {
        bail!("multiple default process types aren't allowed");
    }
    outputs.labels = launch.labels;
    outputs.slices = launch.slices;
    outputs.processes = launch.processes.into_iter().map(|entry| process(entry, buildpack)).collect();
    Ok(outputs)
}

/// The entries of a legacy BOM with the buildpack that wrote them, whatever they claim.
fn checked_bom(dir: &Path, buildpack: &GroupElement, mut bom: Vec<BomEntry>) -> Result<Vec<BomEntry>> {
    if !bom.is_empty() && sbom::file_names(dir)?.is_empty() {
        warn!(
            "BOM table is deprecated in this buildpack api version, though it remains supported for backwards compatibility. \
             Buildpack authors should write BOM information to <layer>.sbom.<ext>, launch.sbom.<ext>, or build.sbom.<ext>."
        );
    }
    for entry in &mut bom {
        if !entry.require.version.is_empty() {
            bail!(
                "bom entry '{}' has a top level version which is not allowed. The buildpack should instead set metadata.version",
                entry.require.name
            );
        }
        entry.buildpack = buildpack.clone();
    }
    Ok(bom)
}

fn check_unmet(unmet: &[String], plan: &[Require]) -> Result<()> {
    for name in unmet {
        if name.is_empty() {
            bail!("unmet.name is required");
        }
        if !plan.iter().any(|r| r.name == *name) {
            bail!("unmet.name '{name}' must match a requested dependency");
        }
    }
    Ok(())
}

fn process(entry: ProcessEntry, buildpack: &Descriptor) -> Process {
    let ProcessEntry { kind, command, args, direct, default, mut working_dir, exec_env } = entry;
    if !working_dir.is_empty() && !buildpack.api.has_process_working_dir() {
        let what = "process working directory isn't supported in this buildpack api version. Ignoring working directory for";
        warn!("Warning: {what} process '{kind}'");
        working_dir.clear();
    }
    Process { kind, command, args, direct, default, buildpack_id: buildpack.id.clone(), working_dir, exec_env }
}
