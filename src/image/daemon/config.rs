//! What the daemon tells of an image, as an image config.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::image::{DiffId, ImageConfig};

/// Keys of a container's config that an image keeps. The rest describes containers (`Hostname`, `Tty`, …).
const KEPT: [&str; 12] = [
    "Cmd",
    "Healthcheck",
    "Entrypoint",
    "Env",
    "Labels",
    "OnBuild",
    "User",
    "Volumes",
    "WorkingDir",
    "ExposedPorts",
    "StopSignal",
    "Shell",
];

/// The config of an image by `inspect` and `history`. The daemon's own file is not to be had without saving the whole image.
pub fn image_config(inspect: &Value, history: &Value) -> Result<ImageConfig> {
    let layers: Vec<&str> = strings(&inspect["RootFS"]["Layers"]);
    if let Some(bad) = layers.iter().find(|l| DiffId::parse(l).is_none()) {
        return Err(Error::new(format!("inspecting image: {bad:?} is no diff ID")));
    }
    let mut config = Map::new();
    for key in KEPT {
        match &inspect["Config"][key] {
            Value::Null => {}
            value => drop(config.insert(key.to_owned(), value.clone())),
        }
    }
    let mut json = json!({
        "architecture": inspect["Architecture"].as_str().unwrap_or_default(),
        "os": inspect["Os"].as_str().unwrap_or_default(),
        "created": inspect["Created"].as_str().unwrap_or_default(),
        "rootfs": {"type": "layers", "diff_ids": layers},
        "config": config,
    });
    for (key, from) in [("author", "Author"), ("os.version", "OsVersion"), ("variant", "Variant")] {
        if let Some(text) = inspect[from].as_str().filter(|t| !t.is_empty()) {
            json[key] = text.into();
        }
    }
    // Entries without a layer cannot be told from others: with them, nothing is known of any.
    let entries: Vec<Value> = history.as_array().into_iter().flatten().rev().map(entry).collect();
    if entries.len() == layers.len() {
        json["history"] = entries.into();
    }
    ImageConfig::parse(json.to_string().as_bytes())
}

fn entry(item: &Value) -> Value {
    let mut entry = json!({});
    if let Some(created) = item["Created"].as_i64().and_then(crate::image::time::rfc3339) {
        entry["created"] = created.into();
    }
    for (key, from) in [("created_by", "CreatedBy"), ("comment", "Comment")] {
        if let Some(text) = item[from].as_str().filter(|t| !t.is_empty()) {
            entry[key] = text.into();
        }
    }
    entry
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect() -> Value {
        json!({
            "Architecture": "arm64", "Os": "linux", "Variant": "v8", "OsVersion": "", "Author": "me", "Created": "2020-01-01T00:00:00Z",
            "Config": {
                "Hostname": "h", "Tty": false, "Env": ["A=b"], "Cmd": null, "Labels": {"l": "v"}, "User": "1", "Image": "sha256:x",
                "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1},
            },
            "RootFS": {"Type": "layers", "Layers": [format!("sha256:{}", "a".repeat(64))]},
        })
    }

    #[test]
    fn keeps_what_belongs_to_images() {
        let history = json!([{"Created": 1_600_000_000, "CreatedBy": "RUN x", "Comment": ""}]);
        let config = image_config(&inspect(), &history).unwrap();
        assert_eq!((config.os(), config.architecture(), config.variant()), ("linux", "arm64", "v8"));
        assert_eq!((config.label("l"), config.user()), (Some("v"), "1"));
        assert_eq!(config.json["config"]["Healthcheck"]["Interval"], 1);
        for gone in ["Hostname", "Tty", "Cmd", "Image"] {
            assert!(config.json["config"].get(gone).is_none(), "{gone}");
        }
        assert_eq!(config.history_of_layer(0).unwrap().created_by, "RUN x");
        assert_eq!(config.history_of_layer(0).unwrap().created, "2020-09-13T12:26:40Z");
    }

    #[test]
    fn a_history_with_other_entries_says_nothing() {
        let history = json!([{"Created": 1, "CreatedBy": "ENV"}, {"Created": 1, "CreatedBy": "RUN"}]);
        assert!(image_config(&inspect(), &history).unwrap().history().is_empty());
        let mut bad = inspect();
        bad["RootFS"]["Layers"][0] = "x".into();
        assert!(image_config(&bad, &json!([])).is_err());
    }
}
