//! Running bin/build (buildpack.md, "Phase #3: Build").

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::descriptor::Descriptor;
use super::program::Surroundings;
use crate::env::Env;
use crate::error::{Context, Error, Failure, Result};
use crate::process::{children, exit};

/// The command that runs the buildpack's bin/build: positional arguments for all Buildpack APIs, variables as its API has
/// them. What it prints goes to stdout, both streams: in a build nothing but the program's own faults goes to stderr.
///
/// `env` is what buildpacks before it made of the environment, `layers` the buildpack's own directory below the layers
/// directory, `plan` the file of its Buildpack Plan.
pub fn command(buildpack: &Descriptor, surroundings: &Surroundings, env: &Env, layers: &Path, plan: &Path) -> Result<Command> {
    let mut command = surroundings.command(buildpack, "build", env)?;
    command.args([layers, &surroundings.platform, plan]);
    if buildpack.api.has_input_variables() {
        command.env("CNB_PLATFORM_DIR", &surroundings.platform).env("CNB_BP_PLAN_PATH", plan).env("CNB_LAYERS_DIR", layers);
    }
    surroundings.pass_exec_env(buildpack, &mut command);
    let stdout = io::stdout().as_fd().try_clone_to_owned().context("duplicate stdout")?;
    command.stderr(Stdio::from(stdout));
    Ok(command)
}

/// Runs bin/build to its end.
///
/// # Errors
/// [`Failure::BuildpackBuild`] if it cannot be started or fails.
pub fn run(mut command: Command) -> Result<()> {
    let status = children::run(&mut command).or_failure(Failure::BuildpackBuild)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(exit::describe(status)).or_failure(Failure::BuildpackBuild))
}
