//! The command `build`.

use crate::error::Result;

use super::Session;

pub fn run(_session: &Session<'_>) -> Result<()> {
    crate::bail!("build is not built yet")
}
