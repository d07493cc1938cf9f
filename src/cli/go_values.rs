//! Numbers and durations as Go's `strconv` and `time` read them: what platforms pass today must keep its meaning.

/// Why a flag's value is refused; the words are those of Go's `flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Syntax,
    Range,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Syntax => "parse error",
            Self::Range => "value out of range",
        })
    }
}

/// `strconv.ParseBool`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.Atoi`, as variables are read: decimal digits with an optional sign.
pub fn decimal(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `strconv.ParseInt(text, 0, 64)`, as flags are read: the prefixes `0x`, `0o`, `0b` and `0` choose the base, and `_` may
/// separate digits.
pub fn integer(text: &str) -> Result<i64, Refusal> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // Behind a prefix a separator may come first: `0x_1`, `0_7`.
    let body = if base == 10 { rest } else { rest.strip_prefix('_').unwrap_or(rest) };
    let separated = body.starts_with('_') || body.ends_with('_') || body.contains("__");
    let plain = body.replace('_', "");
    if separated || plain.is_empty() || !plain.chars().all(|c| c.is_digit(base)) {
        return Err(Refusal::Syntax);
    }
    let signed = if negative { format!("-{plain}") } else { plain };
    i64::from_str_radix(&signed, base).map_err(|_| Refusal::Range)
}

/// `time.ParseDuration`, in nanoseconds: `336h`, `1h15m30.5s`, `-2us`, `0`.
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok()?) };
        total += whole * scale;
        // Nothing is finer than a nanosecond, so 14 digits of an hour's fraction tell all there is.
        let fraction = &fraction[..fraction.len().min(14)];
        if !fraction.is_empty() {
            let tenths = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
            total += fraction.parse::<i128>().ok()? * scale / tenths;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_go_bases() {
        let good =
            [("0", 0), ("-5", -5), ("+7", 7), ("0177776", 65534), ("0x10", 16), ("0b11", 3), ("0o17", 15), ("1_000", 1000)];
        for (text, value) in good {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for bad in ["", "ten", "-", "0x", "08", "1__0", "_1", "1_", "0b2", "--1", "0x-1", " 1", "1.0"] {
            assert_eq!(integer(bad), Err(Refusal::Syntax), "{bad}");
        }
        assert_eq!(integer("9223372036854775808"), Err(Refusal::Range));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn durations_add_up() {
        let second = 1_000_000_000;
        let good = [
            ("0", 0),
            ("336h0m0s", 336 * 3600 * second),
            ("1h15m30.5s", 4_530_500_000_000),
            ("-1.5us", -1500),
            (".5s", second / 2),
        ];
        for (text, value) in good {
            assert_eq!(duration(text), Some(value), "{text}");
        }
        for bad in ["", "-", "1", "1d", "h", ".s", "1.2.3s", "1 s", "9999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
