//! The registry as an image store (OCI distribution specification).
//!
//! * [`RegistryStore`] - images in registries; blocking outside, one thread with an async runtime inside.
//! * [`keychain`] - credentials.
//! * `transport` - one `request`: way (`endpoint`), authorisation (`authorize`, `token`), sending, classification (`answer`,
//!   `fault`), `retry`. `repository` - the requests there are.
//! * [`download`] - any other file.
//! * `pull`, `push` - blobs as streams. `writer` - layers and the image in the end.

mod access;
mod answer;
mod authorize;
mod challenge;
mod clients;
mod download;
mod endpoint;
mod fault;
mod hosts;
pub mod keychain;
mod mirrors;
mod options;
mod pull;
mod push;
mod repository;
mod request;
mod retry;
mod runtime;
mod store;
mod tls;
mod token;
mod transport;
mod writer;

pub use download::download;
pub use keychain::Keychain;
pub use store::RegistryStore;

/// Whether the text is a value of `CNB_REGISTRY_MIRRORS`.
pub fn are_mirrors(text: &str) -> bool {
    mirrors::Mirrors::parse(text).is_ok()
}
