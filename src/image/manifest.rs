//! Image manifests and descriptors (OCI image spec; docker schema 2).

use serde_json::Value;

use super::reference::Digest;

/// Within one manifest all media types are of one family, that of the run image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFamily {
    Docker,
    Oci,
}

/// A manifest as it was read, unknown fields and order kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub json: Value,
}

/// What a manifest says of a blob; unknown fields kept in `json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub json: Value,
}
