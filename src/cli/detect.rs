//! The command `detect`.

use crate::error::Result;

use super::Session;

pub fn run(_session: &Session<'_>) -> Result<()> {
    crate::bail!("detect is not built yet")
}
