//! How layers, the platform directory and the operator's build-config change an environment (buildpack.md, "Environment").
//!
//! Names and values are bytes, as the kernel has them. An unset variable and an empty one are the same to every rule.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// Which directory of a layer goes in front of which variables.
type RootDirs = &'static [(&'static str, &'static [&'static str])];

/// buildpack.md, "Layer Paths", build environment.
#[cfg(feature = "lifecycle")]
const BUILD_ROOT_DIRS: RootDirs = &[
    ("bin", &["PATH"]),
    ("lib", &["LD_LIBRARY_PATH", "LIBRARY_PATH"]),
    ("include", &["CPATH"]),
    ("pkgconfig", &["PKG_CONFIG_PATH"]),
];

/// buildpack.md, "Layer Paths", launch environment.
const LAUNCH_ROOT_DIRS: RootDirs = &[("bin", &["PATH"]), ("lib", &["LD_LIBRARY_PATH"])];

/// What buildpacks see of the lifecycle's own environment, besides the variables of [`BUILD_ROOT_DIRS`].
#[cfg(feature = "lifecycle")]
const BUILD_PASSED_ON: &[&str] =
    &["CNB_STACK_ID", "HOSTNAME", "HOME", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];

/// What the launched process does not see of the launcher's environment (platform.md, "Launch").
const LAUNCH_WITHHELD: &[&str] =
    &["CNB_LAYERS_DIR", "CNB_APP_DIR", "CNB_PROCESS_TYPE", "CNB_PLATFORM_API", "CNB_DEPRECATION_MODE"];

/// What an environment file without a known suffix does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Prepend,
    Append,
    Override,
    Default,
    /// Prepend with `:` unless there is a delimiter file.
    PrependPath,
}

impl Action {
    fn of_suffix(suffix: &[u8]) -> Option<Self> {
        Some(match suffix {
            b"prepend" => Self::Prepend,
            b"append" => Self::Append,
            b"override" => Self::Override,
            b"default" => Self::Default,
            b"" => Self::PrependPath,
            _ => return None,
        })
    }
}

/// An environment in the making.
#[derive(Clone, Debug)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
    root_dirs: RootDirs,
}

impl Environment {
    /// The environment in which buildpacks run, before the first buildpack changed it.
    #[cfg(feature = "lifecycle")]
    pub fn for_build(own: &BTreeMap<OsString, OsString>) -> Self {
        let passed_on = |name: &OsStr| {
            let lists_dirs = BUILD_ROOT_DIRS.iter().flat_map(|(_, names)| names.iter());
            BUILD_PASSED_ON.iter().chain(lists_dirs).any(|n| name == *n)
        };
        let vars = own.iter().filter(|(name, _)| passed_on(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        Self { vars, root_dirs: BUILD_ROOT_DIRS }
    }

    /// The environment of a process to launch, before the first layer changed it. Every element of PATH that equals one
    /// of `not_in_path` is taken out.
    pub fn for_launch(own: &BTreeMap<OsString, OsString>, not_in_path: &[&str]) -> Self {
        let mut vars = own.clone();
        vars.retain(|name, _| !LAUNCH_WITHHELD.iter().any(|n| name == n));
        if let Some(path) = vars.get_mut(OsStr::new("PATH")) {
            let kept: Vec<_> =
                path.as_bytes().split(|b| *b == b':').filter(|dir| !not_in_path.iter().any(|n| n.as_bytes() == *dir)).collect();
            *path = OsString::from_vec(kept.join(&b':'));
        }
        Self { vars, root_dirs: LAUNCH_ROOT_DIRS }
    }

    /// Empty if the variable is not set.
    pub fn get(&self, name: impl AsRef<OsStr>) -> &OsStr {
        self.vars.get(name.as_ref()).map_or(OsStr::new(""), OsString::as_os_str)
    }

    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.vars.insert(name.into(), value.into());
    }

    /// All variables, sorted by name.
    pub fn vars(&self) -> &BTreeMap<OsString, OsString> {
        &self.vars
    }

    /// Puts the layer's `bin`, `lib` and so on in front of the variables that list such directories.
    pub fn add_layer_root(&mut self, layer_dir: &Path) -> Result<()> {
        for (dir, names) in self.root_dirs {
            let dir = layer_dir.join(dir);
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

    /// Applies the environment files of a layer's directory (buildpack.md, "Environment Variable Modification Rules"):
    /// a file without suffix overrides.
    pub fn add_env_dir(&mut self, dir: &Path) -> Result<()> {
        self.apply_env_dir(dir, Action::Override)
    }

    /// The environment as one buildpack sees it: with the user's variables from `<platform>/env` and the operator's from
    /// `<build-config>/env` on top (platform.md, "User-provided Variables" and "Operator-defined Variables").
    #[cfg(feature = "lifecycle")]
    pub fn with_overrides(&self, platform_dir: Option<&Path>, build_config_dir: Option<&Path>) -> Result<Self> {
        let mut env = self.clone();
        if let Some(platform_dir) = platform_dir {
            for (name, value) in env_files(&platform_dir.join("env"))? {
                if self.root_dirs.iter().any(|(_, names)| names.iter().any(|n| name == *n)) {
                    env.prepend(&name, &value, b":");
                } else {
                    env.set(name, OsString::from_vec(value));
                }
            }
        }
        if let Some(build_config_dir) = build_config_dir {
            env.apply_env_dir(&build_config_dir.join("env"), Action::Default)?;
        }
        Ok(env)
    }

    fn apply_env_dir(&mut self, dir: &Path, without_suffix: Action) -> Result<()> {
        let files = env_files(dir).with_context(|| format!("apply env files from dir '{}'", dir.display()))?;
        for (file, value) in files {
            let mut parts = file.as_bytes().splitn(2, |b| *b == b'.');
            let name = OsStr::from_bytes(parts.next().unwrap_or_default());
            let Some(action) = parts.next().map_or(Some(without_suffix), Action::of_suffix) else { continue };
            match action {
                Action::Prepend => self.prepend(name, &value, &delimiter(dir, name, b"")),
                Action::PrependPath => self.prepend(name, &value, &delimiter(dir, name, b":")),
                Action::Append => {
                    let mut joined = self.get(name).as_bytes().to_vec();
                    if !joined.is_empty() {
                        joined.extend_from_slice(&delimiter(dir, name, b""));
                    }
                    joined.extend_from_slice(&value);
                    self.set(name, OsString::from_vec(joined));
                }
                Action::Override => self.set(name, OsString::from_vec(value)),
                Action::Default if self.get(name).is_empty() => self.set(name, OsString::from_vec(value)),
                Action::Default => {}
            }
        }
        Ok(())
    }

    fn prepend(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let mut joined = value.to_vec();
        let old = self.get(name).as_bytes();
        if !old.is_empty() {
            joined.extend_from_slice(delimiter);
            joined.extend_from_slice(old);
        }
        self.set(name, OsString::from_vec(joined));
    }
}

/// The delimiter counts for its own directory only (spec-and-reference.md B19).
fn delimiter(dir: &Path, name: &OsStr, default: &[u8]) -> Vec<u8> {
    let mut file = name.to_owned();
    file.push(".delim");
    fs::read(dir.join(file)).unwrap_or_else(|_| default.to_vec())
}

/// Names and contents of the files of a directory, links to files included, sorted by name. Nothing if there is no such
/// directory.
fn env_files(dir: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
    let mut files = Vec::new();
    for (path, kind) in sorted_entries(dir)? {
        if kind.is_dir() {
            continue;
        }
        if kind.is_symlink() && fs::metadata(&path).map_err(|e| Error::io("stat", &path, &e))?.is_dir() {
            continue;
        }
        let value = fs::read(&path).map_err(|e| Error::io("open", &path, &e))?;
        files.push((path.file_name().unwrap_or_default().to_owned(), value));
    }
    Ok(files)
}

/// The entries of a directory with their own types (links are links), sorted bytewise by name. Nothing if there is no
/// such directory.
pub fn sorted_entries(dir: &Path) -> Result<Vec<(PathBuf, fs::FileType)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", dir, &e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("readdirent", dir, &e))?;
        found.push((entry.path(), entry.file_type().map_err(|e| Error::io("lstat", entry.path(), &e))?));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.file_name().cmp(&b.file_name()));
    Ok(found)
}

#[cfg(all(test, feature = "lifecycle"))]
mod tests {
    use super::*;

