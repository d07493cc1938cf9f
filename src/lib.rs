//! A Cloud Native Buildpacks lifecycle: the program that platforms run as `/cnb/lifecycle/<phase>` to turn source code into
//! an OCI image.
//!
//! # Module map; the left may use the right, never back
//! `main → cli → phase → { buildpack, layers, cache, registry, image::{layout, daemon} } → { data, env } → image core →
//! { error, log, process, api }`
//!
//! * [`process`] - arguments, environment, directory and user of this process behind one object; the only user of `std::env`;
//!   the programs that run on our behalf, signals, change of user.
//! * [`api`] - Platform and Buildpack API versions; every version gate is a named predicate there.
//! * [`error`] - errors and the exit-code tables.
//! * `log` - what a person sees, on stdout.
//! * `data` - one module per document of the specification's "Data Format" sections.
//! * [`env`] - the rules by which layers and platform directories change an environment.
//! * `dockerfile` - Dockerfiles of image extensions as data.
//! * `image` - manifests, configs, references: an immutable view, a draft with pure edits, stores that do I/O.
//! * `registry`, `image::layout`, `image::daemon` - the image stores.
//! * `layers` - the layers directory, reproducible tars, the streaming layer pipeline, extraction, fingerprints.
//! * `cache` - volume, image and launch cache.
//! * `buildpack` - descriptors, the directory store, running bin/detect, bin/build and bin/generate.
//! * [`phase`] - the phases as functions of values. They do not call each other, know no flag and pick no store.
//! * `cli` - the flag table, inputs per phase, nine thin commands; `creator` is the chain.
//!
//! The slim `launcher` is this crate without the feature `lifecycle`: only `api`, `env`, `error`, `process` and
//! `phase::launch`.

pub mod api;
pub mod env;
pub mod error;
pub mod phase;
pub mod process;

#[cfg(feature = "lifecycle")]
pub mod buildpack;
#[cfg(feature = "lifecycle")]
pub mod cache;
#[cfg(feature = "lifecycle")]
pub mod cli;
#[cfg(feature = "lifecycle")]
pub mod data;
#[cfg(feature = "lifecycle")]
pub mod dockerfile;
#[cfg(feature = "lifecycle")]
pub mod image;
#[cfg(feature = "lifecycle")]
pub mod layers;
#[cfg(feature = "lifecycle")]
pub mod log;
#[cfg(feature = "lifecycle")]
pub mod registry;
