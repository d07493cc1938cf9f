//! The command `rebase`.

use crate::error::Result;

use super::Session;

pub fn run(_session: &Session<'_>) -> Result<()> {
    crate::bail!("rebase is not built yet")
}
