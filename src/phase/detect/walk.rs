//! Walking an order: expanding composite buildpacks, running bin/detect of a group's modules in parallel, trying groups
//! until one passes.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::thread;

use tracing::{debug, debug_span};

use super::order::{Item, Module, modules};
use super::resolve::resolve;
use super::{Detected, Inputs, NotDetected, target};
use crate::buildpack::descriptor::{Descriptor, ModuleKind};
use crate::buildpack::detect::{Detection, detect};
use crate::buildpack::program::Surroundings;
use crate::buildpack::target::{for_build, variables};
use crate::data::exec_env;
use crate::data::group::GroupElement;
use crate::data::target::{BuildpackTarget, TargetMetadata};
use crate::error::{Error, Result};
use crate::log::{self, Entry};

/// Which bin/detect: its result is the same in every group.
pub(super) type Key = (ModuleKind, String);

pub(super) fn key(element: &GroupElement) -> Key {
    (ModuleKind::of(element), element.to_string())
}

pub(super) struct Walk<'a> {
    inputs: &'a Inputs,
    run_image: &'a TargetMetadata,
    target: OnceCell<TargetMetadata>,
    detections: BTreeMap<Key, Detection>,
    /// What was said on the groups tried so far.
    pub messages: Vec<Entry>,
}

/// The part of a group that is decided: its elements in order, and the modules whose bin/detect has to run.
#[derive(Clone, Default)]
struct Chosen {
    elements: Vec<GroupElement>,
    waiting: Vec<(Key, Descriptor)>,
}

type Outcome = Result<Detected, NotDetected>;

impl<'a> Walk<'a> {
    pub fn new(inputs: &'a Inputs, run_image: &'a TargetMetadata) -> Self {
        Self { inputs, run_image, target: OnceCell::new(), detections: BTreeMap::new(), messages: Vec::new() }
    }

    pub fn order(&mut self, groups: &[Vec<Item>]) -> Outcome {
        self.alternatives(groups, Chosen::default(), &[], false)
    }

    /// The first of `groups` that passes, between what is `chosen` and what comes `next`; without any if it is optional.
    fn alternatives(&mut self, groups: &[Vec<Item>], chosen: Chosen, next: &[Item], optional: bool) -> Outcome {
        let mut failed = NotDetected::NoGroup;
        for group in groups {
            let items: Vec<Item> = group.iter().chain(next).cloned().collect();
            match self.group(&items, chosen.clone()) {
                Err(NotDetected::NoGroup) => {}
                Err(NotDetected::NoGroupWithErrors) => failed = NotDetected::NoGroupWithErrors,
                settled => return settled,
            }
        }
        if optional { self.group(next, chosen) } else { Err(failed) }
    }

    fn group(&mut self, items: &[Item], mut chosen: Chosen) -> Outcome {
        for (i, item) in items.iter().enumerate() {
            let next = &items[i + 1..];
            let module = match item {
                Item::Extensions(groups) => return self.alternatives(groups, chosen, next, true),
                Item::Module(module) => module,
            };
            let element = &module.element;
            // The first of several with the same id counts.
            if chosen.elements.iter().any(|e| e.extension == element.extension && e.id == element.id) {
                continue;
            }
            let descriptor = self.inputs.store.lookup(element)?;
            if !descriptor.order.is_empty() {
                if !self.is_for_exec_env(element, &descriptor) {
                    continue;
                }
                let groups = modules(&descriptor.order, &inside(module)?);
                let groups = without_exec_env_below(&descriptor, groups);
                return self.alternatives(&groups, chosen, next, element.optional);
            }
            let fits = !self.inputs.api.has_targets() || self.is_for_target(&descriptor.targets);
            // An optional module is tried all the same (spec-and-reference.md B28).
            let is_refused = !fits && !element.optional;
            if !is_refused && !self.is_for_exec_env(element, &descriptor) {
                continue;
            }
            let key = key(element);
            chosen.elements.push(GroupElement {
                api: descriptor.api_text.clone(),
                homepage: descriptor.homepage.clone(),
                ..element.clone()
            });
            if is_refused {
                self.detections.insert(key, self.refusal(&descriptor)?);
            } else {
                chosen.waiting.push((key, descriptor));
            }
        }
        self.run(&chosen.waiting)?;
        let (outcome, messages) = log::capture(|| resolve(&chosen.elements, &self.detections));
        self.messages.extend(messages);
        outcome
    }

