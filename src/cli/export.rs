//! The command `export`.

use crate::error::Result;

use super::Session;

pub fn run(_session: &Session<'_>) -> Result<()> {
    crate::bail!("export is not built yet")
}
