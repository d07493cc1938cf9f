//! Logical lines: directives, comments, continuations and here-documents.

use super::words;
use crate::error::{Error, Result};

/// One instruction's text, continuations joined, comments and empty lines between them dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of its first line, starting at 1.
    pub number: usize,
    pub text: String,
    pub heredocs: Vec<Heredoc>,
}

/// A here-document of `RUN`, `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// No part of the name was quoted: variables are expanded by whoever consumes the text.
    pub expand: bool,
    /// `<<-`: leading tabs are dropped.
    pub chomp: bool,
    /// As written, with its line ends.
    pub body: String,
}

impl Heredoc {
    /// The text without the leading tabs that `<<-` asks to drop.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Instructions that may have here-documents.
const WITH_HEREDOCS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Splits a Dockerfile; returns its escape character, too.
pub fn split(text: &str) -> Result<(char, Vec<Line>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape_directive(text)?;
    let mut physical = text.split_inclusive('\n').enumerate();
    let mut lines = Vec::new();
    while let Some((index, first)) = physical.next() {
        let first = without_line_end(first).trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let mut line = Line { number: index + 1, text: String::new(), heredocs: Vec::new() };
        let (mut part, mut ends) = continuation(first, escape);
        line.text.push_str(part);
        while !ends {
            let Some((_, next)) = physical.next() else { break };
            let next = without_line_end(next);
            if next.trim_start().starts_with('#') || next.trim().is_empty() {
                continue;
            }
            (part, ends) = continuation(next, escape);
            line.text.push_str(part);
        }
        for (name, expand, chomp) in heredocs(&line.text, escape) {
            let mut body = String::new();
            let mut terminated = false;
            for (_, next) in physical.by_ref() {
                let bare = without_line_end(next);
                if (if chomp { bare.trim_start_matches('\t') } else { bare }) == name {
                    terminated = true;
                    break;
                }
                body.push_str(next);
            }
            if !terminated {
                return Err(Error::new(format!("dockerfile parse error on line {}: unterminated heredoc", line.number)));
            }
            line.heredocs.push(Heredoc { name, expand, chomp, body });
        }
        line.text = line.text.trim().to_owned();
        lines.push(line);
    }
    Ok((escape, lines))
}

/// `# escape=` among the directives: comments of the form `# key=value` at the very top.
fn escape_directive(text: &str) -> Result<char> {
    for (index, line) in text.lines().enumerate() {
        let Some((key, value)) = line.trim().strip_prefix('#').and_then(|l| l.split_once('=')) else { break };
        if !key.trim().bytes().all(|b| b.is_ascii_alphanumeric()) {
            break;
        }
        if key.trim().eq_ignore_ascii_case("escape") {
            return match value.trim() {
                "\\" => Ok('\\'),
                "`" => Ok('`'),
                other => Err(Error::new(format!(
                    "dockerfile parse error on line {}: invalid escape token '{other}' does not match ` or \\",
                    index + 1
                ))),
            };
        }
    }
    Ok('\\')
}

fn without_line_end(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

/// The line without its continuation mark, and whether the instruction ends here. A doubled escape is no mark.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, false),
        _ => (line, true),
    }
}

/// Name, expand, chomp of each here-document that the line announces.
fn heredocs(text: &str, escape: char) -> Vec<(String, bool, bool)> {
    let (keyword, rest) = words::keyword(text);
    if !WITH_HEREDOCS.iter().any(|k| keyword.eq_ignore_ascii_case(k)) || words::json_strings(rest).is_some() {
        return Vec::new();
    }
    words::raw(rest, escape).into_iter().filter_map(|word| heredoc_word(word, escape)).collect()
}

/// `<<NAME`, `<<-"NAME"`, `3<<NAME`.
fn heredoc_word(word: &str, escape: char) -> Option<(String, bool, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = words::unquote(rest, escape);
    (!name.is_empty()).then(|| (name.clone(), name == rest, chomp))
}

/// Whether the word announces a here-document.
pub fn is_heredoc(word: &str, escape: char) -> bool {
    heredoc_word(word, escape).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Line {
        let (_, mut lines) = split(text).unwrap();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }

    #[test]
    fn continuations() {
        assert_eq!(only("RUN a \\\n  b\\  \n c").text, "RUN a   b c");
        assert_eq!(only("RUN a \\\\\n").text, "RUN a \\\\");
        assert_eq!(only("# escape=`\nRUN a`\nb\\").text, "RUN ab\\");
        assert_eq!(only("RUN a \\\n\n# c\n   # d\nb\n").text, "RUN a b");
        assert_eq!(only("\n\nRUN a\\\n").number, 3);
    }

    #[test]
    fn heredocs_by_name() {
        let line = only("COPY <<one <<-'two x' /d/\n1\none\n\t2\n\ttwo x\n");
        assert_eq!(line.text, "COPY <<one <<-'two x' /d/");
        assert_eq!(line.heredocs[0], Heredoc { name: "one".into(), expand: true, chomp: false, body: "1\n".into() });
        assert_eq!(line.heredocs[1], Heredoc { name: "two x".into(), expand: false, chomp: true, body: "\t2\n".into() });
        assert_eq!(line.heredocs[1].content(), "2\n");
    }

    #[test]
    fn not_a_heredoc() {
        for text in ["RUN cat <<<x", "RUN [\"a\", \"<<x\"]", "LABEL a=<<x", "RUN echo $((1<<2)) 'a <<x'", "RUN a << x"] {
            assert!(only(text).heredocs.is_empty(), "{text}");
        }
    }

    #[test]
    fn escape_of_a_later_comment_is_a_comment() {
        assert_eq!(split("RUN a\n# escape=`\n").unwrap().0, '\\');
        assert!(split("# escape=x\nRUN a\n").is_err());
        assert_eq!(split("# syntax=x\n# Escape = `\nRUN a\n").unwrap().0, '`');
    }
}
