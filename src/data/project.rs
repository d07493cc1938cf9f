//! `project-metadata.toml` and the label `io.buildpacks.project.metadata`.

use super::value::Table;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectMetadata {
    pub source: Option<ProjectSource>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectSource {
    pub kind: String,
    pub version: Option<Table>,
    pub metadata: Option<Table>,
}
