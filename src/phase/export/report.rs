//! What is reported of an exported image.

use super::Inputs;
use crate::api::PlatformApi;
use crate::data::group::GroupElement;
use crate::data::launch_toml::{BomEntry, BuildToml};
use crate::data::report::{ImageReport, Report, ReportedRunImage};
use crate::error::Result;
use crate::layers::dir::BuildpackDir;

/// The report of an export.
pub fn report(inputs: &Inputs<'_>, build_bom: Vec<BomEntry>, image: ImageReport) -> Report {
    let run_image = inputs.report_run_image.then(|| ReportedRunImage {
        reference: inputs.run_image.identifier.clone(),
        top_layer: inputs.run_image.config.top_layer().map(|d| d.to_string()).unwrap_or_default(),
        export: inputs.run_image_names.clone(),
    });
    Report { build_bom: Some(build_bom), image, run_image }
}

/// The legacy BOM of the build, from the build.toml of each buildpack; from Platform API 0.9 on there is none.
pub fn legacy_bom(api: PlatformApi, buildpacks: &[BuildpackDir]) -> Result<Vec<BomEntry>> {
    let mut bom = Vec::new();
    if api.bom_is_in_files() {
        return Ok(bom);
    }
    for dir in buildpacks {
        let build = BuildToml::read(&dir.path.join("build.toml"))?;
        let GroupElement { id, version, .. } = dir.buildpack.clone();
        let buildpack = GroupElement { id, version, ..GroupElement::default() };
        bom.extend(build.bom.into_iter().map(|entry| BomEntry { buildpack: buildpack.clone(), ..entry }));
    }
    Ok(bom)
}
