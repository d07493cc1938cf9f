//! Image configs (OCI image spec, "config.md").

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json;
use super::manifest::Descriptor;
use super::reference::{DiffId, Digest};
use crate::bail;
use crate::error::{Error, Result};

/// A config as it was read, unknown fields and order kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig {
    pub json: Value,
}

/// One entry of a config's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub author: String,
    pub created: String,
    pub created_by: String,
    pub comment: String,
    pub empty_layer: bool,
}

/// Key order of Go's structs, which most images in the world have.
const TOP: [&str; 12] = [
    "architecture",
    "author",
    "container",
    "created",
    "docker_version",
    "history",
    "os",
    "rootfs",
    "config",
    "os.version",
    "variant",
    "os.features",
];
const SECTION: [&str; 24] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Cmd",
    "Healthcheck",
    "Domainname",
    "Entrypoint",
    "Env",
    "Hostname",
    "Image",
    "Labels",
    "OnBuild",
    "OpenStdin",
    "StdinOnce",
    "Tty",
    "User",
    "Volumes",
    "WorkingDir",
    "ExposedPorts",
    "ArgsEscaped",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "Shell",
];
/// Known fields that are written even if empty.
const ALWAYS: [&str; 5] = ["architecture", "os", "rootfs", "config", "created"];

impl ImageConfig {
    /// # Errors
    /// If the bytes are not a JSON object, or `rootfs.diff_ids` is not a list of digests.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(bytes).map_err(|e| Error::new(format!("parse image config: {e}")))?;
        if !json.is_object() {
            bail!("parse image config: not a JSON object");
        }
        let config = Self { json };
        let ids = config.json["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
        if config.diff_ids().len() != ids {
            bail!("parse image config: rootfs.diff_ids: not a list of sha256 digests");
        }
        Ok(config)
    }

    /// Of an image without layers.
    pub fn empty(os: &str, architecture: &str) -> Self {
        Self { json: json!({"architecture": architecture, "os": os, "rootfs": {"type": "layers", "diff_ids": []}, "config": {}}) }
    }

    pub fn os(&self) -> &str {
        self.text("os")
    }

    pub fn architecture(&self) -> &str {
        self.text("architecture")
    }

    pub fn variant(&self) -> &str {
        self.text("variant")
    }

    pub fn os_version(&self) -> &str {
        self.text("os.version")
    }

    /// RFC 3339, as written; empty if absent.
    pub fn created(&self) -> &str {
        self.text("created")
    }

    pub fn user(&self) -> &str {
        self.json["config"]["User"].as_str().unwrap_or_default()
    }

    pub fn working_dir(&self) -> &str {
        self.json["config"]["WorkingDir"].as_str().unwrap_or_default()
    }

    pub fn entrypoint(&self) -> Vec<String> {
        strings(&self.json["config"]["Entrypoint"])
    }

    pub fn cmd(&self) -> Vec<String> {
        strings(&self.json["config"]["Cmd"])
    }

    /// `NAME=value` lines.
    pub fn env_lines(&self) -> Vec<String> {
        strings(&self.json["config"]["Env"])
    }

    /// Value of a variable; `None` if the image does not set it.
    pub fn env(&self, name: &str) -> Option<&str> {
        let lines = self.json["config"]["Env"].as_array()?;
        lines
            .iter()
            .filter_map(Value::as_str)
            .find_map(|line| line.split_once('=').filter(|(n, _)| *n == name).map(|(_, value)| value))
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.json["config"]["Labels"][name].as_str()
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.json["config"]["Labels"].as_object();
        labels.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    }

    /// Bottom first.
    pub fn diff_ids(&self) -> Vec<DiffId> {
        let ids = self.json["rootfs"]["diff_ids"].as_array();
        ids.into_iter().flatten().filter_map(|id| DiffId::parse(id.as_str()?)).collect()
    }

    /// DiffID of the topmost layer.
    pub fn top_layer(&self) -> Option<DiffId> {
        self.diff_ids().pop()
    }

