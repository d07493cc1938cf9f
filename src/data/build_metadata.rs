//! `<layers>/config/metadata.toml` and the label `io.buildpacks.build.metadata`.

use super::group::GroupElement;
use super::launch_toml::{BomEntry, Label, Slice};

/// platform.md, "metadata.toml" and "io.buildpacks.build.metadata".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildMetadata {
    pub bom: Vec<BomEntry>,
    pub buildpacks: Vec<GroupElement>,
    pub extensions: Vec<GroupElement>,
    pub labels: Vec<Label>,
    pub processes: Vec<Process>,
    pub slices: Vec<Slice>,
    pub buildpack_default_process_type: String,
    /// Label only.
    pub launcher: LauncherMetadata,
    /// Effective order of launch layers per buildpack id, for `ordered-layers` (layer-protection-and-order.md §5.4).
    pub ordered_layers: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub kind: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub direct: bool,
    pub default: bool,
    pub buildpack_id: String,
    pub working_dir: String,
    pub exec_env: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LauncherMetadata {
    pub version: String,
    pub repository: String,
    pub commit: String,
}
