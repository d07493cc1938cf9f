//! Instructions as data; words are still raw: quoted and with variables.

use super::lines::{Heredoc, Line, is_heredoc};
use super::words;
use crate::error::{Error, Result};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Upper case.
    pub keyword: &'static str,
    /// Number of its first line, starting at 1.
    pub line: usize,
    /// As written, continuations joined, of here-documents only the announcing line.
    pub text: String,
    pub heredocs: Vec<Heredoc>,
    pub kind: Kind,
}

/// What an instruction asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    From {
        image: String,
    },
    /// Names, perhaps with a default.
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Run(Command),
    Copy(Copy),
    Add(Copy),
    Workdir(String),
    User(String),
    Shell(Vec<String>),
    Cmd(Command),
    Entrypoint(Command),
    Expose(Vec<String>),
    Volume(Vec<String>),
    StopSignal(String),
    /// Flags by name; `None` is `HEALTHCHECK NONE`.
    Healthcheck(Flags, Option<Command>),
    /// The instruction that a build on the image starts with.
    OnBuild(String),
    Maintainer,
}

/// `["program", "argument"]` or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Exec(Vec<String>),
    Shell(String),
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// In order; a word that announces a here-document stands for the next of [`Instruction::heredocs`].
    pub sources: Vec<Source>,
    pub destination: String,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub from: Option<String>,
    /// What a downloaded file must have: `sha256:<hex>`.
    pub checksum: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Path(String),
    /// Index into [`Instruction::heredocs`].
    Heredoc(usize),
}

/// `--name=value` words, raw.
pub type Flags = Vec<(String, String)>;

/// Instructions and the flags each of them knows.
const KNOWN: [(&str, &[&str]); 18] = [
    ("ADD", &["chmod", "chown", "checksum", "keep-git-dir", "link", "exclude"]),
    ("ARG", &[]),
    ("CMD", &[]),
    ("COPY", &["chmod", "chown", "from", "link", "parents", "exclude"]),
    ("ENTRYPOINT", &[]),
    ("ENV", &[]),
    ("EXPOSE", &[]),
    ("FROM", &["platform"]),
    ("HEALTHCHECK", &["interval", "timeout", "start-period", "start-interval", "retries"]),
    ("LABEL", &[]),
    ("MAINTAINER", &[]),
    ("ONBUILD", &[]),
    ("RUN", &["mount", "network", "security", "device"]),
    ("SHELL", &[]),
    ("STOPSIGNAL", &[]),
    ("USER", &[]),
    ("VOLUME", &[]),
    ("WORKDIR", &[]),
];

/// # Errors
/// `dockerfile parse error on line <n>: …`.
pub fn parse_instruction(line: Line, escape: char) -> Result<Instruction> {
    let (keyword, kind) =
        parse(&line, escape).map_err(|e| e.context(format!("dockerfile parse error on line {}", line.number)))?;
    Ok(Instruction { keyword, line: line.number, text: line.text, heredocs: line.heredocs, kind })
}

impl Instruction {
    /// A single line that stands in no file: an `ONBUILD` trigger of an image.
    pub fn trigger(text: &str) -> Result<Self> {
        let line = Line { number: 1, text: text.trim().to_owned(), heredocs: Vec::new() };
        parse_instruction(line, '\\').map_err(|e| e.context(format!("ONBUILD trigger {text:?}")))
    }
}

