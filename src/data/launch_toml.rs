//! `launch.toml` and `build.toml` of a buildpack (buildpack.md, "launch.toml", "build.toml").

use std::path::Path;

use serde::Deserialize;

use super::build_plan::Require;
use super::group::GroupElement;
use super::node::{Fields, Node};
use super::value::{Table, Value};
use super::{json_out, toml_in};
use crate::api::BuildpackApi;
use crate::bail;
use crate::error::Result;

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
    /// `None` if the key is missing: it is missing in metadata.toml then, too.
    pub args: Option<Vec<String>>,
    /// Always set from Buildpack API 0.9 on.
    pub direct: bool,
    pub default: bool,
    pub working_dir: String,
    pub exec_env: Vec<String>,
}

/// An entry of the legacy BOM.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "FlatBomEntry")]
pub struct BomEntry {
    pub require: Require,
    pub buildpack: GroupElement,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FlatBomEntry {
    name: String,
    version: String,
    metadata: Option<Table>,
    buildpack: GroupElement,
}

impl From<FlatBomEntry> for BomEntry {
    fn from(FlatBomEntry { name, version, metadata, buildpack }: FlatBomEntry) -> Self {
        Self { require: Require { name, version, metadata }, buildpack }
    }
}

impl BomEntry {
    pub(super) fn to_fields(&self) -> Fields {
        self.require.to_fields().with("buildpack", self.buildpack.to_fields())
    }

    pub(super) fn to_json_fields(&self) -> Fields {
        self.require.to_fields().with("buildpack", self.buildpack.to_json_fields())
    }
}

/// `sbom.legacy.json`: the legacy BOM as a JSON document, with a line end.
pub fn legacy_bom_json(bom: &[BomEntry]) -> Result<String> {
    Ok(json_out::to_string(&Node::list_or_null(bom.iter().map(BomEntry::to_json_fields)))? + "\n")
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Label {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Slice {
    pub paths: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LaunchDocument {
    bom: Vec<BomEntry>,
    labels: Vec<Label>,
    processes: Vec<ProcessDocument>,
    slices: Vec<Slice>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProcessDocument {
    #[serde(rename = "type")]
    kind: String,
    command: Option<Value>,
    args: Option<Vec<String>>,
    direct: Option<bool>,
    default: bool,
    #[serde(rename = "working-dir")]
    working_dir: String,
    #[serde(rename = "exec-env", deserialize_with = "super::exec_env::names")]
    exec_env: Vec<String>,
}

impl ProcessDocument {
    fn into_entry(self, api: BuildpackApi) -> Result<ProcessEntry> {
        let (command, direct) = if api.command_is_array() {
            if self.direct.is_some() {
                bail!("process.direct is not supported on this buildpack version");
            }
            (strings(self.command).ok_or("an array of strings"), true)
        } else {
            let command = self.command.and_then(|c| c.as_str().map(|c| vec![c.to_owned()]));
            (command.ok_or("a string"), self.direct.unwrap_or(false))
        };
        let command = match command {
            Ok(command) => command,
            Err(form) => bail!("the command of process '{}' must be {form} in Buildpack API {api}", self.kind),
        };
        let Self { kind, args, default, working_dir, exec_env, .. } = self;
        Ok(ProcessEntry { kind, command, args, direct, default, working_dir, exec_env })
    }
}

fn strings(value: Option<Value>) -> Option<Vec<String>> {
    let Some(Value::Array(items)) = value else { return None };
    items.into_iter().map(|i| if let Value::String(s) = i { Some(s) } else { None }).collect()
}

impl LaunchToml {
    pub fn parse(text: &str, api: BuildpackApi) -> Result<Self> {
        Self::from_document(toml_in::parse(text)?, api)
    }

    /// Reads the file; nothing if there is none.
    pub fn read(path: &Path, api: BuildpackApi) -> Result<Self> {
        let document = toml_in::read_optional(path)?.unwrap_or_default();
        Self::from_document(document, api).map_err(|e| e.context(path.display()))
    }

    fn from_document(document: LaunchDocument, api: BuildpackApi) -> Result<Self> {
        let LaunchDocument { bom, labels, processes, slices } = document;
        let processes = processes.into_iter().map(|p| p.into_entry(api)).collect::<Result<_>>()?;
        Ok(Self { bom, labels, processes, slices })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BuildToml {
    pub bom: Vec<BomEntry>,
    /// Names.
    #[serde(deserialize_with = "super::build_plan::names")]
    pub unmet: Vec<String>,
}

impl BuildToml {
    pub fn parse(text: &str) -> Result<Self> {
        toml_in::parse(text)
    }

    /// Reads the file; nothing if there is none.
    pub fn read(path: &Path) -> Result<Self> {
        toml_in::read_optional(path).map(Option::unwrap_or_default)
    }
}
