//! The tree that both writers take: fields in the order in which the document has them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{Error as _, SerializeMap, SerializeSeq, Serializer};

use super::value::{Value, rfc3339};

/// A value to be written as TOML ([`super::toml_out`]) or JSON ([`super::json_out`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// TOML leaves the key out.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// TOML datetime, see [`Value::Datetime`].
    Datetime(String),
    /// Strings that TOML output quotes with JSON's escapes: the command of a process, as recorded.
    JsonQuoted(Vec<String>),
    /// As [`Node::JsonQuoted`], a single string.
    JsonQuotedString(String),
    Array(Vec<Node>),
    Table(Fields),
}

/// Keys and values in the order of writing. TOML moves tables behind the other values, as it must.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(String, Node)>);

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Node>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// Adds the key unless the value is empty: null, false, 0, `""`, an empty list or table.
    #[must_use]
    pub fn with_nonempty(self, key: &str, value: impl Into<Node>) -> Self {
        let value = value.into();
        if value.is_empty() { self } else { self.with(key, value) }
    }

    /// Adds all keys of another table here, as Go does with embedded structs.
    #[must_use]
    pub fn with_all(mut self, other: Fields) -> Self {
        self.0.extend(other.0);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
}

impl Node {
    /// An array, or null if there is nothing in it: how a list that was never filled is written.
    pub fn list_or_null<T: Into<Node>>(items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<Node> = items.into_iter().map(Into::into).collect();
        if items.is_empty() { Self::Null } else { Self::Array(items) }
    }

    /// An array, an empty one too.
    pub fn list<T: Into<Node>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Integer(0) => true,
            Self::String(s) => s.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::Table(fields) => fields.0.is_empty(),
            _ => false,
        }
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Node {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<&String> for Node {
    fn from(value: &String) -> Self {
        Self::String(value.clone())
    }
}

impl From<&[String]> for Node {
    fn from(value: &[String]) -> Self {
        Self::list(value)
    }
}

impl From<&Vec<String>> for Node {
    fn from(value: &Vec<String>) -> Self {
        Self::list(value)
    }
}

impl From<Fields> for Node {
    fn from(value: Fields) -> Self {
        Self::Table(value)
    }
}

impl<T: Into<Node>> From<Option<T>> for Node {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&BTreeMap<String, Value>> for Node {
    fn from(table: &BTreeMap<String, Value>) -> Self {
        Self::Table(Fields(table.iter().map(|(k, v)| (k.clone(), v.into())).collect()))
    }
}

impl<N: Into<Node>> FromIterator<(String, N)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, N)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(k, v)| (k, v.into())).collect())
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Integer(i) => Self::Integer(*i),
            Value::Float(f) => Self::Float(*f),
            Value::String(s) => s.into(),
            Value::Datetime(d) => Self::Datetime(d.clone()),
            Value::Array(items) => Self::list(items),
            Value::Table(table) => table.into(),
        }
    }
}

/// For JSON only: TOML has [`super::toml_out`].
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Integer(i) => serializer.serialize_i64(*i),
            Self::Float(f) if !f.is_finite() => Err(S::Error::custom(format!("JSON has no value for {f}"))),
            Self::Float(f) => serializer.serialize_f64(*f),
            Self::String(s) | Self::JsonQuotedString(s) => serializer.serialize_str(s),
            Self::Datetime(d) => serializer.serialize_str(&rfc3339(d)),
            Self::JsonQuoted(items) => items.serialize(serializer),
            Self::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Table(fields) => {
                let mut map = serializer.serialize_map(Some(fields.0.len()))?;
                for (key, value) in fields.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
