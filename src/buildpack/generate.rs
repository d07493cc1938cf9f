//! Running bin/generate (image_extension.md, "Generation").

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
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

/// Runs bin/generate of an extension and gives the directory with its outputs, `<output>/<escaped id>`. An extension without
/// bin/generate has them prepared in its directory `generate`; they are copied, because the extender looks for them where
/// bin/generate would have written them.
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
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let prepared = extension.root.join("generate");
            copy_tree(&prepared, &output).map_err(|e| Error::io("copy", &prepared, &e))?;
            return Ok(output);
        }
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

/// What is in one directory into another, modes kept, links as they are. Nothing, if there is no such directory.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&to)?;
            copy_tree(&from, &to)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())?;
            continue;
        }
        // An earlier run may have left something here.
        match fs::remove_file(&to) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn prepared_outputs_are_copied_again_and_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("context/dir")).unwrap();
        fs::write(from.path().join("run.Dockerfile"), "FROM x").unwrap();
        fs::write(from.path().join("context/dir/tool"), "").unwrap();
        fs::set_permissions(from.path().join("context/dir/tool"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("dir/tool", from.path().join("context/link")).unwrap();
        for _ in 0..2 {
            copy_tree(from.path(), to.path()).unwrap();
            assert_eq!(fs::read(to.path().join("run.Dockerfile")).unwrap(), b"FROM x");
            assert_eq!(fs::read_link(to.path().join("context/link")).unwrap(), Path::new("dir/tool"));
            assert_eq!(fs::metadata(to.path().join("context/dir/tool")).unwrap().permissions().mode() & 0o7777, 0o750);
        }
        copy_tree(Path::new("/no/such/directory"), to.path()).unwrap();
    }
}
