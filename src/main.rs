//! The multi-call binary.

use std::process::ExitCode;

use lifecycle::{cli, process::Invocation};

fn main() -> ExitCode {
    cli::main(&Invocation::collect())
}
