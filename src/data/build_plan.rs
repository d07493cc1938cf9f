//! The build plan that bin/detect writes (buildpack.md, "Build Plan").

use super::value::Table;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildPlan {
    pub sections: PlanSections,
    pub or: Vec<PlanSections>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanSections {
    pub requires: Vec<Require>,
    /// Names.
    pub provides: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    pub name: String,
    /// Deprecated top-level version; empty if absent.
    pub version: String,
    pub metadata: Option<Table>,
}
