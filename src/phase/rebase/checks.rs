//! Whether an app image and a new run image fit (platform.md, "Rebaser").

use tracing::warn;

use super::FORCE_HINT;
use crate::bail;
use crate::data::target::TargetMetadata;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::phase::labels;
use crate::phase::run_image::target_of;

const REBASABLE: &str = "io.buildpacks.rebasable";
const STACK_ID: &str = "io.buildpacks.stack.id";
const MIXINS: &str = "io.buildpacks.stack.mixins";

/// Images of Platform API 0.12 and later: the image must be marked as rebasable, the target must match. `force` turns
/// findings into warnings.
pub fn target(app: &Image, run_image: &Image, force: bool) -> Result<()> {
    let found = |finding: String| {
        if force {
            warn!("{finding}");
            return Ok(());
        }
        Err(Error::new(format!("{finding}; {FORCE_HINT}")))
    };
    // Nothing or an odd word means that the image may be rebased (spec-and-reference.md B10).
    if app.config.label(REBASABLE) == Some("false") {
        found("app image is not marked as rebasable".into())?;
    }
    let (old, new) = (target_of(Some(&app.config)), target_of(Some(&run_image.config)));
    if !satisfied(&new, &old) {
        let (new, old) = (new.to_json()?, old.to_json()?);
        found(format!("unable to satisfy target os/arch constraints; new run image: {new}, old run image: {old}"))?;
    }
    Ok(())
}

/// System and architecture must be equal; what the new run image does not say otherwise matches anything
/// (spec-and-reference.md B27).
fn satisfied(new: &TargetMetadata, old: &TargetMetadata) -> bool {
    let matches = |a: Option<&str>, b: Option<&str>| {
        let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
        a.is_empty() || b.is_empty() || a == b
    };
    if new.os != old.os || new.arch != old.arch || !matches(new.arch_variant.as_deref(), old.arch_variant.as_deref()) {
        return false;
    }
    match (&new.distro, &old.distro) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(new), Some(old)) => {
            (new.name.is_empty() || new.name == old.name) && (new.version.is_empty() || new.version == old.version)
        }
    }
}

/// Images of older Platform APIs: the stack must be the same and the new run image must have the mixins of the app image.
/// Nothing turns this off.
pub fn stack(app: &Image, run_image: &Image) -> Result<()> {
    let id = |image: &Image| image.config.label(STACK_ID).unwrap_or_default().to_owned();
    let (old, new) = (id(app), id(run_image));
    if old.is_empty() {
        bail!("stack not defined on app image");
    }
    if new.is_empty() {
        bail!("stack not defined on new base image");
    }
    if old != new {
        bail!("incompatible stack: '{new}' is not compatible with '{old}'");
    }
    let present = mixins(run_image).context("get run image mixins")?;
    let mut missing = mixins(app).context("get app image mixins")?;
    missing.retain(|mixin| !present.contains(mixin));
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        bail!("missing required mixin(s): {}", missing.join(", "));
    }
    Ok(())
}

/// The image's mixins without `build:` and `run:`.
fn mixins(image: &Image) -> Result<Vec<String>> {
    let Some(label) = image.config.label(MIXINS).filter(|label| !label.is_empty()) else { return Ok(Vec::new()) };
    let list: Option<Vec<String>> =
        serde_json::from_str(label).map_err(|e| Error::new(e.to_string())).with_context(|| labels::cannot_read(MIXINS))?;
    let without_stage = |mixin: String| mixin.split_once(':').map_or(mixin.clone(), |(_, name)| name.to_owned());
    Ok(list.unwrap_or_default().into_iter().map(without_stage).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::target::OsDistro;

    fn linux(variant: &str, distro: Option<(&str, &str)>) -> TargetMetadata {
        TargetMetadata {
            os: "linux".into(),
            arch: "amd64".into(),
            arch_variant: (!variant.is_empty()).then(|| variant.into()),
            distro: distro.map(|(name, version)| OsDistro { name: name.into(), version: version.into() }),
            ..TargetMetadata::default()
        }
    }

    #[test]
    fn what_the_new_run_image_leaves_open_matches_anything() {
        let old = linux("v2", Some(("os", "1")));
        for (new, want) in [
            (linux("v2", Some(("os", "1"))), true),
            (linux("", None), true),
            (linux("v3", None), false),
            (linux("v2", Some(("os", "2"))), false),
            (linux("v2", Some(("other", "1"))), false),
            (linux("v2", Some(("os", ""))), true),
            (TargetMetadata { arch: "arm64".into(), ..old.clone() }, false),
            (TargetMetadata { os: "windows".into(), ..old.clone() }, false),
        ] {
            assert_eq!(satisfied(&new, &old), want, "{new:?}");
        }
        assert!(!satisfied(&old, &linux("v2", None)), "a distribution that the app's run image did not have");
    }
}
