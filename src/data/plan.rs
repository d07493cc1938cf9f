//! `plan.toml` (platform.md, "plan.toml") and the Buildpack Plan passed to bin/build.

use super::build_plan::Require;
use super::group::GroupElement;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub entries: Vec<PlanEntry>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanEntry {
    pub providers: Vec<GroupElement>,
    pub requires: Vec<Require>,
}
