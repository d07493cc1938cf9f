//! Which stores a command's images are in, from the flags.

use std::sync::Arc;

use crate::error::{Error, Failure, Result};
use crate::image::daemon::{Connector, DaemonStore, Host};
use crate::image::layout::LayoutStore;
use crate::image::{ImageStore, Platform};
use crate::layers::compression::Compression;
use crate::process::user;
use crate::registry::RegistryStore;

use super::fail::Fail;
use super::session::Session;

/// The stores of one command.
#[allow(missing_debug_implementations, reason = "a store has none")]
pub struct Stores {
    /// Of the run image, the previous image and the app image: a layout directory, a daemon, or the registries of their
    /// names.
    pub images: Arc<dyn ImageStore>,
    registry: RegistryStore,
    in_registry: bool,
}

impl Stores {
    /// Opens the stores that the flags ask for. To be called before [`Session::become_user`], because credentials and sockets
    /// may be root's. `images` are the names that credentials may be needed for.
    pub fn open(session: &Session<'_>, images: &[&str]) -> Result<Self> {
        let flags = session.flags;
        let registry = RegistryStore::new(session.invocation, flags.list("insecure-registry"), Platform::host())?;
        registry.prefetch_credentials(images);
        let compression = Compression::parse(flags.text("compression")).unwrap_or_default();
        if flags.boolean("layout") {
            if flags.text("layout-dir").is_empty() {
                let message = "a layout needs its directory: set -layout-dir or CNB_LAYOUT_DIR";
                return Err(Error::new(message).or_failure(Failure::InvalidArguments));
            }
            let layouts = LayoutStore::new(flags.path("layout-dir"), Platform::host(), compression);
            layouts.hold(images);
            return Ok(Self { images: Arc::new(layouts), registry, in_registry: false });
        }
        if flags.boolean("daemon") {
            let drops = user::is_root() && session.user().uid != 0;
            let connector = Host::of(session.invocation)
                .and_then(|host| Connector::new(host, &session.invocation.exe, drops))
                .failed_to_with("initialize docker client", Failure::Generic)?;
            let images = Arc::new(DaemonStore::new(connector, flags.optional_path("launch-cache")));
            return Ok(Self { images, registry, in_registry: false });
        }
        Ok(Self { images: Arc::new(registry.clone()), registry, in_registry: true })
    }

    /// The registries, where a cache image is even if the other images are elsewhere.
    pub fn registry(&self) -> Arc<dyn ImageStore> {
        Arc::new(self.registry.clone())
    }

    /// Whether the images are in registries, where access is a matter of its own.
    pub fn in_registry(&self) -> bool {
        self.in_registry
    }

    /// Makes sure that the image may be read from its registry, if there is one.
    pub fn check_read(&self, name: &str) -> Result<()> {
        self.registry.check_read_access(name)
    }

    /// Makes sure that the image may be written to its registry.
    pub fn check_write(&self, name: &str) -> Result<()> {
        self.registry.check_read_write_access(name)
    }

    /// Whether the image may be read; one that does not exist may be. Daemons and layout directories are not asked.
    pub fn accessible(&self, name: &str) -> bool {
        !self.in_registry || self.registry.check_read_access(name).is_ok()
    }
}