    fn own(vars: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        vars.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn each_suffix_has_its_action() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("PRE.prepend", "a"),
            ("PRE.delim", ","),
            ("APP.append", "z"),
            ("NEW.append", "z"),
            ("NEW.delim", ","),
            ("DEF.default", "d"),
            ("UNSET.default", "d"),
            ("PLAIN", "p"),
            ("EMPTY.", "first"),
            ("ODD.suffix", "x"),
            ("TWO.override.override", "x"),
        ];
        write(dir.path(), &files);
        let mut env = Environment::for_launch(
            &own(&[("PRE", "b"), ("APP", "y"), ("DEF", "old"), ("PLAIN", "old"), ("EMPTY", "last")]),
            &[],
        );
        env.add_env_dir(dir.path()).unwrap();
        let wanted = [
            ("APP", "yz"),
            ("DEF", "old"),
            ("EMPTY", "first:last"),
            ("NEW", "z"),
            ("PLAIN", "p"),
            ("PRE", "a,b"),
            ("UNSET", "d"),
        ];
        assert_eq!(*env.vars(), own(&wanted));
    }

    #[test]
    fn user_and_operator_come_on_top_for_one_buildpack_only() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("platform/env/PATH", "/user"), ("platform/env/X", "user"), ("operator/env/X.append", "+op")]);
        write(dir.path(), &[("operator/env/Y", "op"), ("operator/env/HOME", "op")]);
        let env = Environment::for_build(&own(&[("PATH", "/bin"), ("HOME", "/home"), ("SECRET", "s")]));
        let seen = env.with_overrides(Some(&dir.path().join("platform")), Some(&dir.path().join("operator"))).unwrap();
        assert_eq!(*seen.vars(), own(&[("PATH", "/user:/bin"), ("X", "user+op"), ("Y", "op"), ("HOME", "/home")]));
        assert_eq!(*env.vars(), own(&[("PATH", "/bin"), ("HOME", "/home")]));
    }

    #[test]
    fn path_loses_every_element_that_is_not_meant_for_the_process() {
        let env = Environment::for_launch(&own(&[("PATH", "/cnb/process:/a:/cnb/process:/cnb/process/x")]), &["/cnb/process"]);
        assert_eq!(env.get("PATH"), "/a:/cnb/process/x");
    }

    #[test]
    fn a_file_in_place_of_an_env_dir_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("env", "")]);
        let error = Environment::for_launch(&own(&[]), &[]).add_env_dir(&dir.path().join("env")).unwrap_err();
        let path = dir.path().join("env").display().to_string();
        assert_eq!(error.to_string(), format!("apply env files from dir '{path}': open {path}: not a directory"));
    }
}
