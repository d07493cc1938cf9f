//! Which Dockerfiles there are for a kind of image, with their contexts and arguments.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tracing::debug;

use super::executor::Recipe;
use crate::api::PlatformApi;
use crate::data::group::GroupElement;
use crate::data::toml_in;
use crate::error::{Error, Result};

/// The image that is extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    Build,
    Run,
}

impl ImageKind {
    /// `None` for anything but `build` and `run`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "build" => Some(Self::Build),
            "run" => Some(Self::Run),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
        }
    }
}

/// `extend-config.toml` (image_extension.md, "extend-config.toml").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExtendConfig {
    build: ArgList,
    run: ArgList,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArgList {
    args: Vec<Arg>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arg {
    name: String,
    value: String,
}

/// Where generated files and contexts are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub generated: &'a Path,
    pub app: &'a Path,
    pub api: PlatformApi,
}

/// The Dockerfiles of this kind in the order of the group.
pub fn recipes(kind: ImageKind, extensions: &[GroupElement], places: Places<'_>) -> Result<Vec<Recipe>> {
    let mut recipes = Vec::new();
    for extension in extensions {
        let escaped = extension.id.replace('/', "_");
        let (dockerfile, config, context) = if places.api.has_extension_contexts() {
            let output = places.generated.join(escaped);
            let name = format!("{}.Dockerfile", kind.as_str());
            (output.join(name), output.join("extend-config.toml"), context(kind, &output, places.app)?)
        } else {
            let output = places.generated.join(kind.as_str()).join(escaped);
            (output.join("Dockerfile"), output.join("extend-config.toml"), places.app.to_owned())
        };
        if !exists(&dockerfile)? {
            continue;
        }
        let config: ExtendConfig = toml_in::read_optional(&config)?.unwrap_or_default();
        let list = if kind == ImageKind::Build { config.build } else { config.run };
        let args = list.args.into_iter().map(|arg| (arg.name, arg.value)).collect();
        debug!("Found {} Dockerfile for extension '{}'", kind.as_str(), extension.id);
        recipes.push(Recipe { path: dockerfile, extension: extension.id.clone(), args, context });
    }
    Ok(recipes)
}

/// The context of this kind of image, else the shared one, else the app.
fn context(kind: ImageKind, output: &Path, app: &Path) -> Result<PathBuf> {
    for directory in [output.join(format!("context.{}", kind.as_str())), output.join("context")] {
        if exists(&directory)? {
            return Ok(directory);
        }
    }
    Ok(app.to_owned())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| Error::io("stat", path, &e))
}
