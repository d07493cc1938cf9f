//! Targets: what a run image is, and what a buildpack supports.

/// Target data of the run image (platform.md, "analyzed.toml").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetMetadata {
    pub id: Option<String>,
    pub os: String,
    pub arch: String,
    pub arch_variant: Option<String>,
    pub distro: Option<OsDistro>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsDistro {
    pub name: String,
    pub version: String,
}

/// `[[targets]]` of buildpack.toml (buildpack.md, "buildpack.toml"). Empty fields match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildpackTarget {
    pub os: String,
    pub arch: String,
    pub variant: String,
    pub distros: Vec<OsDistro>,
}
