//! Layers: where they come from on disk, their reproducible tars, the streaming pipeline, extraction.

pub mod compression;
pub mod dir;
pub mod extract;
pub mod fingerprint;
pub mod glob;
pub mod kept;
pub mod load_order;
pub mod pack;
pub mod pipeline;
pub mod remove;
pub mod sbom;
pub mod sink;
pub mod slices;
pub mod snapshot;
pub mod source;
pub mod tar;
pub mod verify;
pub mod workers;
