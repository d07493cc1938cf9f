//! Variables in words ("Environment replacement" in Docker's reference).

use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, Result};

/// Where values come from.
pub trait Variables {
    /// `None` if the variable is not set.
    fn value(&self, name: &str) -> Option<&str>;
}

/// Expands words once; quotes and escapes are resolved on the way.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    pub escape: char,
    /// Quotes are ordinary characters, as in here-documents.
    pub keep_quotes: bool,
}

impl Expander {
    pub fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false }
    }

    /// # Errors
    /// For an unclosed quote or brace, an unknown modifier, and `${name:?message}`.
    pub fn expand(self, word: &str, variables: &dyn Variables) -> Result<String> {
        let mut state = State { expander: self, chars: word.chars().peekable(), variables };
        state.until(None).map_err(|e| e.context(format!("failed to process {word:?}")))
    }
}

struct State<'a> {
    expander: Expander,
    chars: Peekable<Chars<'a>>,
    variables: &'a dyn Variables,
}

impl State<'_> {
    /// Up to the end, or up to and with an unquoted `stop`.
    fn until(&mut self, stop: Option<char>) -> Result<String> {
        let mut out = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => return Ok(out),
                '\'' if !self.expander.keep_quotes => self.single_quoted(&mut out)?,
                '"' if !self.expander.keep_quotes => self.double_quoted(&mut out)?,
                '$' => out.push_str(&self.variable()?),
                c if c == self.expander.escape => out.extend(self.chars.next()),
                c => out.push(c),
            }
        }
        match stop {
            Some(stop) => Err(Error::new(format!("syntax error: missing '{stop}'"))),
            None => Ok(out),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<()> {
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            out.push(c);
        }
        Err(Error::new("unexpected end of statement while looking for matching single-quote"))
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<()> {
        let escape = self.expander.escape;
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return Ok(()),
                '$' => out.push_str(&self.variable()?),
                c if c == escape => match self.chars.next_if(|n| ['"', '$', escape].contains(n)) {
                    Some(next) => out.push(next),
                    None => out.push(c),
                },
                c => out.push(c),
            }
        }
        Err(Error::new("unexpected end of statement while looking for matching double-quote"))
    }

    /// Behind a `$`.
    fn variable(&mut self) -> Result<String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Error::new("syntax error: bad substitution"));
        }
        let value = self.value(&name);
        let (modifier, empty_is_unset) = match self.chars.next() {
            Some('}') => return Ok(value.unwrap_or_default()),
            Some(':') => (self.chars.next(), true),
            other => (other, false),
        };
        let is_set = value.as_deref().is_some_and(|v| !empty_is_unset || !v.is_empty());
        match modifier {
            Some('-') => self.until(Some('}')).map(|word| if is_set { value.unwrap_or_default() } else { word }),
            Some('+') => self.until(Some('}')).map(|word| if is_set { word } else { String::new() }),
            Some('?') => {
                let message = self.until(Some('}'))?;
                if is_set {
                    return Ok(value.unwrap_or_default());
                }
                let message = if message.is_empty() { "is not allowed to be unset" } else { &message };
                Err(Error::new(format!("{name}: {message}")))
            }
            Some(other) => Err(Error::new(format!("unsupported modifier ({other}) in substitution"))),
            None => Err(Error::new("syntax error: missing '}'")),
        }
    }

    /// A name, or one of the shell's one-character parameters.
    fn name(&mut self) -> String {
        if let Some(special) = self.chars.next_if(|c| c.is_ascii_digit() || "@*#?$!".contains(*c)) {
            return special.to_string();
        }
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn value(&self, name: &str) -> Option<String> {
        self.variables.value(name).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Variables for Fixed {
        fn value(&self, name: &str) -> Option<&str> {
            match name {
                "FOO" => Some("foo"),
                "SPACE" => Some("a b"),
                "EMPTY" => Some(""),
                _ => None,
            }
        }
    }

    fn expand(word: &str) -> String {
        Expander::new('\\').expand(word, &Fixed).unwrap_or_else(|e| format!("ERROR {e}"))
    }

    #[test]
    fn words() {
        for (word, want) in [
            ("$FOO ${FOO}bar $NOPE.", "foo foobar ."),
            ("${NOPE:-default} ${NOPE-d} ${EMPTY:-e} ${EMPTY-e} ${FOO:-x}", "default d e  foo"),
            ("${FOO:+alt} ${NOPE:+alt} ${EMPTY+alt} ${EMPTY:+alt}", "alt  alt "),
            ("${NOPE:-${FOO}-'$x'}", "foo-$x"),
            ("\\$FOO \"\\$FOO $FOO\" '$FOO' a\\ b", "$FOO $FOO foo $FOO a b"),
            ("\"a\\\"b\\n\" $ $$ 5$", "a\"b\\n $  5$"),
            ("$SPACE/\"x  y\"", "a b/x  y"),
        ] {
            assert_eq!(expand(word), want, "{word}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(expand("${NOPE:?gone}"), "ERROR failed to process \"${NOPE:?gone}\": NOPE: gone");
        for word in ["\"a", "'a", "${FOO", "${}", "${FOO^}", "${FOO:-x"] {
            assert!(expand(word).starts_with("ERROR "), "{word}");
        }
    }

    #[test]
    fn heredocs_keep_quotes() {
        let expander = Expander { escape: '\\', keep_quotes: true };
        assert_eq!(expander.expand("\"$FOO\" it's \\$FOO", &Fixed).unwrap(), "\"foo\" it's $FOO");
    }
}
