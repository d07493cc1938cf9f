//! Layer protection (layer-protection-and-order.md §4; RFC pull request 155): what a buildpack left is changed by nobody but
//! itself.
//!
//! `<layers>/<escaped buildpack id>` belongs to its buildpack, from restoring on: whatever other buildpacks do there is a
//! violation. The files directly in the layers directory belong to the lifecycle. Off, nothing of this runs.

mod landlock;
mod owner;
mod policy;
mod violation;

use std::path::{Path, PathBuf};
use std::process::Command;

use tracing::{debug, error, warn};

use super::outputs::Layers;
use crate::bail;
use crate::buildpack::build;
use crate::data::group::{Group, GroupElement};
use crate::error::{Error, Failure, Result};
use crate::layers::dir::escape_id;
use crate::layers::kept;
use crate::layers::snapshot::Snapshot;

pub use crate::layers::kept::Owner as LayerOwner;
use owner::Owner;
pub use policy::{Mode, Policy};
use violation::Violation;

/// Watches over the layers directory of a build.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    policy: &'a Policy,
    layers_dir: &'a Path,
    app_dir: &'a Path,
    /// Whom kept layers are for.
    layer_owner: LayerOwner,
    owners: Vec<Owner>,
    lifecycle: Snapshot,
    /// Buildpacks run without the right to write elsewhere.
    restricts: bool,
}

impl<'a> Guard<'a> {
    /// Starts to watch, before the first buildpack; `None` if protection is off.
    ///
    /// # Errors
    /// `enforce-strict` on a machine that cannot enforce.
    pub fn start(
        policy: &'a Policy,
        layers_dir: &'a Path,
        app_dir: &'a Path,
        layer_owner: LayerOwner,
        group: &Group,
    ) -> Result<Option<Self>> {
        kept::clear(layers_dir)?;
        if policy.mode == Mode::Off {
            return Ok(None);
        }
        let mut owners: Vec<Owner> = Vec::new();
        for buildpack in &group.group {
            let dir = layers_dir.join(escape_id(&buildpack.id));
            if owners.iter().all(|o| o.dir != dir) {
                owners.push(Owner::new(buildpack.id.clone(), dir, policy)?);
            }
        }
        let lifecycle = Snapshot::of_files(layers_dir)?;
        let mut guard = Self { policy, layers_dir, app_dir, layer_owner, owners, lifecycle, restricts: false };
        if let Mode::Enforce { strict } = policy.mode {
            guard.restricts = guard.can_restrict(strict)?;
        }
        Ok(Some(guard))
    }

    fn can_restrict(&self, strict: bool) -> Result<bool> {
        let why = match landlock::writable(self.layers_dir, self.app_dir, &[]) {
            Ok(_) if landlock::is_available() => return Ok(true),
            Ok(_) => "the kernel or the container does not offer Landlock (ABI 2)".to_owned(),
            Err(error) => error.to_string(),
        };
        if strict {
            let error = format!("layer protection cannot be enforced: {why}");
            return Err(Error::new(error).or_failure(Failure::LayerProtection));
        }
        warn!("Layer protection cannot be enforced: {why}. Changes end the build after the buildpack that made them.");
        Ok(false)
    }

    /// Runs bin/build of a buildpack.
    pub fn run(&self, buildpack: &GroupElement, command: Command) -> Result<()> {
        if !self.restricts {
            return build::run(command);
        }
        let own = self.layers_dir.join(escape_id(&buildpack.id));
        let mut open = vec![own.clone()];
        open.extend(self.foreign(&own).flat_map(Owner::open_layers));
        let writable = landlock::writable(self.layers_dir, self.app_dir, &open)?;
        let result = landlock::restricted(&writable, || build::run(command));
        if result.as_ref().is_err_and(|e| e.failure() == Some(Failure::BuildpackBuild)) {
            warn!(
                "Layer protection was enforced while buildpack '{}' ran: writing below {} outside of its own directory fails \
                 with \"permission denied\". {}",
                buildpack.id,
                self.layers_dir.display(),
                WAYS_OUT
            );
        }
        result
    }

    /// Looks at what is not the buildpack's, after it ran.
    ///
    /// # Errors
    /// [`Failure::LayerProtection`] if something changed and that is to end the build.
    pub fn check(&mut self, buildpack: &GroupElement) -> Result<()> {
        let own = self.layers_dir.join(escape_id(&buildpack.id));
        let lifecycle = Snapshot::of_files(self.layers_dir)?;
        let mut violations = Violation::of_lifecycle(&buildpack.id, self.lifecycle.changes(&lifecycle));
        self.lifecycle = lifecycle;
        for owner in self.owners.iter_mut().filter(|o| o.dir != own) {
            let changes = owner.changes()?;
            for violation in Violation::of_layers(&owner.id, &buildpack.id, changes) {
                if owner.is_unchanged(&violation, self.layer_owner) {
                    debug!("{violation}; its content is the same");
                } else {
                    violations.push(violation);
                }
            }
            if self.policy.mode == Mode::Discard {
                owner.put_back()?;
            }
        }
        self.tell(buildpack, &violations)
    }

    fn tell(&self, buildpack: &GroupElement, violations: &[Violation]) -> Result<()> {
        for violation in violations {
            match self.policy.mode {
                Mode::Warn | Mode::Off => warn!("{violation}. The image gets what is there now. {WAYS_OUT}"),
                Mode::Discard => warn!("{violation}. The image gets what its owner left. {WAYS_OUT}"),
                Mode::Error | Mode::Enforce { .. } => error!("{violation}. {WAYS_OUT}"),
            }
        }
        if violations.is_empty() || matches!(self.policy.mode, Mode::Warn | Mode::Off | Mode::Discard) {
            return Ok(());
        }
        let what = if violations.len() == 1 { "a layer or file" } else { "layers or files" };
        let text = format!("buildpack '{}' changed {what} of others; layer protection ends the build", buildpack.id);
        Err(Error::new(text).or_failure(Failure::LayerProtection))
    }

    /// From now on the buildpack's directory is as it left it.
    pub fn settle(&mut self, buildpack: &GroupElement, layers: &Layers, honours_proposals: bool) -> Result<()> {
        let own = self.layers_dir.join(escape_id(&buildpack.id));
        let keep = (self.policy.mode == Mode::Discard).then_some((self.layers_dir, self.layer_owner));
        let Some(owner) = self.owners.iter_mut().find(|o| o.dir == own) else {
            bail!("buildpack '{}' is not in the group", buildpack.id);
        };
        owner.settle(layers, honours_proposals, keep)
    }

    fn foreign<'s>(&'s self, own: &'s PathBuf) -> impl Iterator<Item = &'s Owner> {
        self.owners.iter().filter(move |o| o.dir != *own)
    }
}

const WAYS_OUT: &str = "If this is meant, the layer's buildpack can set `build-write = true` in its [types], or the platform \
                        can list the layer in CNB_LAYER_PROTECTION_ALLOW.";
