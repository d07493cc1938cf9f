//! The launch phase (platform.md, "Launch"; buildpack.md, "Launch").

use std::process::ExitCode;

use crate::process::Invocation;

/// Starts the process; returns only if that failed, with the exit code.
pub fn main(_invocation: &Invocation) -> ExitCode {
    println!("ERROR: launch is not built yet");
    ExitCode::from(82)
}
