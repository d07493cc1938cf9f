//! The documents of the Platform and Buildpack specifications, one module each.
//!
//! Parsers take text; `read` functions open the file and name it in errors. TOML is written by [`toml_out`], in the layout
//! of the reference, because some documents are part of a layer or are read by line-oriented tools. JSON labels are
//! written by [`json_out`], compact and escaped as Go does it.

pub mod analyzed;
mod any_case;
pub mod build_metadata;
pub mod build_plan;
pub mod cache_metadata;
pub mod exec_env;
pub mod group;
pub mod json_out;
pub mod launch_toml;
pub mod layer_toml;
pub mod layers_metadata;
pub mod node;
pub mod order;
pub mod plan;
pub mod project;
pub mod report;
pub mod run;
pub mod store;
pub mod system;
pub mod target;
pub mod toml_in;
pub mod toml_out;
pub mod value;
