//! Which cache a command uses, from the flags.

use crate::cache::{Cache, ImageCache, VolumeCache};
use crate::error::{Context, Result};
use crate::image::ImageReference;
use crate::layers::fingerprint::Fingerprints;

use super::applet::Command;
use super::fail::Fail;
use super::session::Session;
use super::stores::Stores;

impl Session<'_> {
    /// The cache image, else the cache directory, else none.
    ///
    /// # Errors
    /// If the cache directory does not exist, or the cache image's name is none.
    pub fn cache(&self, stores: &Stores) -> Result<Option<Box<dyn Cache>>> {
        let image = self.flags.text("cache-image");
        if !image.is_empty() {
            ImageReference::parse(image)
                .with_context(|| format!("accessing cache image {image:?}"))
                .failed_to("create image cache")?;
            let store = stores.registry();
            let deletes = !self.api.keeps_replaced_cache_image();
            let cache = ImageCache::open(store, image, deletes);
            return Ok(Some(Box::new(match self.fingerprints() {
                Some(fingerprints) => cache.with_fingerprints(fingerprints),
                None => cache,
            })));
        }
        if self.flags.text("cache-dir").is_empty() {
            return Ok(None);
        }
        let volume = VolumeCache::open(&self.flags.path("cache-dir")).failed_to("create volume cache")?;
        volume.tidy();
        Ok(Some(Box::new(volume)))
    }

    /// What is known of layers without reading them, where the cache is an image: a cache directory beside it keeps that from
    /// one process to the next; the creator restores and exports by itself.
    fn fingerprints(&self) -> Option<Fingerprints> {
        match self.flags.optional_path("cache-dir").filter(|dir| dir.is_dir()) {
            Some(dir) => Some(Fingerprints::load(&dir)),
            None => (self.command == Command::Create).then(Fingerprints::default),
        }
    }
}
