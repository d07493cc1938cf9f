//! Writing TOML in the layout of the reference (BurntSushi/toml): dependencies.md §8.
//!
//! Some documents are part of a layer, so that a byte more or less is another diffID, and others are read by tools that
//! look at lines: tables are never inline where a header can stand, each key has a line of its own, children are indented
//! by two spaces per level, a blank line stands before top-level tables and before every element of an array of tables.

use std::fmt::Write as _;
use std::path::Path;

use super::json_out;
use super::node::{Fields, Node};
use crate::error::{Error, Result};

/// The document as text. The only errors are values that TOML cannot hold: null inside an array.
pub fn to_string(document: &Fields) -> Result<String> {
    let mut out = String::new();
    write_fields(&mut out, &mut Vec::new(), document)?;
    Ok(out)
}

/// Writes the document to the file, whose directories are made if they are missing.
pub fn write(path: &Path, document: &Fields) -> Result<()> {
    let text = to_string(document)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::io("mkdir", parent, &e))?;
    }
    std::fs::write(path, text).map_err(|e| Error::io("open", path, &e))
}

/// What a value needs: a header of its own, a header per element, or a line.
enum Shape<'a> {
    Table(&'a Fields),
    Tables(Vec<&'a Fields>),
    Line,
}

fn shape(node: &Node) -> Shape<'_> {
    let tables = |items: &'_ [Node]| items.iter().all(|n| matches!(n, Node::Table(_)));
    match node {
        Node::Table(fields) => Shape::Table(fields),
        Node::Array(items) if !items.is_empty() && tables(items) => {
            Shape::Tables(items.iter().filter_map(|n| if let Node::Table(t) = n { Some(t) } else { None }).collect())
        }
        _ => Shape::Line,
    }
}

fn write_fields(out: &mut String, path: &mut Vec<String>, fields: &Fields) -> Result<()> {
    for (key, value) in fields.iter() {
        if matches!(value, Node::Null) || !matches!(shape(value), Shape::Line) {
            continue;
        }
        indent(out, path.len());
        let _ = write!(out, "{} = ", Key(key));
        write_value(out, value)?;
        out.push('\n');
    }
    for (key, value) in fields.iter() {
        match shape(value) {
            Shape::Line => continue,
            Shape::Table(table) => {
                path.push(Key(key).to_string());
                if path.len() == 1 {
                    blank_line(out);
                }
                indent(out, path.len() - 1);
                let _ = writeln!(out, "[{}]", path.join("."));
                write_fields(out, path, table)?;
            }
            Shape::Tables(tables) => {
                path.push(Key(key).to_string());
                for table in tables {
                    blank_line(out);
                    indent(out, path.len() - 1);
                    let _ = writeln!(out, "[[{}]]", path.join("."));
                    write_fields(out, path, table)?;
                }
            }
        }
        path.pop();
    }
    Ok(())
}

fn blank_line(out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn write_value(out: &mut String, value: &Node) -> Result<()> {
    match value {
        Node::Null => return Err(Error::new("TOML has no null: an array holds one")),
        Node::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Node::Integer(i) => out.push_str(&i.to_string()),
        Node::Float(f) => out.push_str(&float(*f)),
        Node::String(s) => quote(out, s),
        Node::Datetime(d) => out.push_str(d),
        Node::JsonQuotedString(s) => out.push_str(&json_out::to_string(s)?),
        Node::JsonQuoted(items) => {
            let quoted = items.iter().map(json_out::to_string).collect::<Result<Vec<_>>>()?;
            let _ = write!(out, "[{}]", quoted.join(", "));
        }
        Node::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_value(out, item)?;
            }
            out.push(']');
        }
        Node::Table(fields) => write_inline(out, fields)?,
    }
    Ok(())
}

/// Tables inside arrays that are not arrays of tables; only free-form metadata can hold them.
fn write_inline(out: &mut String, fields: &Fields) -> Result<()> {
    let is_line = |n: &Node| matches!(shape(n), Shape::Line);
    let (lines, tables): (Vec<_>, Vec<_>) =
        fields.iter().filter(|(_, v)| !matches!(v, Node::Null)).partition(|(_, v)| is_line(v));
    out.push('{');
    for (i, (key, value)) in lines.into_iter().chain(tables).enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let _ = write!(out, "{} = ", Key(key));
        write_value(out, value)?;
    }
    out.push('}');
    Ok(())
}

/// Bare where possible, else quoted.
struct Key<'a>(&'a str);

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !self.0.is_empty() && self.0.bytes().all(bare) {
            return f.write_str(self.0);
        }
        let mut text = String::new();
        quote(&mut text, self.0);
        f.write_str(&text)
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest digits that read back as the same number, with an exponent below 1e-4 and from 1e6 on.
fn float(f: f64) -> String {
    if !f.is_finite() {
        return match (f.is_nan(), f.is_sign_negative()) {
            (true, false) => "nan",
            (true, true) => "-nan",
            (false, false) => "inf",
            (false, true) => "-inf",
        }
        .to_owned();
    }
    let scientific = format!("{f:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let plain = f.to_string();
        if plain.contains('.') { plain } else { plain + ".0" }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::toml_in;
    use super::super::value::{Table, Value};
    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("nan is not equal to itself", |f| !f.is_nan()).prop_map(Value::Float),
            any::<String>().prop_map(Value::String),
            Just(Value::Datetime("2026-01-02T03:04:05.678Z".into())),
            Just(Value::Datetime("2026-01-02".into())),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(Value::Table),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(table in prop::collection::btree_map(any::<String>(), value(), 0..6)) {
            let Node::Table(fields) = Node::from(&table) else { unreachable!() };
            let text = to_string(&fields).unwrap();
            prop_assert_eq!(toml_in::parse::<Table>(&text).unwrap(), table, "{}", text);
        }

        #[test]
        fn json_reads_back(text in any::<String>(), number in any::<i64>(), float in any::<f64>()) {
            prop_assume!(float.is_finite());
            let value = serde_json::json!([text, number, float]);
            let written = json_out::to_string(&value).unwrap();
            let escaped = ['<', '>', '&', '\u{2028}', '\u{2029}'];
            prop_assert!(!written.contains(escaped));
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&read[0], &value[0]);
            prop_assert_eq!(&read[1], &value[1]);
            prop_assert_eq!(read[2].as_f64(), value[2].as_f64(), "{}", written);
        }
    }

    #[test]
    fn floats_as_in_go() {
        let cases: &[(f64, &str, &str)] = &[
            (1.0, "1.0", "1"),
            (-0.0, "-0.0", "-0"),
            (100_000.0, "100000.0", "100000"),
            (1e6, "1e+06", "1000000"),
            (123_456_789.0, "1.23456789e+08", "123456789"),
            (1e20, "1e+20", "100000000000000000000"),
            (1e21, "1e+21", "1e+21"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (1e-7, "1e-07", "1e-7"),
            (1.5e300, "1.5e+300", "1.5e+300"),
        ];
        for (number, toml, json) in cases {
            assert_eq!(float(*number), *toml);
            assert_eq!(json_out::to_string(number).unwrap(), *json);
        }
    }

    #[test]
    fn null_in_an_array_is_an_error() {
        let fields = Fields::new().with("a", Node::Array(vec![Node::Null])).with("b", Node::Null);
        assert_eq!(to_string(&fields).unwrap_err().to_string(), "TOML has no null: an array holds one");
        assert_eq!(to_string(&Fields::new().with("b", Node::Null)).unwrap(), "");
    }
}
