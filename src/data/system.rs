//! `system.toml` (platform.md, "system.toml").

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    pub pre: Vec<SystemBuildpack>,
    pub post: Vec<SystemBuildpack>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemBuildpack {
    pub id: String,
    pub version: String,
}
