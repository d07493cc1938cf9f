//! Shell patterns as the reference's slices have them (Go's `path/filepath.Match`): `*` and `?` stop at `/`, `**` is `*`,
//! `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is.

/// The pattern is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("syntax error in pattern")
    }
}

/// Whether the pattern matches the whole name. A fault behind the place where the match already failed goes unnoticed.
pub fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    let (mut pattern, mut name) = (pattern, name);
    'segments: while !pattern.is_empty() {
        let stars = pattern.iter().take_while(|&&c| c == b'*').count();
        let length = segment_length(&pattern[stars..]);
        let segment = &pattern[stars..stars + length];
        pattern = &pattern[stars + length..];
        if stars > 0 && segment.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last segment has to match up to the end of the name.
        let last = pattern.is_empty();
        if let Some(rest) = prefix(segment, name)?
            && (rest.is_empty() || !last)
        {
            name = rest;
            continue;
        }
        if stars > 0 {
            for skip in 1..=name.iter().take_while(|&&c| c != b'/').count() {
                if let Some(rest) = prefix(segment, &name[skip..])?
                    && (rest.is_empty() || !last)
                {
                    name = rest;
                    continue 'segments;
                }
            }
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Bytes up to the next star outside of a class.
fn segment_length(pattern: &[u8]) -> usize {
    let mut in_class = false;
    let mut i = 0;
    while i < pattern.len() {
        match pattern[i] {
            b'\\' => i += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => return i,
            _ => {}
        }
        i += 1;
    }
    pattern.len()
}

/// What is left of `name` behind a match of the star-less `segment`. The segment is checked to its end in any case.
fn prefix<'n>(mut segment: &[u8], mut name: &'n [u8]) -> Result<Option<&'n [u8]>, BadPattern> {
    let mut failed = false;
    while let Some((&first, rest)) = segment.split_first() {
        failed |= name.is_empty();
        match first {
            b'[' => {
                let mut letter = '\0';
                if !failed {
                    let (c, n) = decode(name);
                    letter = c;
                    name = &name[n..];
                }
                let (inside, after) = class(rest, letter)?;
                failed |= !inside;
                segment = after;
                continue;
            }
            b'?' => {
                if !failed {
                    failed = name[0] == b'/';
                    name = &name[decode(name).1..];
                }
            }
            _ => {
                let (&literal, after) = if first == b'\\' { rest.split_first().ok_or(BadPattern)? } else { (&first, rest) };
                if !failed {
                    failed = name[0] != literal;
                    name = &name[1..];
                }
                segment = after;
                continue;
            }
        }
        segment = rest;
    }
    Ok((!failed).then_some(name))
}

/// Whether the class that `pattern` starts with (its bracket is gone) has the letter, and what follows it.
fn class(mut pattern: &[u8], letter: char) -> Result<(bool, &[u8]), BadPattern> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    let mut ranges = 0;
    loop {
        if ranges > 0 && pattern.first() == Some(&b']') {
            return Ok((found != negated, &pattern[1..]));
        }
        let (low, mut rest) = bound(pattern)?;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            (high, rest) = bound(&rest[1..])?;
        }
        found |= (low..=high).contains(&letter);
        ranges += 1;
        pattern = rest;
    }
}

/// A letter of a class; something must follow it.
fn bound(pattern: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let text = match pattern {
        [] | [b'-' | b']', ..] => return Err(BadPattern),
        [b'\\', rest @ ..] => rest,
        _ => pattern,
    };
    if text.is_empty() {
        return Err(BadPattern);
    }
    let (letter, n) = decode(text);
    let rest = &text[n..];
    if (letter == char::REPLACEMENT_CHARACTER && n == 1) || rest.is_empty() { Err(BadPattern) } else { Ok((letter, rest)) }
}

/// The first character; a byte that is none counts as U+FFFD.
fn decode(text: &[u8]) -> (char, usize) {
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(e) => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::matches;

    const NAMES: [&[u8]; 25] = [
        b"",
        b"a",
        b"b",
        b"ab",
        b"abc",
        b"a/b",
        b"a/bc",
        b"axbxc",
        b"*",
        b"-",
        b"]",
        "é".as_bytes(),
        "ü".as_bytes(),
        "éx".as_bytes(),
        "xé".as_bytes(),
        b"a*",
        b"a[b",
        b"x.txt",
        b"a b",
        b"[a]",
        b"{a,b}",
        b"a/a/x",
        b"\xff",
        b"a\xff",
        b"\xc3",
    ];

    /// Each line: what Go's filepath.Match says for every name (1 match, 0 none, e malformed pattern), then the pattern.
    const TABLE: &str = include_str!("../../spec-fixtures/layers/match.txt");

    #[test]
    fn agrees_with_go() {
        let mut lines = 0;
        for line in TABLE.lines() {
            let (want, quoted) = line.split_once(' ').unwrap();
            let mut pattern = Vec::new();
            let mut bytes = quoted[1..quoted.len() - 1].bytes();
            while let Some(byte) = bytes.next() {
                match byte {
                    b'\\' => match bytes.next().unwrap() {
                        b'x' => {
                            assert_eq!((bytes.next(), bytes.next()), (Some(b'f'), Some(b'f')));
                            pattern.push(0xff);
                        }
                        other => pattern.push(other),
                    },
                    other => pattern.push(other),
                }
            }
            let got: String = NAMES
                .iter()
                .map(|name| match matches(&pattern, name) {
                    Ok(true) => '1',
                    Ok(false) => '0',
                    Err(_) => 'e',
                })
                .collect();
            assert_eq!(got, want, "{quoted}");
            lines += 1;
        }
        assert!(lines > 50);
    }
}
