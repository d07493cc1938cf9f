//! Which store a command's images are in, from the flags.

use std::sync::Arc;

use crate::bail;
use crate::error::Result;
use crate::image::layout::LayoutStore;
use crate::image::{ImageStore, Platform};
use crate::layers::compression::Compression;

use super::session::Session;

impl Session<'_> {
    /// The store of the run image, the previous image and the app image: a layout directory, a daemon, or the registries of
    /// their names. To be called before [`Session::become_user`], because credentials and sockets may be root's. `images` are
    /// the names that credentials may be needed for.
    pub fn image_store(&self, images: &[&str]) -> Result<Arc<dyn ImageStore>> {
        let _ = images;
        let compression = Compression::parse(self.flags.text("compression")).unwrap_or_default();
        if self.flags.boolean("layout") {
            return Ok(Arc::new(LayoutStore::new(self.flags.path("layout-dir"), Platform::host(), compression)));
        }
        if self.flags.boolean("daemon") {
            bail!("docker daemons are not supported yet");
        }
        bail!("registries are not supported yet")
    }
}
