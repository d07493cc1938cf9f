//! This process: its arguments, environment, directory and user. The only user of `std::env`.
//!
//! Changing user (`lifecycle` feature) must happen before any thread exists.

#[cfg(feature = "lifecycle")]
pub mod children;
pub mod exit;
#[cfg(feature = "lifecycle")]
pub mod signals;
#[cfg(feature = "lifecycle")]
pub mod temporary;
#[cfg(feature = "lifecycle")]
pub mod user;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How this process was called. Tests build it by hand, `main` collects it from the system.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `argv`, with `argv[0]`.
    pub args: Vec<OsString>,
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory; empty if it does not exist any more.
    pub cwd: PathBuf,
    /// The file of this program, links resolved; empty if the system does not tell.
    pub exe: PathBuf,
}

impl Invocation {
    /// Collects arguments, environment and working directory of this process.
    pub fn collect() -> Self {
        Self {
            args: std::env::args_os().collect(),
            env: std::env::vars_os().collect(),
            cwd: std::env::current_dir().unwrap_or_default(),
            exe: std::env::current_exe().unwrap_or_default(),
        }
    }

    /// The variable's value, `None` if it is not set, empty or not UTF-8: most inputs take an empty variable for an unset one.
    pub fn non_empty_var(&self, name: &str) -> Option<&str> {
        self.var(name).filter(|value| !value.is_empty())
    }

    /// The variable's value; `None` if it is not set or not UTF-8.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(std::ffi::OsStr::new(name)).and_then(|v| v.to_str())
    }
}

/// Makes a directory the working directory of this process.
pub fn change_dir(dir: &Path) -> Result<()> {
    std::env::set_current_dir(dir).map_err(|e| Error::io("chdir", dir, &e))
}