    pub fn history(&self) -> Vec<History> {
        let entries = self.json["history"].as_array();
        entries.into_iter().flatten().map(History::from_json).collect()
    }

    /// The history entry of the layer with this index, entries of empty layers not counted.
    pub fn history_of_layer(&self, index: usize) -> Option<History> {
        self.history().into_iter().filter(|entry| !entry.empty_layer).nth(index)
    }

    /// The part named `config`: what a container is started with.
    pub(super) fn section(&mut self) -> &mut Map<String, Value> {
        child(&mut self.json, "config")
    }

    /// Deterministic bytes: known keys in the reference's order, empty ones left out, labels sorted, unknown ones kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut copy = self.clone();
        copy.tidy();
        json::to_bytes(&copy.json)
    }

    fn tidy(&mut self) {
        let section = self.section();
        if let Some(Value::Object(labels)) = section.get_mut("Labels") {
            labels.sort_keys();
        }
        section.retain(|key, value| !SECTION.contains(&key.as_str()) || !json::is_empty(value));
        json::reorder(section, &SECTION);
        if let Some(Value::Array(history)) = self.json.get_mut("history") {
            for entry in history.iter_mut().filter_map(Value::as_object_mut) {
                json::reorder(entry, &["author", "created", "created_by", "comment", "empty_layer"]);
            }
        }
        if let Some(top) = self.json.as_object_mut() {
            top.retain(|key, value| !TOP.contains(&key.as_str()) || ALWAYS.contains(&key.as_str()) || !json::is_empty(value));
            json::reorder(top, &TOP);
        }
    }

    /// What a manifest says of these bytes of a config.
    pub fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, &Digest::of(bytes), bytes.len() as u64)
    }

    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }
}

impl History {
    fn from_json(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        Self {
            author: text("author"),
            created: text("created"),
            created_by: text("created_by"),
            comment: text("comment"),
            empty_layer: json["empty_layer"].as_bool().unwrap_or_default(),
        }
    }
}

/// The object under this key, made if it is absent or something else.
pub(super) fn child<'a>(parent: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !parent[key].is_object() {
        parent[key] = json!({});
    }
    match &mut parent[key] {
        Value::Object(object) => object,
        _ => unreachable!("an object was put there"),
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: Value) -> ImageConfig {
        ImageConfig::parse(&json::to_bytes(&json)).unwrap()
    }

    #[test]
    fn keeps_what_it_does_not_know_and_orders_what_it_knows() {
        let config = config(json!({
            "x-own": {"z": 1, "a": 2}, "os": "linux", "architecture": "", "variant": "", "created": "",
            "config": {"User": "", "X": "", "Labels": {"b": "<", "a": "1"}, "Env": ["A=b"], "Cmd": null},
        }));
        let want = r#"{"architecture":"","created":"","os":"linux","config":{"Env":["A=b"],"Labels":{"a":"1","b":"\u003c"},"X":""},"x-own":{"z":1,"a":2}}"#;
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), want);
    }

    #[test]
    fn env_values_may_hold_equal_signs() {
        let config = config(json!({"config": {"Env": ["EQ=a=b", "EMPTY=", "ODD"]}}));
        assert_eq!(config.env("EQ"), Some("a=b"));
        assert_eq!(config.env("EMPTY"), Some(""));
        assert_eq!(config.env("ODD"), None);
    }

    #[test]
    fn history_of_a_layer_skips_entries_without_layer() {
        let config =
            config(json!({"history": [{"empty_layer": true}, {"created_by": "a"}, {"empty_layer": true}, {"created_by": "b"}]}));
        assert_eq!(config.history_of_layer(1).unwrap().created_by, "b");
        assert_eq!(config.history_of_layer(2), None);
    }

    #[test]
    fn refuses_what_is_no_config() {
        for bad in ["[]", "{", r#"{"rootfs":{"diff_ids":["x"]}}"#] {
            assert!(ImageConfig::parse(bad.as_bytes()).unwrap_err().to_string().starts_with("parse image config: "), "{bad}");
        }
    }
}
