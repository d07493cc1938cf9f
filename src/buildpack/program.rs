//! What bin/detect, bin/build and bin/generate have in common: how they are called (buildpack.md, "Provided by the
//! Lifecycle").

use std::path::PathBuf;
use std::process::Command;

use super::descriptor::{Descriptor, ModuleKind};
use crate::env::Env;
use crate::error::Result;

/// What the programs of all modules of a build are given.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The working directory.
    pub app: PathBuf,
    /// Empty if there is none.
    pub platform: PathBuf,
    /// The builder's configuration (platform.md, "Build Config"); empty if there is none.
    pub build_config: PathBuf,
    /// `CNB_TARGET_*`, for modules that know targets.
    pub target: Vec<(&'static str, String)>,
    /// `CNB_EXEC_ENV`, for bin/detect and bin/build of modules that know it; empty if the platform does not.
    pub exec_env: String,
}

impl Surroundings {
    /// The program of the module, without arguments and the variables of its phase. With `clear-env` it does not see what the
    /// user set for the build.
    pub fn command(&self, module: &Descriptor, program: &str, env: &Env) -> Result<Command> {
        let path = |path: &PathBuf| Some(path.clone()).filter(|p| !p.as_os_str().is_empty());
        let platform = path(&self.platform).filter(|_| !module.clear_env);
        let env = env.with_overrides(platform.as_deref(), path(&self.build_config).as_deref())?;
        let mut command = Command::new(module.root.join("bin").join(program));
        command.current_dir(&self.app).env_clear().envs(env.vars());
        command.env(
            match module.kind {
                ModuleKind::Buildpack => "CNB_BUILDPACK_DIR",
                ModuleKind::Extension => "CNB_EXTENSION_DIR",
            },
            &module.root,
        );
        if module.api.has_targets() {
            command.envs(self.target.iter().map(|(name, value)| (name, value)));
        }
        Ok(command)
    }

    /// Adds `CNB_EXEC_ENV`.
    pub fn pass_exec_env(&self, module: &Descriptor, command: &mut Command) {
        if module.api.has_exec_env() && !self.exec_env.is_empty() {
            command.env("CNB_EXEC_ENV", &self.exec_env);
        }
    }
}
