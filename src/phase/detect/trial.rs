//! The build plan: which alternatives of the modules' plans fit together (buildpack.md, "Build Plan").

use std::collections::BTreeMap;

use tracing::debug;

use super::without_marks;
use crate::data::build_plan::{BuildPlan, PlanSections, Require};
use crate::data::group::GroupElement;
use crate::data::plan::PlanEntry;

/// A module that passed, and what it wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub element: &'a GroupElement,
    pub plan: &'a BuildPlan,
}

/// A module with one of its alternatives.
#[derive(Clone, Debug)]
struct Choice<'a> {
    /// Optional only with its last alternative: before it is left out, all of them are tried.
    element: GroupElement,
    sections: &'a PlanSections,
}

/// The modules that participate and the plan they agree on, by the first combination of alternatives that works.
pub(super) fn run(candidates: &[Candidate<'_>]) -> Option<(Vec<GroupElement>, Vec<PlanEntry>)> {
    let mut tries = 0;
    combine(candidates, &mut Vec::new(), &mut tries)
}

type Agreed = (Vec<GroupElement>, Vec<PlanEntry>);

fn combine<'a>(candidates: &[Candidate<'a>], chosen: &mut Vec<Choice<'a>>, tries: &mut usize) -> Option<Agreed> {
    let Some((first, rest)) = candidates.split_first() else {
        *tries += 1;
        return attempt(*tries, chosen.clone());
    };
    let last = first.plan.or.len();
    let alternatives = std::iter::once(&first.plan.sections).chain(&first.plan.or);
    for (i, sections) in alternatives.enumerate() {
        let element = GroupElement { optional: first.element.optional && i == last, ..first.element.clone() };
        chosen.push(Choice { element, sections });
        let agreed = combine(rest, chosen, tries);
        chosen.pop();
        if agreed.is_some() {
            return agreed;
        }
    }
    None
}

/// Leaves out optional modules until all that is required is provided before, and all that is provided is required.
fn attempt(number: usize, mut choices: Vec<Choice<'_>>) -> Option<Agreed> {
    debug!("Resolving plan... (try #{number})");
    loop {
        let dependencies = Dependencies::of(&choices);
        let unmet: Vec<_> = dependencies.unmet().collect();
        if unmet.is_empty() {
            break if choices.is_empty() {
                debug!("fail: no viable buildpacks in group");
                None
            } else {
                Some((choices.into_iter().map(|c| c.element).collect(), dependencies.into_entries()))
            };
        }
        for (element, what, name) in unmet {
            if !element.optional {
                debug!("fail: {element} {what} {name}");
                return None;
            }
            debug!("skip: {element} {what} {name}");
            choices.retain(|c| c.element != element);
        }
    }
}

/// By name, in the order of the names.
#[derive(Debug, Default)]
struct Dependencies(BTreeMap<String, Dependency>);

#[derive(Debug, Default)]
struct Dependency {
    entry: PlanEntry,
    /// Require it before anyone provides it.
    early: Vec<GroupElement>,
    /// Provide it without anyone after them that requires it.
    unused: Vec<GroupElement>,
}

impl Dependencies {
    fn of(choices: &[Choice<'_>]) -> Self {
        let mut all = Self::default();
        for Choice { element, sections } in choices {
            for name in &sections.provides {
                all.0.entry(name.clone()).or_default().unused.push(element.clone());
            }
            for require in &sections.requires {
                all.0.entry(require.name.clone()).or_default().require(element, require);
            }
        }
        all
    }

    /// Requirements first: (module, what is wrong, name).
    fn unmet(&self) -> impl Iterator<Item = (GroupElement, &'static str, &str)> {
        let requires = self.0.iter().flat_map(|(name, d)| d.early.iter().map(move |e| (e.clone(), "requires", name.as_str())));
        let provides =
            self.0.iter().flat_map(|(name, d)| d.unused.iter().map(move |e| (e.clone(), "provides unused", name.as_str())));
        requires.chain(provides)
    }

    fn into_entries(self) -> Vec<PlanEntry> {
        self.0.into_values().map(|d| d.entry).collect()
    }
}

impl Dependency {
    fn require(&mut self, element: &GroupElement, require: &Require) {
        let new = self.unused.drain(..).map(|e| GroupElement {
            extension: e.extension,
            api: String::new(),
            homepage: String::new(),
            ..without_marks(&e)
        });
        self.entry.providers.extend(new);
        if self.entry.providers.is_empty() {
            self.early.push(element.clone());
        } else {
            self.entry.requires.push(require.clone());
        }
    }
}
