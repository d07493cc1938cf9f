//! JSON bytes as Go's `encoding/json` writes them, for the order and the spelling that other tools' images have.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};
use serde_json::{Map, Serializer, Value};

/// Compact JSON; `<`, `>`, `&`, U+2028 and U+2029 are escaped, the order of keys is kept.
pub fn to_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    // Writing a `Value` into memory has no way to fail: its keys are strings, its numbers finite.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, Go));
    out
}

struct Go;

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let special = rest[at..].chars().next().unwrap_or_default();
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(special))?;
            rest = &rest[at + special.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let text: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
        };
        writer.write_all(text)
    }
}

/// Puts the keys of `first` in front, in that order; the others follow as they were.
pub fn reorder(object: &mut Map<String, Value>, first: &[&str]) {
    let mut rest = std::mem::take(object);
    for key in first {
        if let Some(value) = rest.shift_remove(*key) {
            object.insert((*key).to_owned(), value);
        }
    }
    object.extend(rest);
}

/// What Go leaves out of a field that is `omitempty`.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn escapes_like_go() {
        let value = json!({"b": "<a href=\"x\">&\u{2028}\u{1}\u{8}\u{c}é", "a": [1, true, null]});
        let want = r#"{"b":"\u003ca href=\"x\"\u003e\u0026\u2028\u0001\b\fé","a":[1,true,null]}"#;
        assert_eq!(String::from_utf8(to_bytes(&value)).unwrap(), want);
    }

    #[test]
    fn reorders_known_keys() {
        let mut value = json!({"x": 1, "b": 2, "y": 3, "a": 4});
        reorder(value.as_object_mut().unwrap(), &["a", "b", "c"]);
        assert_eq!(to_bytes(&value), br#"{"a":4,"b":2,"x":1,"y":3}"#);
    }
}
