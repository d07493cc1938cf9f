//! The rules by which layers and platform directories change an environment (buildpack.md, "Environment"; platform.md,
//! "User-Provided Variables").
//!
//! * A layer's directories `bin`, `lib`, `include` and `pkgconfig` are put in front of the variables that programs search.
//!   Each is prepended in turn, so the last layer by name comes first (spec-and-reference.md B18; the specification's
//!   "alphabetically ascending" would be the other way round, and buildpacks rely on this one).
//! * A file in `env`, `env.build`, `env.launch` and `env.launch/<process>` is named `<variable>[.<action>]`. A delimiter
//!   counts in its own directory only (B19).
//!
//! Names and values are bytes: nothing is trimmed, nothing has to be UTF-8.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The variables of a process to be, sorted by name.
pub type Vars = BTreeMap<OsString, OsString>;

/// Directories of a layer and the variables that get them.
type RootDirs = &'static [(&'static str, &'static [&'static str])];

const BUILD_ROOT_DIRS: RootDirs = &[
    ("bin", &["PATH"]),
    ("include", &["CPATH"]),
    ("lib", &["LD_LIBRARY_PATH", "LIBRARY_PATH"]),
    ("pkgconfig", &["PKG_CONFIG_PATH"]),
];

const LAUNCH_ROOT_DIRS: RootDirs = &[("bin", &["PATH"]), ("lib", &["LD_LIBRARY_PATH"])];

/// What buildpacks see of the lifecycle's own environment, beside the variables of [`BUILD_ROOT_DIRS`].
const PASSED_TO_BUILDPACKS: &[&str] =
    &["CNB_STACK_ID", "HOSTNAME", "HOME", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];

/// What a launched process does not see: these are meant for the launcher.
const HIDDEN_FROM_PROCESSES: &[&str] =
    &["CNB_LAYERS_DIR", "CNB_APP_DIR", "CNB_PROCESS_TYPE", "CNB_PLATFORM_API", "CNB_DEPRECATION_MODE"];

/// An environment and the rules for changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Env {
    vars: Vars,
    root_dirs: RootDirs,
}

