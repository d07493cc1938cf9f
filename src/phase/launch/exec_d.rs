//! exec.d (buildpack.md, "exec.d"): programs of layers that write variables as TOML to their descriptor 3.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use toml::de::DeTable;

use super::layers::{Layers, scripts};
use super::{toml_error, unstartable};
use crate::env::Env;
use crate::error::{Context, Error, Result};
use crate::process::exit;

/// Runs one after the other; each sees the variables of those before it.
pub(super) fn run_all(buildpacks: &[Layers], env: &mut Env, kind: &str) -> Result<()> {
    for path in scripts(buildpacks, "exec.d", kind)? {
        let output =
            output_of(&path, env).with_context(|| format!("failed to execute exec.d file at path '{}'", path.display()))?;
        set_variables(&output, env)
            .with_context(|| format!("failed to decode output from exec.d file at path '{}'", path.display()))?;
    }
    Ok(())
}

/// What the program wrote until it ended. A child that it left behind may hold the pipe open for ever, so the end is
/// marked by this process: what was written before the program ended stands before the mark.
fn output_of(path: &Path, env: &Env) -> Result<Vec<u8>> {
    const MARK: &[u8] = b"\n\0the program of this exec.d file has ended\0\n";
    let (mut reader, mut writer) = std::io::pipe().context("failed to create pipe")?;
    let mut command = Command::new(path);
    command.env_clear().envs(env.vars()).stdin(Stdio::null());
    let child_fd = writer.try_clone().context("failed to create pipe")?.into();
    // One mapping cannot collide with another.
    let _ = command.fd_mappings(vec![FdMapping { parent_fd: child_fd, child_fd: 3 }]);
    let mut child =
        command.spawn().map_err(|e| unstartable::explain(path, e).context(format!("fork/exec {}", path.display())))?;
    // The command holds a copy of the pipe's write end.
    drop(command);

    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        let mut chunk = [0; 4096];
        while !output.ends_with(MARK) {
            match reader.read(&mut chunk)? {
                0 => return Ok(output),
                n => output.extend_from_slice(&chunk[..n]),
            }
        }
        output.truncate(output.len() - MARK.len());
        Ok::<_, std::io::Error>(output)
    });
    let status = child.wait()?;
    writer.write_all(MARK)?;
    drop(writer);
    let output = reading.join().map_err(|_| Error::new("the reader of its output failed"))?;
    if !status.success() {
        return Err(Error::new(exit::describe(status)));
    }
    Ok(output?)
}

fn set_variables(output: &[u8], env: &mut Env) -> Result<()> {
    let text = std::str::from_utf8(output).map_err(|e| Error::new(format!("toml: {e}")))?;
    let table = DeTable::parse(text).map_err(|e| toml_error(text, e.span().map_or(0, |s| s.start), e.message()))?.into_inner();
    for (name, value) in &table {
        let Some(string) = value.get_ref().as_str() else {
            let found = value.get_ref().type_str();
            let message = format!("{}: a string is wanted, {found} was found", name.get_ref());
            return Err(toml_error(text, value.span().start, &message));
        };
        env.set(name.get_ref().as_ref(), string);
    }
    Ok(())
}
