//! The phases as functions of values.

pub mod launch;

#[cfg(feature = "lifecycle")]
pub mod analyze;
#[cfg(feature = "lifecycle")]
pub mod build;
#[cfg(feature = "lifecycle")]
pub mod detect;
#[cfg(feature = "lifecycle")]
pub mod export;
#[cfg(feature = "lifecycle")]
pub mod extend;
#[cfg(feature = "lifecycle")]
pub mod generate;
#[cfg(feature = "lifecycle")]
pub mod labels;
#[cfg(feature = "lifecycle")]
pub mod rebase;
#[cfg(feature = "lifecycle")]
pub mod restore;
#[cfg(feature = "lifecycle")]
pub mod run_image;
#[cfg(feature = "lifecycle")]
pub mod saving;
#[cfg(feature = "lifecycle")]
pub mod timing;