    /// The run image's target, completed from this machine when it is first asked for.
    fn target(&self) -> &TargetMetadata {
        self.target.get_or_init(|| for_build(self.run_image))
    }

    /// No targets at all: there is nothing for the module to run, so it cannot run in the wrong place.
    fn is_for_target(&self, targets: &[BuildpackTarget]) -> bool {
        targets.is_empty()
            || targets.iter().any(|target| {
                debug!("Checking for match against descriptor: {}", target::describe(target));
                target::satisfies(self.target(), target)
            })
    }

    fn refusal(&self, descriptor: &Descriptor) -> Result<Detection> {
        let run_image = self.target().to_json()?;
        let module = BuildpackTarget::list_to_json(&descriptor.targets)?;
        Ok(Detection::error(format!("unable to satisfy target os/arch constraints; run image: {run_image}, buildpack: {module}")))
    }

    /// The module's own environments and those of the order it stands in (buildpack.md, "exec-env").
    fn is_for_exec_env(&self, element: &GroupElement, descriptor: &Descriptor) -> bool {
        let wanted = &self.inputs.surroundings.exec_env;
        if !self.inputs.api.has_exec_env() || wanted.is_empty() {
            return true;
        }
        let is_listed = exec_env::matches(&element.exec_env, wanted);
        if is_listed && descriptor.runs_in(wanted) {
            return true;
        }
        let supported = if is_listed { &descriptor.exec_env } else { &element.exec_env };
        debug!(
            "Skipping {element} due to execution environment mismatch; current: {wanted}, buildpack supports: [{}]",
            supported.join(" ")
        );
        false
    }

    /// Runs each bin/detect that has not run before, all at the same time.
    fn run(&mut self, waiting: &[(Key, Descriptor)]) -> Result<()> {
        let new: Vec<_> = waiting.iter().filter(|(key, _)| !self.detections.contains_key(key)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let surroundings = Surroundings { target: variables(self.target()), ..self.inputs.surroundings.clone() };
        let env = &self.inputs.env;
        let results: Vec<_> = thread::scope(|scope| {
            let start = |(_, descriptor): &&'_ (Key, Descriptor)| {
                let surroundings = &surroundings;
                let descriptor = descriptor.clone();
                scope.spawn(move || {
                    let _span = debug_span!("bin/detect", id = %descriptor.id, version = %descriptor.version).entered();
                    detect(&descriptor, surroundings, env)
                })
            };
            let threads: Vec<_> = new.iter().map(start).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(Error::new("running bin/detect panicked")))).collect()
        });
        for ((key, _), result) in new.into_iter().zip(results) {
            self.detections.insert(key.clone(), result?);
        }
        Ok(())
    }
}

/// The composite buildpacks around the elements of this one.
///
/// # Errors
/// It is one of those around itself: an order MUST be resolvable (buildpack.md, "Order Resolution"; spec-and-reference.md A1).
fn inside(module: &Module) -> Result<Vec<GroupElement>> {
    let mut chain = module.inside.clone();
    chain.push(module.element.clone());
    let same = |e: &&GroupElement| e.id == module.element.id && e.version == module.element.version;
    if module.inside.iter().any(|e| same(&e)) {
        let names: Vec<_> = chain.iter().skip_while(|e| !same(e)).map(ToString::to_string).collect();
        return Err(Error::new(format!("the order of buildpack {} contains itself: {}", names[0], names.join(" -> "))));
    }
    Ok(chain)
}

/// Orders of buildpacks know execution environments from Buildpack API 0.12 on.
fn without_exec_env_below(composite: &Descriptor, mut groups: Vec<Vec<Item>>) -> Vec<Vec<Item>> {
    if !composite.api.has_exec_env() {
        for item in groups.iter_mut().flatten() {
            if let Item::Module(module) = item {
                module.element.exec_env.clear();
            }
        }
    }
    groups
}
