//! Images: an immutable view, a draft with pure edits, stores that do I/O.
//!
//! Configs and manifests stay JSON values in their original order; fields that this program does not know are kept.

pub mod blob;
pub mod config;
pub mod daemon;
pub mod draft;
pub mod json;
pub mod layout;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod store;
pub mod time;

pub use config::{History, ImageConfig};
pub use draft::{DraftLayer, Encoded, ImageDraft, LayerContent};
pub use manifest::{Descriptor, Manifest, MediaFamily};
pub use platform::Platform;
pub use reference::{DiffId, Digest, ImageReference};
pub use store::{Image, ImageStore, ImageWriter, LayerBlob, Originals, Saved};
