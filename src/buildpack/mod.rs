//! Buildpacks and extensions: descriptors, the directory store, running bin/detect, bin/build and bin/generate.

pub mod build;
pub mod descriptor;
pub mod detect;
pub mod generate;
pub mod ids;
pub mod program;
pub mod store;
pub mod target;
