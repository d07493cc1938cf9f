//! `<layers>/config/metadata.toml` and the label `io.buildpacks.build.metadata`.

use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::group::GroupElement;
use super::launch_toml::{BomEntry, Label, Slice};
use super::node::{Fields, Node};
use super::value::Value;
use super::{json_out, toml_in, toml_out};
use crate::api::PlatformApi;
use crate::error::{Context, Result};

/// platform.md, "metadata.toml" and "io.buildpacks.build.metadata".
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Document")]
pub struct BuildMetadata {
    pub bom: Vec<BomEntry>,
    pub buildpacks: Vec<GroupElement>,
    pub extensions: Vec<GroupElement>,
    pub labels: Vec<Label>,
    pub processes: Vec<Process>,
    /// The document that was read has no list of processes, not even an empty one: null in the label.
    pub no_processes: bool,
    pub slices: Vec<Slice>,
    pub buildpack_default_process_type: String,
    /// Label only.
    pub launcher: LauncherMetadata,
    /// Effective order of launch layers per buildpack id, for `ordered-layers` (layer-protection-and-order.md §5.4).
    pub ordered_layers: Vec<(String, Vec<String>)>,
}

/// metadata.toml as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    bom: Vec<BomEntry>,
    buildpacks: Vec<GroupElement>,
    extensions: Vec<GroupElement>,
    labels: Vec<Label>,
    processes: Option<Vec<Process>>,
    slices: Vec<Slice>,
    #[serde(rename = "buildpack-default-process-type")]
    buildpack_default_process_type: String,
}

impl From<Document> for BuildMetadata {
    fn from(document: Document) -> Self {
        let Document { bom, buildpacks, extensions, labels, processes, slices, buildpack_default_process_type } = document;
        Self {
            bom,
            buildpacks,
            extensions,
            labels,
            no_processes: processes.is_none(),
            processes: processes.unwrap_or_default(),
            slices,
            buildpack_default_process_type,
            launcher: LauncherMetadata::default(),
            ordered_layers: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Process {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// `None` is not written to TOML and null in JSON.
    pub args: Option<Vec<String>>,
    pub direct: bool,
    pub default: bool,
    #[serde(rename = "buildpack-id")]
    pub buildpack_id: String,
    #[serde(rename = "working-dir")]
    pub working_dir: String,
    #[serde(rename = "exec-env", deserialize_with = "super::exec_env::names")]
    pub exec_env: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LauncherMetadata {
    pub version: String,
    pub repository: String,
    pub commit: String,
}

/// A string or an array, whatever the API.
fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "invalid type, expected a string or an array of strings")]
    enum Command {
        String(String),
        Array(Vec<Value>),
    }
    Ok(match Command::deserialize(deserializer)? {
        Command::String(command) => vec![command],
        Command::Array(entries) => entries.into_iter().map(|e| e.to_display()).collect(),
    })
}

impl Process {
    /// The process as metadata.toml of this Platform API has it: where the command is a string, what follows its first
    /// word goes in front of the arguments.
    #[must_use]
    pub fn for_platform(mut self, api: PlatformApi) -> Self {
        if !api.command_is_array() && !self.command.is_empty() {
            let mut args = self.command.split_off(1);
            args.extend(self.args.unwrap_or_default());
            self.args = Some(args);
        }
        self
    }

    fn command(&self, api: PlatformApi) -> Node {
        if api.command_is_array() {
            Node::JsonQuoted(self.command.clone())
        } else {
            Node::JsonQuotedString(self.command.first().cloned().unwrap_or_default())
        }
    }

    fn to_fields(&self, api: PlatformApi, buildpack_id_key: &str) -> Fields {
        Fields::new()
            .with("type", &self.kind)
            .with("command", self.command(api))
            .with("args", self.args.as_ref())
            .with("direct", self.direct)
            .with_nonempty("default", self.default)
            .with(buildpack_id_key, &self.buildpack_id)
            .with_nonempty("working-dir", &self.working_dir)
            .with_nonempty("exec-env", &self.exec_env)
    }
}

impl BuildMetadata {
    pub fn parse(text: &str, api: PlatformApi) -> Result<Self> {
        toml_in::parse(text).map(|m: Self| m.for_platform(api))
    }

    /// Reads the file. A missing file is an error.
    pub fn read(path: &Path, api: PlatformApi) -> Result<Self> {
        toml_in::read(path).map(|m: Self| m.for_platform(api)).context("failed to read build metadata file")
    }

    fn for_platform(mut self, api: PlatformApi) -> Self {
        self.processes = self.processes.into_iter().map(|p| p.for_platform(api)).collect();
        self
    }

    fn to_fields(&self, api: PlatformApi) -> Fields {
        let buildpack = |b: &GroupElement| {
            let order = self.ordered_layers.iter().find(|(id, _)| *id == b.id).map(|(_, layers)| layers.as_slice());
            b.to_fields().with("ordered-layers", order)
        };
        let label = |l: &Label| Fields::new().with("key", &l.key).with("value", &l.value);
        Fields::new()
            .with_nonempty("bom", Node::list(self.bom.iter().map(BomEntry::to_fields)))
            .with("buildpacks", Node::list_or_null(self.buildpacks.iter().map(buildpack)))
            .with_nonempty("extensions", Node::list(self.extensions.iter().map(GroupElement::to_fields)))
            .with("labels", Node::list_or_null(self.labels.iter().map(label)))
            .with("processes", Node::list(self.processes.iter().map(|p| p.to_fields(api, "buildpack-id"))))
            .with("slices", Node::list_or_null(self.slices.iter().map(|s| Fields::new().with("paths", &s.paths))))
            .with_nonempty("buildpack-default-process-type", &self.buildpack_default_process_type)
    }

    /// metadata.toml. It is part of a layer: its bytes are those of the reference.
    pub fn to_toml(&self, api: PlatformApi) -> Result<String> {
        toml_out::to_string(&self.to_fields(api))
    }

    pub fn write(&self, path: &Path, api: PlatformApi) -> Result<()> {
        toml_out::write(path, &self.to_fields(api)).context("failed to write build metadata file")
    }

    /// The label. The BOM is in it below Platform API 0.9 only.
    pub fn to_json(&self, api: PlatformApi) -> Result<String> {
        let processes = self.processes.iter().map(|p| p.to_fields(api, "buildpackID"));
        let mut fields = Fields::new();
        if !api.bom_is_in_files() {
            fields = fields.with("bom", Node::list_or_null(self.bom.iter().map(BomEntry::to_json_fields)));
        }
        let fields = fields
            .with("buildpacks", Node::list_or_null(self.buildpacks.iter().map(GroupElement::to_json_fields)))
            .with_nonempty("extensions", Node::list(self.extensions.iter().map(GroupElement::to_json_fields)))
            .with("launcher", self.launcher.to_fields())
            .with("processes", if self.no_processes { Node::Null } else { Node::list(processes) })
            .with_nonempty("buildpack-default-process-type", &self.buildpack_default_process_type);
        json_out::to_string(&Node::from(fields))
    }
}

impl LauncherMetadata {
    fn to_fields(&self) -> Fields {
        let git = Fields::new().with("repository", &self.repository).with("commit", &self.commit);
        Fields::new().with("version", &self.version).with("source", Fields::new().with("git", git))
    }
}
