//! How many arguments a command takes.

use crate::error::{Error, Failure, Result};

use super::applet::Command;

/// Refuses a wrong number of arguments, in the words that platforms' tests look for.
pub fn check(command: Command, positional: &[String]) -> Result<()> {
    let problem = match (command, positional.len()) {
        (Command::Detect | Command::Build | Command::Extend | Command::Restore, 0) => return Ok(()),
        (Command::Detect | Command::Build | Command::Extend, _) => "received unexpected arguments".into(),
        // The capital letter is the reference's.
        (Command::Restore, _) => "received unexpected Args".into(),
        (Command::Analyze | Command::Create, 1) => return Ok(()),
        (Command::Analyze | Command::Create, n) => format!("received {n} arguments, but expected 1"),
        (Command::Export | Command::Rebase, 0) => "at least one image argument is required".into(),
        (Command::Export | Command::Rebase, _) => return Ok(()),
    };
    Err(Error::new(format!("failed to parse arguments: {problem}")).or_failure(Failure::InvalidArguments))
}
