//! The slim launcher, the file that goes into every app image.

use std::process::ExitCode;

use lifecycle::phase::launch;
use lifecycle::process::Invocation;

fn main() -> ExitCode {
    launch::main(&Invocation::collect())
}