fn parse(line: &Line, escape: char) -> Result<(&'static str, Kind)> {
    let (word, rest) = words::keyword(&line.text);
    let Some((keyword, known)) = KNOWN.iter().find(|(k, _)| word.eq_ignore_ascii_case(k)) else {
        return Err(Error::new(format!("unknown instruction: {word}")));
    };
    let (flags, rest) = if known.is_empty() { (Vec::new(), rest) } else { flags(rest, escape)? };
    if let Some((unknown, _)) = flags.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(Error::new(format!("unknown flag: {unknown}")));
    }
    if rest.is_empty() && !["RUN", "CMD", "ENTRYPOINT"].contains(keyword) {
        return Err(Error::new(format!("{keyword} requires at least one argument")));
    }
    let kind = match *keyword {
        "FROM" => from(rest)?,
        "ARG" => Kind::Arg(arguments(rest, escape)?),
        "ENV" => Kind::Env(pairs(keyword, rest, escape)?),
        "LABEL" => Kind::Label(pairs(keyword, rest, escape)?),
        "RUN" => Kind::Run(command(rest)),
        "CMD" => Kind::Cmd(command(rest)),
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
        "COPY" => Kind::Copy(copy(keyword, &flags, rest, escape)?),
        "ADD" => Kind::Add(copy(keyword, &flags, rest, escape)?),
        "WORKDIR" => Kind::Workdir(rest.to_owned()),
        "USER" => Kind::User(rest.to_owned()),
        "STOPSIGNAL" => Kind::StopSignal(rest.to_owned()),
        "SHELL" => match words::json_strings(rest) {
            Some(shell) if !shell.is_empty() => Kind::Shell(shell),
            _ => return Err(Error::new("SHELL requires the arguments to be in JSON form")),
        },
        "EXPOSE" => Kind::Expose(words_of(rest)),
        "VOLUME" => Kind::Volume(words::json_strings(rest).unwrap_or_else(|| words_of(rest))),
        "HEALTHCHECK" => healthcheck(flags, rest)?,
        "ONBUILD" => on_build(rest, escape)?,
        _ => Kind::Maintainer,
    };
    Ok((keyword, kind))
}

/// Leading `--name=value` words and what follows them.
fn flags(text: &str, escape: char) -> Result<(Flags, &str)> {
    let mut flags = Vec::new();
    let mut rest = text;
    for word in words::raw(text, escape) {
        let Some(flag) = word.strip_prefix("--") else { break };
        rest = rest[word.len()..].trim_start();
        if flag.is_empty() {
            break;
        }
        let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
        flags.push((name.to_owned(), value.to_owned()));
    }
    Ok((flags, rest))
}

fn from(rest: &str) -> Result<Kind> {
    let words = words_of(rest);
    match words.as_slice() {
        [image] => Ok(Kind::From { image: image.clone() }),
        [image, keyword, _] if keyword.eq_ignore_ascii_case("as") => Ok(Kind::From { image: image.clone() }),
        _ => Err(Error::new("FROM requires either one or three arguments")),
    }
}

fn arguments(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>> {
    words::raw(rest, escape)
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Error::new("ARG names can not be blank")),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word.to_owned(), None)),
        })
        .collect()
}

/// `A=1 B=2`, or the old form `NAME the rest of the line`.
fn pairs(keyword: &str, rest: &str, escape: char) -> Result<Vec<(String, String)>> {
    let words = words::raw(rest, escape);
    if !words[0].contains('=') {
        let (name, value) = words::keyword(rest);
        if value.is_empty() {
            return Err(Error::new(format!("{keyword} must have two arguments")));
        }
        return Ok(vec![(name.to_owned(), value.to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Error::new(format!("{keyword} names can not be blank"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::new(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))),
        })
        .collect()
}

fn command(rest: &str) -> Command {
    words::json_strings(rest).map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec)
}

fn copy(keyword: &str, flags: &Flags, rest: &str, escape: char) -> Result<Copy> {
    let json = words::json_strings(rest);
    let is_json = json.is_some();
    let mut words = json.unwrap_or_else(|| words::raw(rest, escape).into_iter().map(str::to_owned).collect());
    let destination = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(Error::new(format!("{keyword} requires at least two arguments, but only one was provided")));
    }
    let mut heredocs = 0..;
    let sources = words.into_iter().map(|word| match !is_json && is_heredoc(&word, escape) {
        true => Source::Heredoc(heredocs.next().unwrap_or_default()),
        false => Source::Path(word),
    });
    let flag = |name: &str| flags.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.clone());
    for unsupported in ["parents", "exclude"] {
        if flag(unsupported).is_some() {
            return Err(Error::new(format!("{keyword} --{unsupported} is not supported")));
        }
    }
    let (chown, chmod, from, checksum) = (flag("chown"), flag("chmod"), flag("from"), flag("checksum"));
    Ok(Copy { sources: sources.collect(), destination, chown, chmod, from, checksum })
}

