//! Variables of a Dockerfile: `ENV` of the image and declared `ARG`s.

use std::collections::BTreeMap;

use crate::dockerfile::{Expander, Variables};
use crate::error::Result;

/// What instructions of one Dockerfile can see.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `ENV`, in the order of the image config.
    env: Vec<(String, String)>,
    /// Declared arguments that have a value; they hide variables of the image.
    args: BTreeMap<String, String>,
    /// Values from outside, seen once declared. The last of a name wins.
    given: Vec<(String, String)>,
    /// Arguments before `FROM`.
    global: BTreeMap<String, String>,
}

impl Scope {
    pub fn new(given: Vec<(String, String)>) -> Self {
        Self { given, ..Self::default() }
    }

    /// Behind `FROM`: the image's own variables.
    pub fn start_stage(&mut self, env_lines: &[String]) {
        for line in env_lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            self.set_env(name.to_owned(), value.to_owned());
        }
    }

    /// `ARG` before `FROM`: sees no other variables than earlier ones of its kind.
    pub fn declare_global(&mut self, name: &str, default: Option<&str>, expander: Expander) -> Result<()> {
        let global = Only(&self.global);
        let default = default.map(|d| expander.expand(d, &global)).transpose()?;
        if let Some(value) = self.given(name).map(str::to_owned).or(default) {
            self.global.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// `ARG`: a value from outside, else the default, else what an `ARG` before `FROM` said, else none.
    pub fn declare(&mut self, name: String, default: Option<String>) {
        let value = self.given(&name).map(str::to_owned).or(default).or_else(|| self.global.get(&name).cloned());
        if let Some(value) = value {
            self.args.insert(name, value);
        }
    }

    /// `ENV`: an argument of that name is no longer seen.
    pub fn set_env(&mut self, name: String, value: String) {
        self.args.remove(&name);
        match self.env.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name, value)),
        }
    }

    /// `ENV` as the image config has it.
    pub fn env_lines(&self) -> Vec<String> {
        self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// What a command sees, sorted: nothing of this process's own environment.
    pub fn of_commands(&self) -> BTreeMap<String, String> {
        let args = self.args.iter().map(|(n, v)| (n.clone(), v.clone()));
        self.env.iter().cloned().chain(args).collect()
    }

    /// A value of `FROM`, which sees arguments before it only.
    pub fn expand_global(&self, word: &str, expander: Expander) -> Result<String> {
        expander.expand(word, &Only(&self.global))
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.given.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Variables for Scope {
    fn value(&self, name: &str) -> Option<&str> {
        let env = || self.env.iter().find(|(n, _)| n == name).map(|(_, value)| value);
        self.args.get(name).or_else(env).map(String::as_str)
    }
}

struct Only<'a>(&'a BTreeMap<String, String>);

impl Variables for Only<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let given = [("user_id", "0"), ("build_id", "uuid"), ("user_id", "4242"), ("fromoutside", "o")];
        let given = given.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let mut scope = Scope::new(given);
        scope.declare_global("fromglobal", Some("global"), Expander::new('\\')).unwrap();
        scope.declare_global("fromoutside", Some("default"), Expander::new('\\')).unwrap();
        scope.declare_global("both", Some("$fromglobal-$BASE"), Expander::new('\\')).unwrap();
        scope.start_stage(&["BASE=a=b".to_owned(), "PATH=/bin".to_owned()]);
        scope
    }

    #[test]
    fn arguments_are_seen_once_declared() {
        let mut scope = scope();
        assert_eq!(scope.value("user_id"), None);
        assert_eq!(scope.value("fromglobal"), None);
        scope.declare("user_id".into(), Some("7".into()));
        assert_eq!(scope.value("user_id"), Some("4242"));
        for (name, want) in
            [("fromglobal", Some("global")), ("both", Some("global-")), ("fromoutside", Some("o")), ("nothing", None)]
        {
            scope.declare(name.into(), None);
            assert_eq!(scope.value(name), want, "{name}");
        }
        assert_eq!(scope.expand_global("${fromglobal}$BASE", Expander::new('\\')).unwrap(), "global");
    }

    #[test]
    fn arguments_hide_variables_and_later_variables_hide_arguments() {
        let mut scope = scope();
        assert_eq!(scope.value("BASE"), Some("a=b"));
        scope.declare("BASE".into(), Some("arg".into()));
        assert_eq!(scope.of_commands()["BASE"], "arg");
        assert_eq!(scope.env_lines(), ["BASE=a=b", "PATH=/bin"]);
        scope.set_env("BASE".into(), "env".into());
        assert_eq!(scope.value("BASE"), Some("env"));
        assert_eq!(scope.env_lines(), ["BASE=env", "PATH=/bin"]);
    }
}
