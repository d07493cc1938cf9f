//! buildpack.toml and extension.toml (buildpack.md, "buildpack.toml"; image_extension.md, "extension.toml").

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::api::BuildpackApi;
use crate::data::group::GroupElement;
use crate::data::order::OrderEntry;
use crate::data::target::{BuildpackTarget, OsDistro};
use crate::data::{exec_env, toml_in};
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModuleKind {
    Buildpack,
    Extension,
}

impl ModuleKind {
    pub fn of(element: &GroupElement) -> Self {
        if element.extension { Self::Extension } else { Self::Buildpack }
    }

    /// The name of the module's descriptor.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Buildpack => "buildpack.toml",
            Self::Extension => "extension.toml",
        }
    }
}

/// As messages begin: `Buildpack`, `Extension`.
impl fmt::Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buildpack => "Buildpack",
            Self::Extension => "Extension",
        })
    }
}

#[derive(Clone, Debug)]
pub struct Descriptor {
    pub kind: ModuleKind,
    pub api: BuildpackApi,
    /// `api` as written.
    pub api_text: String,
    pub id: String,
    pub version: String,
    pub name: String,
    pub homepage: String,
    pub clear_env: bool,
    /// The directory of the descriptor, absolute.
    pub root: PathBuf,
    /// Non-empty for composite buildpacks.
    pub order: Vec<Vec<GroupElement>>,
    /// Declared or inferred (buildpack.md, "targets").
    pub targets: Vec<BuildpackTarget>,
    /// Execution environments; empty means any (Buildpack API ≥ 0.12).
    pub exec_env: Vec<String>,
    /// Media types of the SBOM files that the buildpack may write (buildpack.md, "sbom-formats"), as written.
    pub sbom_formats: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    api: String,
    buildpack: Info,
    extension: Info,
    order: Vec<OrderEntry>,
    targets: Vec<BuildpackTarget>,
    stacks: Vec<Stack>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Info {
    id: String,
    version: String,
    name: String,
    homepage: String,
    clear_env: bool,
    #[serde(deserialize_with = "exec_env::names")]
    exec_env: Vec<String>,
    sbom_formats: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stack {
    id: String,
}

impl Descriptor {
    /// Reads the descriptor of a module.
    ///
    /// # Errors
    /// The file is missing or malformed, or its API is not supported: [`crate::error::Failure::BuildpackApi`].
    /// `element` is what refers to the module, for messages.
    pub fn read(kind: ModuleKind, path: &Path, element: &GroupElement) -> Result<Self> {
        let document: Document = toml_in::read(path)?;
        let root = path.parent().unwrap_or(Path::new("/"));
        let root = std::path::absolute(root).map_err(|e| Error::io("abs", root, &e))?;
        let api = BuildpackApi::requested(&kind.to_string(), &element.to_string(), &document.api)?;
        let targets = match kind {
            ModuleKind::Buildpack => document.buildpack_targets(api, &root)?,
            ModuleKind::Extension => document.extension_targets(&root)?,
        };
        let Document { api: api_text, buildpack, extension, order, .. } = document;
        let (info, order) = match kind {
            ModuleKind::Buildpack => (buildpack, order),
            // An order in an extension means nothing (spec-and-reference.md B25).
            ModuleKind::Extension => (extension, Vec::new()),
        };
        let Info { id, version, name, homepage, clear_env, exec_env, sbom_formats } = info;
        let order = order.into_iter().map(|o| o.group).collect();
        Ok(Self { kind, api, api_text, id, version, name, homepage, clear_env, root, order, targets, exec_env, sbom_formats })
    }

    /// Whether the module is for this execution environment: always below Buildpack API 0.12.
    pub fn runs_in(&self, exec_env: &str) -> bool {
        !self.api.has_exec_env() || exec_env::matches(&self.exec_env, exec_env)
    }
}

impl Document {
    /// Declared targets, else what the stacks of old stand for, else linux if there is a program to run on it.
    fn buildpack_targets(&self, api: BuildpackApi, root: &Path) -> Result<Vec<BuildpackTarget>> {
        if !self.targets.is_empty() {
            return Ok(self.targets.clone());
        }
        let bionic_is_a_target = api.has_targets() || self.stacks.len() == 1;
        let from_stacks: Vec<_> = self
            .stacks
            .iter()
            .filter_map(|stack| match stack.id.as_str() {
                "io.buildpacks.stacks.bionic" if bionic_is_a_target => Some(bionic()),
                "*" => Some(BuildpackTarget::default()),
                _ => None,
            })
            .collect();
        if !from_stacks.is_empty() {
            return Ok(from_stacks);
        }
        Ok(if has_program(root, &["build"])? { vec![linux()] } else { Vec::new() })
    }

    /// Declared targets, else linux if there is a program to run on it, else any.
    fn extension_targets(&self, root: &Path) -> Result<Vec<BuildpackTarget>> {
        if !self.targets.is_empty() {
            return Ok(self.targets.clone());
        }
        Ok(vec![if has_program(root, &["detect", "generate"])? { linux() } else { BuildpackTarget::default() }])
    }
}

fn linux() -> BuildpackTarget {
    BuildpackTarget { os: "linux".into(), ..BuildpackTarget::default() }
}

fn bionic() -> BuildpackTarget {
    let distros = vec![OsDistro { name: "ubuntu".into(), version: "18.04".into() }];
    BuildpackTarget { os: "linux".into(), arch: "amd64".into(), distros, ..BuildpackTarget::default() }
}

fn has_program(root: &Path, names: &[&str]) -> Result<bool> {
    let bin = root.join("bin");
    if fs::metadata(&bin).is_err() {
        return Ok(false);
    }
    for entry in fs::read_dir(&bin).map_err(|e| Error::io("open", &bin, &e))? {
        let entry = entry.map_err(|e| Error::io("read", &bin, &e))?;
        if names.iter().any(|n| entry.file_name() == *n) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn read(kind: ModuleKind, text: &str, programs: &[&str]) -> Result<Descriptor> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for program in programs {
            fs::write(dir.path().join("bin").join(program), "").unwrap();
        }
        let path = dir.path().join(kind.file_name());
        fs::write(&path, text).unwrap();
        Descriptor::read(kind, &path, &GroupElement { id: "a".into(), version: "1".into(), ..GroupElement::default() })
    }

    /// buildpack.md, "Targets": what a buildpack without targets is for.
    #[test]
    fn targets_of_buildpacks_without_targets() {
        let targets = |text: &str, programs: &[&str]| read(ModuleKind::Buildpack, text, programs).unwrap().targets;
        let api = |api: &str, stacks: &str| format!("api = \"{api}\"\nstacks = [{stacks}]\n");
        let bionic_stack = r#"{ id = "io.buildpacks.stacks.bionic" }"#;
        let both = format!("{bionic_stack}, {{ id = \"x\" }}");
        assert_eq!(targets(&api("0.12", ""), &["build"]), [linux()]);
        assert_eq!(targets(&api("0.12", ""), &["detect"]), []);
        assert_eq!(targets(&api("0.12", ""), &["build.exe"]), []);
        assert_eq!(targets(&api("0.7", r#"{ id = "*" }"#), &["build"]), [BuildpackTarget::default()]);
        assert_eq!(targets(&api("0.7", bionic_stack), &["build"]), [bionic()]);
        assert_eq!(targets(&api("0.9", &both), &["build"]), [linux()]);
        assert_eq!(targets(&api("0.10", &both), &["build"]), [bionic()]);
        let declared = format!("{}[[targets]]\nos = \"windows\"\n", api("0.12", bionic_stack));
        assert_eq!(targets(&declared, &["build"])[0].os, "windows");
    }

    #[test]
    fn targets_of_extensions_without_targets() {
        let targets = |programs: &[&str]| read(ModuleKind::Extension, "api = \"0.10\"\n", programs).unwrap().targets;
        assert_eq!(targets(&["generate"]), [linux()]);
        assert_eq!(targets(&["detect", "generate"]), [linux()]);
        assert_eq!(targets(&["build"]), [BuildpackTarget::default()]);
    }

    /// buildpack.md, "exec-env": tables as in the specification, or names.
    #[test]
    fn execution_environments() {
        let with = |api: &str, text: &str| {
            read(ModuleKind::Buildpack, &format!("api = \"{api}\"\n[buildpack]\nid = \"a\"\n{text}"), &[]).unwrap()
        };
        for form in ["exec-env = [\"test\"]", "[[buildpack.exec-env]]\nname = \"test\"", "exec-env = [{ name = \"test\" }]"] {
            let descriptor = with("0.12", form);
            assert_eq!(descriptor.exec_env, ["test"], "{form}");
            assert!(descriptor.runs_in("test") && !descriptor.runs_in("production"));
            assert!(with("0.11", form).runs_in("production"));
        }
        assert!(with("0.12", "exec-env = [\"*\"]").runs_in("production"));
        assert!(with("0.12", "").runs_in("production"));
    }

    /// buildpack.md, "Buildpack API Compatibility": an API that the lifecycle does not know MUST fail.
    #[test]
    fn an_unknown_api_is_refused() {
        for text in ["", "api = \"0.1\"", "api = \"0.99\"", "api = \"x\""] {
            let error = read(ModuleKind::Buildpack, text, &[]).unwrap_err();
            assert_eq!(error.failure(), Some(Failure::BuildpackApi), "{text}: {error}");
            assert!(error.to_string().contains("'a@1'"), "{error}");
        }
    }

    #[test]
    fn only_buildpacks_have_orders() {
        let text = "api = \"0.12\"\n[[order]]\ngroup = [{ id = \"x\", version = \"1\", optional = true }]\n";
        let order = read(ModuleKind::Buildpack, text, &[]).unwrap().order;
        assert_eq!(order[0][0].to_string(), "x@1");
        assert!(order[0][0].optional);
        assert!(read(ModuleKind::Extension, text, &[]).unwrap().order.is_empty());
    }
}
