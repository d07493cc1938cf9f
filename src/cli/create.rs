//! The command `create`.

use crate::error::Result;

use super::Session;

pub fn run(_session: &Session<'_>) -> Result<()> {
    crate::bail!("create is not built yet")
}
