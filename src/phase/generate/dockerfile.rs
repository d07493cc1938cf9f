//! What an extension's Dockerfiles may say (image_extension.md, "build.Dockerfile", "run.Dockerfile").

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use crate::bail;
use crate::dockerfile::{Dockerfile, Kind as Instruction, Stage};
use crate::error::{Context, Error, Result};

const BASE_IMAGE: &str = "base_image";
const FROM_BASE_IMAGE: &str = "${base_image}";

/// Others are applied with a warning.
const RECOMMENDED: [&str; 10] = ["FROM", "ADD", "ARG", "COPY", "ENV", "LABEL", "RUN", "SHELL", "USER", "WORKDIR"];

/// Which image the Dockerfile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    Build,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Build => "build",
        })
    }
}

/// A Dockerfile that an extension wrote, checked.
#[derive(Clone, Debug)]
pub(super) struct Generated {
    /// The extension's id.
    pub extension: String,
    pub kind: Kind,
    pub path: PathBuf,
    /// The run image that a run.Dockerfile sets, as written.
    pub image: Option<String>,
    /// A run.Dockerfile has instructions after FROM.
    pub extends: bool,
    /// A later run.Dockerfile sets the run image, so this one has no effect.
    pub is_ignored: bool,
}

impl Generated {
    /// Looks for the Dockerfile in the outputs of an extension.
    ///
    /// # Errors
    /// The Dockerfile is malformed or says what it must not.
    pub fn find(extension: &str, kind: Kind, outputs: &Path) -> Result<Option<Self>> {
        let path = outputs.join(format!("{kind}.Dockerfile"));
        let text = match fs::metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("stat", &path, &e)),
            Ok(_) => fs::read_to_string(&path).map_err(|e| Error::io("open", &path, &e)),
        };
        let (image, extends) = text
            .and_then(|text| check(kind, &text))
            .with_context(|| format!("failed to parse {kind}.Dockerfile for extension {extension}"))?;
        debug!("Found {kind}.Dockerfile for processing");
        Ok(Some(Self { extension: extension.into(), kind, path, image, extends, is_ignored: false }))
    }
}

/// The image that the Dockerfile sets, and whether it has instructions.
fn check(kind: Kind, text: &str) -> Result<(Option<String>, bool)> {
    let file = Dockerfile::parse(text)?;
    let [stage] = file.stages.as_slice() else { bail!("{kind}.Dockerfile is not permitted to use multistage build") };
    warn_of_unusual(kind, stage);
    if kind == Kind::Run {
        let image = Some(stage.image.clone()).filter(|image| image != FROM_BASE_IMAGE);
        return Ok((image, !stage.instructions.is_empty()));
    }
    let is_base_image = |(name, _): &(String, Option<String>)| name == BASE_IMAGE;
    match file.global_args.as_slice() {
        [arg] if matches!(&arg.kind, Instruction::Arg(names) if names.first().is_some_and(is_base_image)) => {}
        _ => bail!("build.Dockerfile did not start with required ARG command"),
    }
    if stage.image != FROM_BASE_IMAGE {
        bail!("build.Dockerfile did not contain required FROM {FROM_BASE_IMAGE} command");
    }
    Ok((None, true))
}

fn warn_of_unusual(kind: Kind, stage: &Stage) {
    for instruction in stage.instructions.iter().filter(|i| !RECOMMENDED.contains(&i.keyword)) {
        warn!("{kind}.Dockerfile command {} on line {} is not recommended", instruction.keyword, instruction.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_dockerfiles_start_from_the_base_image() {
        for good in ["ARG base_image\nFROM ${base_image}\n", "ARG base_image=x\nFROM ${base_image} AS y\nRUN a\nEXPOSE 1\n"] {
            check(Kind::Build, good).unwrap();
        }
        for (bad, why) in [
            ("FROM ${base_image}\n", "build.Dockerfile did not start with required ARG command"),
            ("ARG other\nFROM ${base_image}\n", "build.Dockerfile did not start with required ARG command"),
            ("ARG base_image\nARG x\nFROM ${base_image}\n", "build.Dockerfile did not start with required ARG command"),
            ("ARG base_image\nFROM $base_image\n", "build.Dockerfile did not contain required FROM ${base_image} command"),
            ("ARG base_image\nFROM a\nFROM b\n", "build.Dockerfile is not permitted to use multistage build"),
        ] {
            assert_eq!(check(Kind::Build, bad).unwrap_err().to_string(), why, "{bad}");
        }
    }

    #[test]
    fn run_dockerfiles_set_or_extend_the_run_image() {
        for (text, image, extends) in [
            ("FROM other/run\n", Some("other/run"), false),
            ("ARG base_image\nFROM ${base_image}\nRUN a\n", None, true),
            ("FROM x\nUSER 1\n", Some("x"), true),
            ("ARG base_image\nFROM ${base_image}\n", None, false),
        ] {
            assert_eq!(check(Kind::Run, text).unwrap(), (image.map(str::to_owned), extends), "{text}");
        }
        let error = check(Kind::Run, "FROM a\nFROM b\n").unwrap_err().to_string();
        assert_eq!(error, "run.Dockerfile is not permitted to use multistage build");
    }
}
