//! Running bin/generate (image_extension.md, "Generation").

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::descriptor::Descriptor;
use super::program::Surroundings;
use crate::data::build_plan::Require;
use crate::data::plan::write_buildpack_plan;
use crate::env::Env;
use crate::error::{Error, Failure, Result};
use crate::layers::dir::escape_id;
use crate::process::{children, exit};

/// Runs bin/generate of an extension and gives the directory with its outputs: `<output>/<escaped id>`, or of an extension
/// without bin/generate the directory in which they lie prepared.
///
/// # Errors
/// bin/generate fails: [`Failure::ExtensionGenerate`].
pub fn generate(
    extension: &Descriptor,
    surroundings: &Surroundings,
    env: &Env,
    plan: &[Require],
    output: &Path,
) -> Result<PathBuf> {
    let id = escape_id(&extension.id);
    debug!("Creating plan directory");
    let plan_dir = tempfile::Builder::new()
        .prefix(&format!("{id}-"))
        .tempdir()
        .map_err(|e| Error::new(format!("make directory for the plan of extension {}: {e}", extension.id)))?;
    debug!("Preparing paths");
    let output = output.join(&id);
    fs::create_dir_all(&output).map_err(|e| Error::io("mkdir", &output, &e))?;
    let plan_path = plan_dir.path().join(&id).join("plan.toml");
    write_buildpack_plan(&plan_path, plan)?;

    debug!("Running generate command");
    let program = extension.root.join("bin/generate");
    match fs::metadata(&program) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(extension.root.join("generate")),
        Err(e) => return Err(Error::io("stat", &program, &e)),
    }
    let mut command = surroundings.command(extension, "generate", env)?;
    command.arg(&output).arg(&surroundings.platform).arg(&plan_path);
    command.env("CNB_BP_PLAN_PATH", &plan_path).env("CNB_OUTPUT_DIR", &output).env("CNB_PLATFORM_DIR", &surroundings.platform);
    // Nothing of a program of ours goes to stderr.
    command.stderr(std::io::stdout());
    let status = children::run(&mut command).map_err(|e| e.or_failure(Failure::ExtensionGenerate))?;
    if !status.success() {
        return Err(Error::new(exit::describe(status)).or_failure(Failure::ExtensionGenerate));
    }
    debug!("Reading output files");
    Ok(output)
}
