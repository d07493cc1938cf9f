//! What the analyzer makes sure of before anything is built.

use tracing::debug;

use super::fault::{Fault, Kind};
use super::repository::Started;
use super::store::RegistryStore;
use crate::error::{Error, Result};
use crate::image::ImageReference;

impl RegistryStore {
    /// Whether an image may be read. One that does not exist may be. An empty name is fine.
    ///
    /// # Errors
    /// `failed to ensure registry read access to <name>: …`
    pub fn check_read_access(&self, name: &str) -> Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        self.may_read(name).map_err(|e| e.context(format!("failed to ensure registry read access to {name}")))
    }

    /// Whether an image may be read and written: an upload is started and given up.
    ///
    /// # Errors
    /// `failed to ensure registry read/write access to <name>: …`
    pub fn check_read_write_access(&self, name: &str) -> Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        let check = || {
            self.may_read(name)?;
            let repository = self.repository(&ImageReference::parse(name)?, name);
            let upload = async move {
                if let Started::Session(session) = repository.start_upload(None).await? {
                    repository.cancel_upload(session).await;
                }
                Ok::<(), Fault>(())
            };
            Ok(self.runtime()?.run(upload)??)
        };
        check().map_err(|e: Error| e.context(format!("failed to ensure registry read/write access to {name}")))
    }

    fn may_read(&self, name: &str) -> Result<()> {
        let reference = ImageReference::parse(name)?;
        let repository = self.repository(&reference, name);
        let identifier = reference.identifier().to_owned();
        let answer = self.runtime()?.run(async move { repository.head_manifest(&identifier).await })?;
        match answer {
            // A registry that does not like HEAD still says by its answer that it is not about access.
            Err(fault) if fault.kind == Kind::Permanent && fault.status.is_some() => {
                debug!("{fault}");
                Ok(())
            }
            Err(fault) => Err(fault.into()),
            Ok(_) => Ok(()),
        }
    }
}
