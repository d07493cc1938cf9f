//! Writing JSON as Go's `encoding/json` does: compact; `<`, `>`, `&`, U+2028 and U+2029 escaped; floats without a needless
//! fraction, with an exponent below 1e-6 and from 1e21 on.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::error::{Error, Result};

/// The value as text. Errors: a float that is not finite.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, GoFormatter))
        .map_err(|e| Error::new(format!("encode JSON: {e}")))?;
    String::from_utf8(out).map_err(|e| Error::new(format!("encode JSON: {e}")))
}

#[derive(Debug)]
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        if value == 0.0 || (-6..21).contains(&exponent) {
            write!(writer, "{value}")
        } else if exponent < 0 {
            write!(writer, "{digits}e{exponent}")
        } else {
            write!(writer, "{digits}e+{exponent}")
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in fragment.char_indices() {
            if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                write!(writer, "{}\\u{:04x}", &fragment[written..at], u32::from(c))?;
                written = at + c.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}
