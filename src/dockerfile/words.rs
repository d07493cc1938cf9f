//! Splitting an instruction's text into words.

/// The first word and the rest, trimmed.
pub fn keyword(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.find(char::is_whitespace) {
        Some(end) => (&text[..end], text[end..].trim()),
        None => (text, ""),
    }
}

/// Words separated by white space outside of quotes; quotes and escapes are kept.
pub fn raw(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && quote.is_none() && !escaped {
            if let Some(start) = start.take() {
                words.push(&text[start..at]);
            }
            continue;
        }
        start.get_or_insert(at);
        if escaped {
            escaped = false;
        } else if c == escape && quote != Some('\'') {
            escaped = true;
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// The word without quotes and escapes, variables left alone.
pub fn unquote(word: &str, escape: char) -> String {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some('\'') if c == '\'' => quote = None,
            Some('\'') => out.push(c),
            Some(_) if c == '"' => quote = None,
            Some(_) if c == escape => match chars.next_if(|n| ['"', '$', escape].contains(n)) {
                Some(next) => out.push(next),
                None => out.push(c),
            },
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == escape => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// A JSON array of strings; anything else is shell form.
pub fn json_strings(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_words() {
        assert_eq!(
            raw(r#"A=1 B="two words" C=three\ words 'a "b' x"#, '\\'),
            ["A=1", r#"B="two words""#, r"C=three\ words", r#"'a "b'"#, "x"]
        );
        assert_eq!(raw(r"C:\dir `  x", '`'), [r"C:\dir", "` ", "x"]);
        assert!(raw("  ", '\\').is_empty());
    }

    #[test]
    fn unquoted() {
        assert_eq!(unquote(r#"a"b c"'d $e'\"f"#, '\\'), r#"ab cd $e"f"#);
        assert_eq!(unquote(r#""\n\"\\""#, '\\'), r#"\n"\"#);
    }

    #[test]
    fn json_or_not() {
        assert_eq!(json_strings(r#"["a", "b\n"]"#).unwrap(), ["a", "b\n"]);
        for text in ["[ -d /x ] && y", "[\"a\"] b", "['a']", "[1]", "\"a\""] {
            assert_eq!(json_strings(text), None, "{text}");
        }
    }
}
