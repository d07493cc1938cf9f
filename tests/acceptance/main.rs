//! The static binaries in real containers, started as platforms start them (compatibility.md §5-7).
//!
//! `LIFECYCLE_BIN_DIR` names the directory of the binaries: `lifecycle` and `launcher`, statically linked; `LIFECYCLE_IMAGE` the
//! archive of the lifecycle image. Without them, or without a Docker daemon, the tests say so and pass. `.ci/test` sets them.

mod bases;
mod daemon;
mod docker;
mod extend;
mod kpack;
mod layout;
mod lifecycle_image;
mod pack;
mod permissions;
mod privileges;
mod protection;
mod registry;
mod spring;
mod tekton;