fn healthcheck(flags: Flags, rest: &str) -> Result<Kind> {
    let (form, rest) = words::keyword(rest);
    match form.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => Ok(Kind::Healthcheck(flags, None)),
        "NONE" => Err(Error::new("HEALTHCHECK NONE takes no arguments")),
        "CMD" if rest.is_empty() => Err(Error::new("missing command after HEALTHCHECK CMD")),
        "CMD" => Ok(Kind::Healthcheck(flags, Some(command(rest)))),
        other => Err(Error::new(format!("unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    }
}

fn on_build(rest: &str, escape: char) -> Result<Kind> {
    let line = Line { number: 1, text: rest.to_owned(), heredocs: Vec::new() };
    let (keyword, _) = parse(&line, escape)?;
    match keyword {
        "ONBUILD" => Err(Error::new("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "FROM" | "MAINTAINER" => Err(Error::new(format!("{keyword} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(Kind::OnBuild(rest.to_owned())),
    }
}

fn words_of(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Instruction::trigger(text).unwrap().kind
    }

    #[test]
    fn names_and_values() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            kind(r#"ENV A=1 B="two words" C=x\ y"#),
            Kind::Env(vec![pair("A", "1"), pair("B", "\"two words\""), pair("C", r"x\ y")])
        );
        assert_eq!(kind("env OLD style  value"), Kind::Env(vec![pair("OLD", "style  value")]));
        assert_eq!(kind(r#"LABEL "two"=2"#), Kind::Label(vec![pair("\"two\"", "2")]));
        assert_eq!(kind("ARG x=1 y"), Kind::Arg(vec![("x".into(), Some("1".into())), ("y".into(), None)]));
    }

    #[test]
    fn commands() {
        assert_eq!(kind(r#"RUN ["a", "$B"]"#), Kind::Run(Command::Exec(vec!["a".into(), "$B".into()])));
        assert_eq!(kind("RUN [ -d /x ] && y"), Kind::Run(Command::Shell("[ -d /x ] && y".into())));
        assert_eq!(kind("RUN --mount=type=cache,target=/x --network=none  a  --b"), Kind::Run(Command::Shell("a  --b".into())));
        assert_eq!(kind("RUN"), Kind::Run(Command::Shell(String::new())));
        let flags = vec![("interval".to_owned(), "5s".to_owned())];
        assert_eq!(kind("HEALTHCHECK --interval=5s cmd true"), Kind::Healthcheck(flags, Some(Command::Shell("true".into()))));
    }

    #[test]
    fn copies() {
        let Kind::Copy(copy) = kind("COPY --chown=$u:g --chmod=0640 a <<x 'b c' /d/") else { panic!("no COPY") };
        assert_eq!(copy.sources, [Source::Path("a".into()), Source::Heredoc(0), Source::Path("'b c'".into())]);
        assert_eq!(
            (copy.destination.as_str(), copy.chown.as_deref(), copy.chmod.as_deref()),
            ("/d/", Some("$u:g"), Some("0640"))
        );
        let Kind::Copy(copy) = kind(r#"COPY ["a b", "<<x", "/d"]"#) else { panic!("no COPY") };
        assert_eq!(copy.sources, [Source::Path("a b".into()), Source::Path("<<x".into())]);
    }

    #[test]
    fn triggers() {
        assert_eq!(kind("ONBUILD RUN true"), Kind::OnBuild("RUN true".into()));
        assert!(Instruction::trigger("ONBUILD ONBUILD RUN true").is_err());
        assert!(Instruction::trigger("ONBUILD FROM x").is_err());
    }
}
