//! Reading TOML and JSON documents into their types.
//!
//! Unknown keys are ignored and missing ones take their zero value; a value of the wrong type is an error.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::any_case::AnyCase;
use crate::error::{Error, Result};

/// Parses a TOML document. Errors name the line.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::Deserializer::parse(text).and_then(|document| T::deserialize(AnyCase(document))).map_err(|e| {
        let line = e.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Error::new(format!("toml: line {line}: {}", message(&e, text)))
    })
}

/// Reads a TOML document. Errors name the file and the line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    read_optional(path)?.ok_or_else(|| Error::new(format!("open {}: no such file or directory", path.display())))
}

/// Reads a TOML document; `None` if there is no such file.
pub fn read_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, &e)),
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| Error::new(format!("toml: line {}: invalid UTF-8", line_of(&bytes, e.valid_up_to()))))
        .and_then(parse);
    text.map(Some).map_err(|e| Error::new(format!("{e} ({})", path.display())))
}

/// Parses a JSON document, such as a label. As in Go, null stands for a field's zero value.
pub fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    decode(parse_value(text)?)
}

/// As [`parse_json`], but as if the document did not have this key.
pub fn parse_json_without<T: DeserializeOwned>(text: &str, key: &str) -> Result<T> {
    let mut value = parse_value(text)?;
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove(key);
    }
    decode(value)
}

fn parse_value(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|e| Error::new(format!("decode JSON: {e}")))
}

fn decode<T: DeserializeOwned>(mut value: serde_json::Value) -> Result<T> {
    if value.is_null() {
        value = serde_json::Value::Object(serde_json::Map::new());
    }
    fit_to_toml(&mut value);
    T::deserialize(AnyCase(value)).map_err(|e| Error::new(format!("decode JSON: {e}")))
}

/// Drops fields that are null, and makes floats of integers that are too large for TOML.
fn fit_to_toml(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, v| !v.is_null());
            fields.values_mut().for_each(fit_to_toml);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(fit_to_toml),
        serde_json::Value::Number(number) if number.is_u64() && !number.is_i64() => {
            if let Some(float) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = float;
            }
        }
        _ => {}
    }
}

fn line_of(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset].iter().filter(|b| **b == b'\n').count()
}

/// The parser's message; in the reference's words for a line without `=`, because platforms' tests look for them.
fn message(error: &toml::de::Error, text: &str) -> String {
    if error.message().starts_with("key with no value")
        && let Some(span) = error.span()
    {
        let found = text[span.end.min(text.len())..].chars().find(|c| *c != ' ' && *c != '\t');
        if let Some(c) = found.filter(|c| !matches!(c, '\n' | '\r')) {
            return format!("expected '.' or '=', but got '{c}' instead");
        }
    }
    error.message().to_owned()
}
