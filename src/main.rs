//! The multi-call binary.

use std::process::ExitCode;

use lifecycle::{cli, process::Invocation};

fn main() -> ExitCode {
    match Invocation::collect() {
        Ok(invocation) => cli::main(&invocation),
        Err(error) => {
            println!("ERROR: failed to get the working directory: {error}");
            ExitCode::FAILURE
        }
    }
}
