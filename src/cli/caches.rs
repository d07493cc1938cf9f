//! Which cache a command uses, from the flags.

use crate::cache::Cache;
use crate::error::Result;

use super::session::Session;

impl Session<'_> {
    /// The cache image, else the cache directory, else none.
    pub fn cache(&self) -> Result<Option<Box<dyn Cache>>> {
        Ok(None)
    }
}
