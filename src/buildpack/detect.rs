//! Running bin/detect (buildpack.md, "Detection").

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::descriptor::{Descriptor, ModuleKind};
use super::program::Surroundings;
use crate::data::build_plan::{BuildPlan, PlanSections};
use crate::env::Env;
use crate::error::{Context, Error, Failure, Result};
use crate::process::children;
use crate::process::temporary::TemporaryDirectory;

/// What came of the detection of one module.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    pub verdict: Verdict,
    /// What the program wrote to stdout and stderr.
    pub output: Vec<u8>,
    pub plan: BuildPlan,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0.
    #[default]
    Pass,
    /// Exit code 100.
    Fail,
    /// Any other exit code.
    Exit(i32),
    /// The program could not be run, was ended by a signal or left a plan that cannot be used; why, where that is known.
    Error(Option<String>),
}

impl Detection {
    /// A detection that did not get to a result of the module.
    pub fn error(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error(Some(why.into())), ..Self::default() }
    }
}

/// Runs bin/detect of a module and reads its plan. An extension without bin/detect passes, with the plan that lies in its
/// directory (image_extension.md, "Detection").
///
/// # Errors
/// A signal ended this phase. Whatever goes wrong with the module is part of the result.
pub fn detect(module: &Descriptor, surroundings: &Surroundings, env: &Env) -> Result<Detection> {
    match try_detect(module, surroundings, env) {
        Err(error) if matches!(error.failure(), Some(Failure::Signal(_))) => Err(error),
        Err(error) => Ok(Detection::error(error.to_string())),
        Ok(detection) => Ok(detection),
    }
}

fn try_detect(module: &Descriptor, surroundings: &Surroundings, env: &Env) -> Result<Detection> {
    let is_prepared = module.kind == ModuleKind::Extension && is_missing(&module.root.join("bin/detect"));
    let detection = if is_prepared {
        let plan = BuildPlan::read(&module.root.join("detect/plan.toml"))?;
        Detection { plan, ..Detection::default() }
    } else {
        run(module, surroundings, env)?
    };
    if detection.verdict != Verdict::Pass {
        return Ok(detection);
    }
    Ok(match check_plan(module, &detection.plan) {
        Ok(()) => detection,
        Err(error) => Detection { verdict: Verdict::Error(Some(error.to_string())), ..detection },
    })
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn run(module: &Descriptor, surroundings: &Surroundings, env: &Env) -> Result<Detection> {
    let dir = TemporaryDirectory::new("plan.").context("make directory for the plan")?;
    let plan_path = dir.path().join("plan.toml");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&plan_path)
        .map_err(|e| Error::io("open", &plan_path, &e))?;
    let mut command = surroundings.command(module, "detect", env)?;
    command.arg(&surroundings.platform).arg(&plan_path);
    if module.api.has_input_variables() {
        command.env("CNB_PLATFORM_DIR", &surroundings.platform).env("CNB_BUILD_PLAN_PATH", &plan_path);
    }
    surroundings.pass_exec_env(module, &mut command);
    let (status, output) = children::capture(&mut command)?;
    let verdict = match status.code() {
        Some(0) => Verdict::Pass,
        Some(100) => Verdict::Fail,
        Some(code) => Verdict::Exit(code),
        None => Verdict::Error(None),
    };
    if verdict != Verdict::Pass {
        return Ok(Detection { verdict, output, ..Detection::default() });
    }
    Ok(match crate::data::toml_in::read(&plan_path) {
        Ok(plan) => Detection { verdict, output, plan },
        Err(error) => Detection { verdict: Verdict::Error(Some(error.to_string())), output, ..Detection::default() },
    })
}

/// buildpack.md, "Build Plan": versions are metadata; an extension MUST NOT require anything.
fn check_plan(module: &Descriptor, plan: &BuildPlan) -> Result<()> {
    let kind = module.kind.to_string().to_lowercase();
    let sections = || std::iter::once(&plan.sections).chain(&plan.or);
    if module.kind == ModuleKind::Extension && sections().any(|s| !s.requires.is_empty()) {
        return Err(Error::new(format!("extension {} outputs \"requires\" which is not allowed", module.id)));
    }
    let has_version = |section: &PlanSections| section.requires.iter().any(|r| !r.version.is_empty());
    if sections().any(has_version) {
        return Err(Error::new(format!(
            "{kind} {} has a \"version\" key which is not supported. \"metadata.version\" should be used instead",
            module.id
        )));
    }
    Ok(())
}