impl Env {
    /// The environment in which bin/detect, bin/build and bin/generate start, made from the lifecycle's.
    pub fn for_build(own: &Vars) -> Self {
        let is_passed = |name: &OsStr| PASSED_TO_BUILDPACKS.iter().any(|n| name == *n) || is_root_variable(BUILD_ROOT_DIRS, name);
        let vars = own.iter().filter(|(name, _)| is_passed(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        Self { vars, root_dirs: BUILD_ROOT_DIRS }
    }

    /// The environment in which a process starts, made from the launcher's. The directories of the process symlinks and of
    /// the launcher are taken out of PATH wherever they stand (B17): a process type may have the name of a program.
    pub fn for_launch(own: &Vars, process_dir: &Path, lifecycle_dir: &Path) -> Self {
        let is_hidden = |name: &OsStr| HIDDEN_FROM_PROCESSES.iter().any(|n| name == *n);
        let mut vars: Vars = own.iter().filter(|(name, _)| !is_hidden(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        if let Some(path) = vars.get_mut(OsStr::new("PATH")) {
            let ours = [process_dir.as_os_str().as_bytes(), lifecycle_dir.as_os_str().as_bytes()];
            let kept: Vec<&[u8]> = path.as_bytes().split(|b| *b == b':').filter(|part| !ours.contains(part)).collect();
            *path = OsString::from_vec(kept.join(&b':'));
        }
        Self { vars, root_dirs: LAUNCH_ROOT_DIRS }
    }

    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.vars.insert(name.into(), value.into());
    }

    /// Puts the layer's `bin`, `lib` and so on, as far as they exist, in front of their variables.
    pub fn add_root_dir(&mut self, layer: &Path) -> Result<()> {
        let layer = absolute(layer)?;
        for (dir, names) in self.root_dirs {
            let dir = layer.join(dir);
            match fs::metadata(&dir) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("stat", &dir, &e)),
            }
            for name in *names {
                self.prepend(OsStr::new(name), dir.as_os_str().as_bytes(), b":");
            }
        }
        Ok(())
    }

    /// Applies the files of an `env` directory; a file without a suffix sets its variable. A missing directory is empty.
    pub fn add_env_dir(&mut self, dir: &Path) -> Result<()> {
        self.apply(dir, Action::Override)
    }

    /// The environment with what the user and the builder want on top: files in `<platform>/env` set variables, or are
    /// prepended to those that layers extend, too; then files in `<build config>/env`, by default as defaults.
    ///
    /// `platform` is `None` for a buildpack that wants a clear environment (`clear-env`).
    pub fn with_overrides(&self, platform: Option<&Path>, build_config: Option<&Path>) -> Result<Self> {
        let mut env = self.clone();
        if let Some(platform) = platform {
            for (name, value) in env_files(&platform.join("env"))? {
                if is_root_variable(env.root_dirs, &name) {
                    env.prepend(&name, &value, b":");
                } else {
                    env.set(name, OsString::from_vec(value));
                }
            }
        }
        if let Some(build_config) = build_config {
            env.apply(&build_config.join("env"), Action::Default)?;
        }
        Ok(env)
    }

    fn apply(&mut self, dir: &Path, default: Action) -> Result<()> {
        let files = env_files(dir).with_context(|| format!("apply env files from dir '{}'", dir.display()))?;
        for (file, value) in files {
            let mut parts = file.as_bytes().splitn(2, |b| *b == b'.');
            let name = OsStr::from_bytes(parts.next().unwrap_or_default());
            let Some(action) = parts.next().map_or(Some(default), Action::from_suffix) else { continue };
            match action {
                Action::Override => self.set(name, OsString::from_vec(value)),
                Action::Default if self.is_empty(name) => self.set(name, OsString::from_vec(value)),
                Action::Default => {}
                Action::Prepend => self.prepend(name, &value, &delimiter(dir, name)),
                Action::Append => self.append(name, &value, &delimiter(dir, name)),
            }
        }
        Ok(())
    }

    /// Unset and empty are the same to every rule.
    fn is_empty(&self, name: &OsStr) -> bool {
        self.vars.get(name).is_none_or(|v| v.is_empty())
    }

    fn prepend(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let old = self.vars.get(name).map(|v| v.as_bytes()).unwrap_or_default();
        let delimiter = if old.is_empty() { b"" } else { delimiter };
        let value = [value, delimiter, old].concat();
        self.set(name, OsString::from_vec(value));
    }

    fn append(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let old = self.vars.get(name).map(|v| v.as_bytes()).unwrap_or_default();
        let delimiter = if old.is_empty() { b"" } else { delimiter };
        let value = [old, delimiter, value].concat();
        self.set(name, OsString::from_vec(value));
    }
}

/// buildpack.md, "Environment Variable Modification Rules".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Override,
    Default,
    Prepend,
    Append,
}

impl Action {
    /// `None` for suffixes that are not actions, `delim` among them: such files are ignored.
    fn from_suffix(suffix: &[u8]) -> Option<Self> {
        match suffix {
            b"override" => Some(Self::Override),
            b"default" => Some(Self::Default),
            b"prepend" => Some(Self::Prepend),
            b"append" => Some(Self::Append),
            _ => None,
        }
    }
}

fn is_root_variable(root_dirs: RootDirs, name: &OsStr) -> bool {
    root_dirs.iter().any(|(_, names)| names.iter().any(|n| name == *n))
}

/// The content of `<dir>/<name>.delim`, nothing if it cannot be read.
fn delimiter(dir: &Path, name: &OsStr) -> Vec<u8> {
    let mut file = name.to_owned();
    file.push(".delim");
    fs::read(dir.join(file)).unwrap_or_default()
}

/// Names and contents of the directory's files and of links to files, sorted by name. A missing directory is empty.
fn env_files(dir: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", dir, &e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", dir, &e))?;
        let path = entry.path();
        if fs::metadata(&path).map_err(|e| Error::io("stat", &path, &e))?.is_dir() {
            continue;
        }
        files.push((entry.file_name(), fs::read(&path).map_err(|e| Error::io("open", &path, &e))?));
    }
    files.sort();
    Ok(files)
}

/// The path from the root, without `.` and `..`: as text, links are not looked at.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(|e| Error::io("abs", path, &e))?;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Ok(clean)
}

#[cfg(all(test, feature = "lifecycle"))]
mod tests;
