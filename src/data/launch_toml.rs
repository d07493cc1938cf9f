//! `launch.toml` and `build.toml` of a buildpack (buildpack.md, "launch.toml", "build.toml").

use super::build_plan::Require;
use super::group::GroupElement;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchToml {
    pub bom: Vec<BomEntry>,
    pub labels: Vec<Label>,
    pub processes: Vec<ProcessEntry>,
    pub slices: Vec<Slice>,
}

/// `[[processes]]` as a buildpack writes it: `command` is a string below Buildpack API 0.9, else an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessEntry {
    pub kind: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub direct: bool,
    pub default: bool,
    pub working_dir: String,
    pub exec_env: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BomEntry {
    pub require: Require,
    pub buildpack: GroupElement,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildToml {
    pub bom: Vec<BomEntry>,
    /// Names.
    pub unmet: Vec<String>,
}
