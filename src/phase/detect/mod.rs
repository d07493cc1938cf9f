//! The detect phase: the first group of which all required modules pass and whose build plan resolves (platform.md,
//! "Detection"; buildpack.md, "Phase #1: Detection").
//!
//! [`order`] makes one order of what the builder has, [`walk`] expands it group by group and runs bin/detect, [`resolve`]
//! decides on a group, [`trial`] on its build plan; the last two are pure.

mod order;
mod resolve;
mod target;
#[cfg(test)]
mod tests;
mod trial;
mod walk;

use std::path::PathBuf;

use tracing::{error, info_span};

use crate::api::PlatformApi;
use crate::buildpack::ids;
use crate::buildpack::program::Surroundings;
use crate::buildpack::store::Store;
use crate::data::analyzed::Analyzed;
use crate::data::group::{Group, GroupElement};
use crate::data::order::Order;
use crate::data::plan::Plan;
use crate::data::system::System;
use crate::data::target::TargetMetadata;
use crate::env::Env;
use crate::error::{Context, Error, Failure, Result};
use crate::log::Entry;
use crate::phase::timing;

use order::Item;

/// What the phase needs to know.
#[derive(Debug)]
pub struct Inputs {
    pub api: PlatformApi,
    pub store: Store,
    pub order_path: PathBuf,
    /// Read from Platform API 0.15 on.
    pub system_path: PathBuf,
    /// Without target variables, which the phase adds.
    pub surroundings: Surroundings,
    /// The environment of modules.
    pub env: Env,
}

/// Orders that are read and whose modules are known to be there.
#[derive(Debug)]
pub struct Detector {
    inputs: Inputs,
    groups: Vec<Vec<Item>>,
    target: TargetMetadata,
    /// The order has extensions.
    pub has_extensions: bool,
}

/// What passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detected {
    pub group: Group,
    pub plan: Plan,
}

impl Detector {
    /// Reads the order and the builder's system buildpacks, and looks up what they name.
    ///
    /// # Errors
    /// A document is missing or malformed, a module is missing, or its API is not supported (exit 12).
    pub fn new(inputs: Inputs, analyzed: &Analyzed) -> Result<Self> {
        let mut order = Order::read(&inputs.order_path).context("reading order")?;
        if inputs.api.has_system_buildpacks() {
            let system = System::read(&inputs.system_path).context("reading system")?;
            order::add_system_buildpacks(&mut order, &system);
        }
        for element in order.groups.iter().chain(&order.extension_groups).flatten() {
            inputs.store.lookup(element)?;
        }
        let has_extensions = !order.extension_groups.is_empty();
        Ok(Self { groups: order::items(&order), target: analyzed.run_image_target(), has_extensions, inputs })
    }

    /// Finds the group. Messages on what came of each module are shown at the end; if no group passed, all of them.
    ///
    /// # Errors
    /// No group passed ([`Failure::NoGroup`], or [`Failure::NoGroupWithErrors`] if a bin/detect ended with an error), or a
    /// module in an order of a buildpack is missing.
    pub fn detect(&self) -> Result<Detected> {
        let _span = info_span!("phase", name = "detect").entered();
        let _timing = timing::measure("Detector");
        let mut walk = walk::Walk::new(&self.inputs, &self.target);
        let outcome = walk.order(&self.groups);
        let print = if outcome.is_err() { Entry::print_always } else { Entry::print };
        walk.messages.iter().for_each(print);
        let detected = outcome.map_err(NotDetected::into_error)?;
        // The reference lets such groups pass (spec-and-reference.md A8).
        ids::check_directories(&detected.group.group).or_failure(Failure::Detect)?;
        Ok(detected)
    }
}

/// Why an order came to nothing.
#[derive(Debug)]
enum NotDetected {
    NoGroup,
    /// No group, and a bin/detect ended with an error.
    NoGroupWithErrors,
    Error(Error),
}

impl NotDetected {
    fn into_error(self) -> Error {
        match self {
            Self::NoGroup => {
                error!("No buildpack groups passed detection.");
                error!("Please check that you are running against the correct path.");
                Error::new("no buildpacks participating").or_failure(Failure::NoGroup)
            }
            Self::NoGroupWithErrors => {
                error!("No buildpack groups passed detection.");
                Error::new("buildpack(s) failed with err").or_failure(Failure::NoGroupWithErrors)
            }
            Self::Error(error) => error.or_failure(Failure::Detect),
        }
    }
}

impl From<Error> for NotDetected {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The element as group.toml has it.
fn without_marks(element: &GroupElement) -> GroupElement {
    GroupElement { extension: false, optional: false, exec_env: Vec::new(), ..element.clone() }
}
