//! Free-form values, as buildpacks put them into metadata tables.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A TOML or JSON value. Tables are sorted, as the reference writes them. Integers stay integers on the way from TOML to
/// JSON and back.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON only. TOML leaves the key out.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// RFC 3339 text, or only its date, time, or date and time: a bare datetime in TOML, a string in JSON.
    Datetime(String),
    Array(Vec<Value>),
    Table(Table),
}

pub type Table = BTreeMap<String, Value>;

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self { Some(s) } else { None }
    }

    /// Strings as they are, other values as in a document.
    pub fn to_display(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(b) => b.to_string(),
            Self::Integer(i) => i.to_string(),
            Self::Float(f) => f.to_string(),
            Self::String(s) | Self::Datetime(s) => s.clone(),
            Self::Array(items) => format!("[{}]", items.iter().map(Self::to_display).collect::<Vec<_>>().join(" ")),
            Self::Table(table) => table.keys().map(String::as_str).collect::<Vec<_>>().join(" "),
        }
    }
}

/// What the reference makes of a TOML datetime in JSON: missing parts are filled up, local times are taken as UTC.
pub(super) fn rfc3339(datetime: &str) -> String {
    let has_date = datetime.as_bytes().get(4) == Some(&b'-');
    let has_time = datetime.contains(':');
    match (has_date, has_time) {
        (true, false) => format!("{datetime}T00:00:00Z"),
        (false, _) => format!("0000-01-01T{datetime}Z"),
        (true, true) => {
            let has_offset = datetime.ends_with('Z') || datetime[10..].contains(['+', '-']);
            if has_offset { datetime.to_owned() } else { format!("{datetime}Z") }
        }
    }
}

/// The name under which the `toml` crate passes a datetime through serde.
const TOML_DATETIME: &str = "$__toml_private_datetime";

fn datetime(text: &str) -> Option<Value> {
    let parsed: toml::value::Datetime = text.parse().ok()?;
    let text = parsed.to_string();
    Some(Value::Datetime(text.strip_suffix("+00:00").map(|t| format!("{t}Z")).unwrap_or(text)))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    /// Larger than TOML's integers: refused, as the reference does.
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom(format_args!("{value} is out of range for an integer")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Table::new();
        while let Some((key, value)) = entries.next_entry()? {
            table.insert(key, value);
        }
        if table.len() == 1
            && let Some(Value::String(text)) = table.get(TOML_DATETIME)
            && let Some(value) = datetime(text)
        {
            return Ok(value);
        }
        Ok(Value::Table(table))
    }
}
