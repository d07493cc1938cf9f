//! The slim launcher, the file that goes into every app image.

use std::process::ExitCode;

use lifecycle::error::Failure;
use lifecycle::phase::launch;
use lifecycle::process::Invocation;

fn main() -> ExitCode {
    match Invocation::collect() {
        Ok(invocation) => launch::main(&invocation),
        Err(error) => {
            println!("ERROR: failed to launch: {error}");
            ExitCode::from(Failure::Launch.exit_code())
        }
    }
}
