//! An image in the making: pure edits on a base image, no I/O.

use super::config::ImageConfig;
use super::manifest::{Descriptor, MediaFamily};
use super::reference::DiffId;
use super::store::{Image, LayerBlob};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct ImageDraft {
    pub config: ImageConfig,
    pub family: MediaFamily,
    pub layers: Vec<DraftLayer>,
}

/// A layer of a draft, bottom first.
#[derive(Clone, Debug)]
pub enum DraftLayer {
    /// A layer of another image (run image, previous image) that is taken over as it is.
    From { image: Arc<Image>, diff_id: DiffId, descriptor: Option<Descriptor> },
    /// A layer that an [`super::ImageWriter`] took in.
    New(LayerBlob),
}
