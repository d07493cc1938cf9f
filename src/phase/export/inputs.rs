//! What the export phase works on.

use std::path::Path;
use std::sync::Arc;

use super::extended::ExtendedRunImage;
use crate::api::PlatformApi;
use crate::data::build_metadata::BuildMetadata;
use crate::data::group::Group;
use crate::data::layers_metadata::LayersMetadata;
use crate::data::project::ProjectMetadata;
use crate::data::run::RunImageForExport;
use crate::image::Image;

#[derive(Debug)]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    /// Absolute, as all directories.
    pub layers_dir: &'a Path,
    pub app_dir: &'a Path,
    pub group: &'a Group,
    /// Content of `<layers>/config/metadata.toml`, with the launcher's version for the label.
    pub build: &'a BuildMetadata,
    pub project: &'a ProjectMetadata,
    /// Owner of everything in new layers.
    pub uid: u64,
    pub gid: u64,
    pub launcher: &'a Path,
    /// `-launcher-sbom`.
    pub launcher_sbom: Option<&'a Path>,
    /// Process type that the platform wants as default.
    pub process_type: Option<&'a str>,
    /// Execution environment; empty if none.
    pub exec_env: &'a str,
    /// Time of the image in RFC 3339; `None` for the fixed one of reproducible images.
    pub created: Option<&'a str>,
    /// Names of the app image, the main one first.
    pub names: &'a [String],
    pub run_image: &'a Arc<Image>,
    /// How the platform names the run image.
    pub run_image_names: &'a RunImageForExport,
    pub extended: Option<&'a ExtendedRunImage>,
    /// The extended run image's config takes the place of that of the run image.
    pub use_extended_config: bool,
    pub previous: Option<&'a Arc<Image>>,
    /// The label of the previous image.
    pub previous_metadata: &'a LayersMetadata,
    /// Layers of the cache are made while the image is written.
    pub parallel: bool,
    /// Layers that are made at the same time.
    pub threads: usize,
    /// Layers are those that their buildpacks left, whatever others did to them (layer protection `discard`).
    pub discards_changes: bool,
    /// `CNB_REPORT_RUN_IMAGE`.
    pub report_run_image: bool,
}
