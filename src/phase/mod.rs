//! The phases as functions of values.

#[cfg(feature = "lifecycle")]
pub mod export;
pub mod launch;

#[cfg(feature = "lifecycle")]
pub mod restore;
#[cfg(feature = "lifecycle")]
pub mod run_image;
