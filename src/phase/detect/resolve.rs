//! What the detections of a group's modules amount to: the participating modules and their build plan.

use std::collections::BTreeMap;

use tracing::{debug, info};

use super::trial::{self, Candidate};
use super::walk::{Key, key};
use super::{Detected, NotDetected, without_marks};
use crate::buildpack::detect::{Detection, Verdict};
use crate::data::group::{Group, GroupElement};
use crate::data::plan::Plan;
use crate::error::Error;

/// Decides on a group whose modules have all been detected.
pub(super) fn resolve(group: &[GroupElement], detections: &BTreeMap<Key, Detection>) -> Result<Detected, NotDetected> {
    let missing = |element: &GroupElement| NotDetected::Error(Error::new(format!("missing detection of '{element}'")));
    let results = group
        .iter()
        .map(|element| detections.get(&key(element)).map(|d| (element, d)).ok_or_else(|| missing(element)))
        .collect::<Result<Vec<_>, _>>()?;
    for (element, detection) in &results {
        show_output(element, detection);
    }
    let passed = passed(&results)?;
    let (participating, entries) = trial::run(&passed).ok_or(NotDetected::NoGroup)?;
    if participating.len() != group.len() {
        info!("{} of {} buildpacks participating", participating.len(), group.len());
    }
    let width = participating.iter().map(|e| e.id.len()).max().unwrap_or_default();
    for element in &participating {
        info!("{:width$} {}", element.id, element.version);
    }
    let of = |extension: bool| participating.iter().filter(|e| e.extension == extension).map(without_marks).collect();
    Ok(Detected { group: Group { group: of(false), extensions: of(true) }, plan: Plan { entries } })
}

/// At debug level what modules say that ended as they should, else at info level.
fn show_output(element: &GroupElement, detection: &Detection) {
    let is_fine = matches!(detection.verdict, Verdict::Pass | Verdict::Fail);
    let say = |text: &str| if is_fine { debug!("{text}") } else { info!("{text}") };
    if !detection.output.is_empty() {
        say(&format!("======== Output: {element} ========"));
        say(&String::from_utf8_lossy(&detection.output));
    }
    if let Verdict::Error(Some(why)) = &detection.verdict {
        say(&format!("======== Error: {element} ========"));
        say(why);
    }
}

/// The modules that passed, if no required one failed and one of them is a buildpack.
fn passed<'a>(results: &[(&'a GroupElement, &'a Detection)]) -> Result<Vec<Candidate<'a>>, NotDetected> {
    debug!("======== Results ========");
    let mut passed = Vec::new();
    let (mut is_failed, mut is_error) = (false, false);
    for (element, detection) in results {
        match &detection.verdict {
            Verdict::Pass => {
                debug!("pass: {element}");
                passed.push(Candidate { element, plan: &detection.plan });
                continue;
            }
            Verdict::Fail if element.optional => debug!("skip: {element}"),
            Verdict::Fail => debug!("fail: {element}"),
            Verdict::Error(_) => info!("err:  {element}"),
            Verdict::Exit(code) => info!("err:  {element} ({code})"),
        }
        is_error |= !matches!(detection.verdict, Verdict::Fail);
        is_failed |= !element.optional;
    }
    if is_failed {
        return Err(if is_error { NotDetected::NoGroupWithErrors } else { NotDetected::NoGroup });
    }
    if passed.iter().all(|c| c.element.extension) {
        debug!("fail: no viable buildpacks in group");
        return Err(NotDetected::NoGroup);
    }
    Ok(passed)
}
