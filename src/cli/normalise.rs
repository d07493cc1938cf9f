//! Go's flag syntax (compatibility.md section 1, dependencies.md section 4).
//!
//! `-name value`, `-name=value`, `--name`, switches alone or with `=value`, empty values; flags end at the first argument
//! without a dash, at `-`, or behind `--`.

use super::go_values::{self, Refusal};
use super::table::{Input, Kind};

/// A command line in one form: `--name=value` for every flag, values in canonical spelling, then the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub flags: Vec<String>,
    pub positional: Vec<String>,
}

/// Why there is no command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `-h`, `-help`
    Help,
    /// The command has no flag of this name.
    Unknown(String),
    /// What is wrong, in the words of Go's `flag`.
    Syntax(String),
}

/// Reads `arguments`; `flag` tells what the command knows.
pub fn normalise<'t>(flag: impl Fn(&str) -> Option<&'t Input>, arguments: &[String]) -> Result<CommandLine, Stop> {
    let mut line = CommandLine::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.clone().next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else { break };
        rest.next();
        if body == "-" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(Stop::Syntax(format!("bad flag syntax: {argument}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(input) = flag(name) else {
            return Err(match name {
                "h" | "help" => Stop::Help,
                _ => Stop::Unknown(name.to_owned()),
            });
        };
        let value = if input.is_switch() {
            value.unwrap_or("true")
        } else {
            match value.or_else(|| rest.next().map(String::as_str)) {
                Some(value) => value,
                None => return Err(Stop::Syntax(format!("flag needs an argument: -{name}"))),
            }
        };
        let value = canonical(input, value).map_err(|refusal| {
            Stop::Syntax(match input.is_switch() {
                true => format!("invalid boolean value {value:?} for -{name}: {refusal}"),
                false => format!("invalid value {value:?} for flag -{name}: {refusal}"),
            })
        })?;
        line.flags.push(format!("--{name}={value}"));
    }
    line.positional = rest.cloned().collect();
    Ok(line)
}

fn canonical(input: &Input, value: &str) -> Result<String, Refusal> {
    Ok(match input.kind {
        Kind::Switch | Kind::StrictSwitch => go_values::boolean(value).ok_or(Refusal::Syntax)?.to_string(),
        Kind::Integer => go_values::integer(value)?.to_string(),
        Kind::Duration => {
            go_values::duration(value).ok_or(Refusal::Syntax)?;
            value.to_owned()
        }
        Kind::Text | Kind::Path | Kind::Directory | Kind::List | Kind::Checked { .. } => value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(arguments: &[&str]) -> Result<CommandLine, Stop> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        normalise(Input::named, &arguments)
    }

    fn line(flags: &[&str], positional: &[&str]) -> Result<CommandLine, Stop> {
        let owned = |list: &[&str]| list.iter().map(|&a| a.to_owned()).collect();
        Ok(CommandLine { flags: owned(flags), positional: owned(positional) })
    }

    #[test]
    fn reads_all_forms() {
        assert_eq!(
            read(&["-daemon", "-cache-dir=", "-uid", "-5", "-tag", "a", "-tag=b", "--run-image", "x=y", "img", "-tag", "c"]),
            line(&["--daemon=true", "--cache-dir=", "--uid=-5", "--tag=a", "--tag=b", "--run-image=x=y"], &["img", "-tag", "c"])
        );
        assert_eq!(read(&["-daemon", "false"]), line(&["--daemon=true"], &["false"]));
        assert_eq!(read(&["--daemon=F", "--", "-x"]), line(&["--daemon=false"], &["-x"]));
        assert_eq!(read(&["-"]), line(&[], &["-"]));
        assert_eq!(read(&["", "-x"]), line(&[], &["", "-x"]));
        assert_eq!(read(&["-run-image", "-tag", "x"]), line(&["--run-image=-tag"], &["x"]));
        assert_eq!(read(&["-gid", "0177776"]), line(&["--gid=65534"], &[]));
    }

    #[test]
    fn refuses_in_the_words_of_go() {
        let cases = [
            (&["---app", "x"][..], "bad flag syntax: ---app"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["-app"], "flag needs an argument: -app"),
            (&["-daemon=yes"], "invalid boolean value \"yes\" for -daemon: parse error"),
            (&["-uid=ten"], "invalid value \"ten\" for flag -uid: parse error"),
            (&["-kaniko-cache-ttl", "1d"], "invalid value \"1d\" for flag -kaniko-cache-ttl: parse error"),
        ];
        for (arguments, message) in cases {
            assert_eq!(read(arguments), Err(Stop::Syntax(message.into())));
        }
        assert_eq!(read(&["-nope"]), Err(Stop::Unknown("nope".into())));
        assert_eq!(read(&["-App", "x"]), Err(Stop::Unknown("App".into())));
        assert_eq!(read(&["-daemon", "--help", "-nope"]), Err(Stop::Help));
        assert_eq!(read(&["x", "-h"]), line(&[], &["x", "-h"]));
    }

    proptest! {
        /// Nothing that a person types makes the reader panic, and nothing behind the first argument is touched.
        #[test]
        fn never_panics(arguments in prop::collection::vec("[-=a-z]{0,6}|-(uid|tag|daemon|app)(=.{0,3})?", 0..8)) {
            if let Ok(line) = normalise(Input::named, &arguments) {
                prop_assert!(arguments.ends_with(&line.positional));
                prop_assert!(line.flags.iter().all(|f| f.starts_with("--") && f.contains('=')));
            }
        }

        /// The one form that is handed on means itself.
        #[test]
        fn is_idempotent(value in "[ -~]{0,12}", name in "(app|tag|run-image|layout-dir)", rest in prop::collection::vec("[a-z]{1,4}", 0..3)) {
            let mut arguments = vec![format!("-{name}"), value];
            arguments.extend(rest);
            let once = normalise(Input::named, &arguments).unwrap();
            let again: Vec<String> = once.flags.iter().chain(&once.positional).cloned().collect();
            prop_assert_eq!(normalise(Input::named, &again).unwrap(), once);
        }
    }
}
