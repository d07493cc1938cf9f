//! The command line: a flag table for all commands and Platform APIs, and nine thin commands.
//!
//! A command reads its flags, opens what needs root, drops privileges, picks the stores, builds the phase's inputs, calls
//! the phase and writes its documents.

pub mod flags;
