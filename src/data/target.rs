//! Targets: what a run image is, and what a buildpack supports.

use serde::Deserialize;

use super::json_out;
use super::node::{Fields, Node};
use crate::error::Result;

/// Target data of the run image (platform.md, "analyzed.toml").
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetMetadata {
    pub id: Option<String>,
    pub os: String,
    pub arch: String,
    #[serde(rename = "arch-variant")]
    pub arch_variant: Option<String>,
    pub distro: Option<OsDistro>,
}

impl TargetMetadata {
    pub(super) fn to_fields(&self) -> Fields {
        Fields::new()
            .with_nonempty("id", self.id.as_ref())
            .with("os", &self.os)
            .with("arch", &self.arch)
            .with_nonempty("arch-variant", self.arch_variant.as_ref())
            .with("distro", self.distro.as_ref().map(OsDistro::to_fields))
    }

    /// As shown in log lines.
    pub fn to_json(&self) -> Result<String> {
        json_out::to_string(&Node::from(self.to_fields()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OsDistro {
    pub name: String,
    pub version: String,
}

impl OsDistro {
    fn to_fields(&self) -> Fields {
        Fields::new().with("name", &self.name).with("version", &self.version)
    }
}

/// `[[targets]]` of buildpack.toml (buildpack.md, "buildpack.toml"). Empty fields match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BuildpackTarget {
    pub os: String,
    pub arch: String,
    /// Key `arch-variant`.
    #[serde(rename = "arch-variant")]
    pub variant: String,
    pub distros: Vec<OsDistro>,
}

impl BuildpackTarget {
    fn to_fields(&self) -> Fields {
        Fields::new()
            .with("os", &self.os)
            .with("arch", &self.arch)
            .with_nonempty("arch-variant", &self.variant)
            .with_nonempty("distros", Node::list(self.distros.iter().map(OsDistro::to_fields)))
    }

    /// A list of targets as shown in log lines.
    pub fn list_to_json(targets: &[Self]) -> Result<String> {
        json_out::to_string(&Node::list_or_null(targets.iter().map(Self::to_fields)))
    }
}
