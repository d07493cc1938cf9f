//! buildpack.toml and extension.toml (buildpack.md, "buildpack.toml"; image_extension.md, "extension.toml").

use std::path::PathBuf;

use crate::api::BuildpackApi;
use crate::data::group::GroupElement;
use crate::data::target::BuildpackTarget;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    Buildpack,
    Extension,
}

#[derive(Clone, Debug)]
pub struct Descriptor {
    pub kind: ModuleKind,
    pub api: BuildpackApi,
    /// `api` as written.
    pub api_text: String,
    pub id: String,
    pub version: String,
    pub name: String,
    pub homepage: String,
    pub clear_env: bool,
    /// The directory of the descriptor, absolute.
    pub root: PathBuf,
    /// Non-empty for composite buildpacks.
    pub order: Vec<Vec<GroupElement>>,
    /// Declared or inferred (buildpack.md, "targets").
    pub targets: Vec<BuildpackTarget>,
    /// Execution environments; empty means any (Buildpack API ≥ 0.12).
    pub exec_env: Vec<String>,
    /// Media types of the SBOM files that the buildpack may write (buildpack.md, "sbom-formats"), as written.
    pub sbom_formats: Vec<String>,
}
