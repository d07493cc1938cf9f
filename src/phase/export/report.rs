//! Saving the image, and what is reported of it.

use tracing::{debug, debug_span, info};

use super::Inputs;
use crate::api::PlatformApi;
use crate::data::group::GroupElement;
use crate::data::launch_toml::{BomEntry, BuildToml};
use crate::data::report::{ImageReport, Report, ReportedRunImage};
use crate::error::Result;
use crate::image::{ImageDraft, ImageWriter};
use crate::layers::dir::BuildpackDir;

/// Commits the image under all its names, with the lines that platforms look for.
pub fn save(writer: Box<dyn ImageWriter>, draft: &ImageDraft, names: &[String]) -> Result<ImageReport> {
    let _span = debug_span!("save", name = names.first()).entered();
    let shown = writer.shown_names();
    info!("Saving {}...", shown.first().map_or("", String::as_str));
    let saved = writer.commit(draft)?;
    let id = match (&saved.image_id, &saved.digest) {
        (Some(id), _) => id.get(..12).unwrap_or(id),
        (None, Some(digest)) => digest.as_str(),
        (None, None) => "",
    };
    info!("*** Images ({id}):");
    for name in &saved.names {
        info!("      {name}");
    }
    if let Some(id) = &saved.image_id {
        debug!("*** Image ID: {id}");
    } else if let Some(digest) = &saved.digest {
        debug!("*** Digest: {digest}");
    }
    if saved.manifest_size > 0 {
        debug!("*** Manifest Size: {}", saved.manifest_size);
    }
    Ok(ImageReport {
        tags: saved.names,
        image_id: saved.image_id.unwrap_or_default(),
        digest: saved.digest.map(|d| d.to_string()).unwrap_or_default(),
        manifest_size: saved.manifest_size,
    })
}

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
