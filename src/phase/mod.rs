//! The phases as functions of values.

pub mod launch;
