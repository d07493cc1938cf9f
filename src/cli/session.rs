//! What every command gets.

use std::path::Path;

use tracing::{debug, error, warn};

use crate::api::PlatformApi;
use crate::bail;
use crate::error::Result;
use crate::process::user::{self, User};
use crate::process::{Invocation, signals};

use super::applet::Command;
use super::fail::Fail;
use super::flags::Flags;

/// One call of one command, its command line understood and checked.
///
/// A command goes through the same steps in the same order: inputs (exit 3), credentials and daemon sockets that only root
/// may read, [`Session::become_user`], then its phase.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    pub invocation: &'a Invocation,
    pub command: Command,
    pub api: PlatformApi,
    pub flags: &'a Flags,
}

impl Session<'_> {
    /// The user of build and run images, `-uid` and `-gid`.
    pub fn user(&self) -> User {
        User { uid: self.flags.integer("uid"), gid: self.flags.integer("gid") }
    }

    /// Gives the user those of `volumes` that he may not write, then drops to the user. Everything that needs root must be
    /// open by now.
    pub fn become_user(&self, volumes: &[&Path]) -> Result<()> {
        debug!("Ensuring privileges...");
        let user = self.user();
        user::ensure_owner(user, volumes).failed_to("chown volumes")?;
        user::run_as(user).failed_to(&format!("exec as user {}:{}", user.uid, user.gid))?;
        signals::watch();
        debug!("Executing command...");
        Ok(())
    }

    /// Detector and builder run code of buildpacks and never as root.
    pub fn refuse_root(&self) -> Result<()> {
        debug!("Ensuring privileges...");
        if user::is_root() {
            bail!("failed to {}: refusing to run as root", self.command.phase());
        }
        signals::watch();
        debug!("Executing command...");
        Ok(())
    }

    /// Refuses, warns or is silent about an experimental feature, as `CNB_EXPERIMENTAL_MODE` says (platform.md, "Experimental
    /// Features"). The specification's word for `quiet` is `silent`.
    pub fn guard_experimental(&self, feature: &str) -> Result<()> {
        match self.invocation.non_empty_var("CNB_EXPERIMENTAL_MODE").unwrap_or("error") {
            "quiet" | "silent" => {}
            "error" => {
                error!("Platform requested experimental feature '{feature}'");
                bail!("experimental features are disabled by CNB_EXPERIMENTAL_MODE=error");
            }
            _ => warn!("Platform requested experimental feature '{feature}'"),
        }
        Ok(())
    }
}

/// The name of the feature for [`Session::guard_experimental`].
pub const LAYOUT: &str = "export to OCI layout format";
/// The name of the feature for [`Session::guard_experimental`].
pub const DOCKERFILES: &str = "Dockerfiles";
