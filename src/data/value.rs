//! Free-form values, as buildpacks put them into metadata tables.

use std::collections::BTreeMap;

/// A TOML or JSON value. Tables are sorted, as the reference writes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON only. TOML leaves the key out.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// RFC 3339 text; a bare datetime in TOML, a string in JSON.
    Datetime(String),
    Array(Vec<Value>),
    Table(Table),
}

pub type Table = BTreeMap<String, Value>;
