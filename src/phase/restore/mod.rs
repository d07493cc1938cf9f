//! Restore: metadata of earlier layers come back for the buildpacks to judge, and the data of cached ones.

pub mod plan;
