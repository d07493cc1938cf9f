//! Errors in the words of the edge: `failed to <act>: <cause>`.

use crate::error::{Context, Error, Failure, Result};

/// How a command says which step failed. An error that reaches `main` without a row of the exit-code table ends with 1.
pub trait Fail<T> {
    /// `failed to <act>: <error>`; the row, if any, was chosen closer to the cause.
    fn failed_to(self, act: &str) -> Result<T>;

    /// `failed to <act>: <error>` and this row, unless one was chosen closer to the cause.
    fn failed_to_with(self, act: &str, failure: Failure) -> Result<T>;

    /// The same, but an error that already has its row passes unchanged, text included.
    fn unless_settled(self, act: &str, failure: Failure) -> Result<T>;
}

impl<T, E: Into<Error>> Fail<T> for Result<T, E> {
    fn failed_to(self, act: &str) -> Result<T> {
        self.with_context(|| format!("failed to {act}"))
    }

    fn failed_to_with(self, act: &str, failure: Failure) -> Result<T> {
        self.failed_to(act).or_failure(failure)
    }

    fn unless_settled(self, act: &str, failure: Failure) -> Result<T> {
        match self.map_err(Into::into) {
            Err(error) if error.failure().is_none() => Err(error).failed_to_with(act, failure),
            settled => settled,
        }
    }
}
