//! The program as a platform sees it: real binaries, real shell buildpacks, exit status and stdout.
//!
//! One test binary with a module per subject, so that it links once. Tests need root because phases change user; they say
//! so and pass without it.

mod arm64;
mod bad_input;
mod build_clauses;
mod command_line;
mod containerd;
mod containerd_import;
mod creator;
mod daemon;
mod daemon_errors;
mod daemon_store;
mod dockerd;
mod engine;
mod image_clauses;
mod inputs;
mod launch;
mod launch_clauses;
mod layout;
mod load_order;
mod protection;
mod python;
mod signals;
mod support;
