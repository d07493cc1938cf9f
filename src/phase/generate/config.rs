//! extend-config.toml (image_extension.md, "extend-config.toml").

use std::path::Path;

use serde::Deserialize;

use crate::bail;
use crate::data::toml_in;
use crate::error::{Context, Result};

/// The lifecycle sets them.
const RESERVED: [&str; 3] = ["build_id", "user_id", "group_id"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExtendConfig {
    build: Args,
    run: Args,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    args: Vec<Arg>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arg {
    name: String,
    #[serde(rename = "value")]
    _value: String,
}

/// The file, if there is one, must not set arguments that the lifecycle provides.
pub(super) fn check(path: &Path) -> Result<()> {
    let config: ExtendConfig = toml_in::read_optional(path).context("reading extend config")?.unwrap_or_default();
    for arg in config.build.args.iter().chain(&config.run.args) {
        if RESERVED.contains(&arg.name.as_str()) {
            bail!("validating extend config: invalid content: arg with name \"{}\" is not allowed", arg.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_lifecycle_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extend-config.toml");
        let check_text = |text: &str| {
            std::fs::write(&path, text).unwrap();
            check(&path)
        };
        check_text("[[build.args]]\nname = \"a\"\nvalue = \"b\"\n[[run.args]]\nname = \"c\"\n").unwrap();
        for name in RESERVED {
            for kind in ["build", "run"] {
                let error = check_text(&format!("[[{kind}.args]]\nname = \"{name}\"\n")).unwrap_err().to_string();
                assert_eq!(error, format!("validating extend config: invalid content: arg with name \"{name}\" is not allowed"));
            }
        }
        let error = check_text("[[build.args]]\nname = 1\n").unwrap_err().to_string();
        assert!(error.starts_with("reading extend config: toml: line 2: "), "{error}");
        check(&dir.path().join("missing")).unwrap();
    }
}
