//! The static binaries in real containers, started as platforms start them (compatibility.md §5-7).
//!
//! `LIFECYCLE_BIN_DIR` names the directory of the binaries: `lifecycle` and `launcher`, statically linked. Without it, or
//! without a Docker daemon, the tests say so and pass. `.ci/test` sets both.

mod bases;
mod docker;
mod extend;
mod kpack;
mod pack;
mod permissions;
mod privileges;
mod protection;
mod registry;
mod spring;
mod tekton;
