//! `analyzed.toml` (platform.md, "analyzed.toml").

use super::layers_metadata::LayersMetadata;
use super::target::TargetMetadata;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analyzed {
    /// Reference of the previous image, absent if there is none.
    pub previous_image: Option<String>,
    /// Reference of the build image, if extensions may extend it.
    pub build_image: Option<String>,
    /// What the previous image's label says about its layers.
    pub metadata: LayersMetadata,
    pub run_image: Option<RunImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunImage {
    pub reference: String,
    /// Name as given by the platform or by extensions; written only if not empty.
    pub image: String,
    /// The run image is to be extended by `extender -kind run`.
    pub extend: bool,
    pub target: Option<TargetMetadata>,
}
