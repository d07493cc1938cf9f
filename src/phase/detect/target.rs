//! Whether a module is for the run image (buildpack.md, "Targets").

use crate::data::target::{BuildpackTarget, OsDistro, TargetMetadata};

/// What one of the two does not say matches; but a module that names distributions needs one that is known.
pub(super) fn satisfies(base: &TargetMetadata, module: &BuildpackTarget) -> bool {
    let variant = base.arch_variant.as_deref().unwrap_or_default();
    let is_distro =
        |base: &OsDistro, module: &OsDistro| matches(&base.name, &module.name) && matches(&base.version, &module.version);
    matches(&base.os, &module.os)
        && matches(&base.arch, &module.arch)
        && matches(variant, &module.variant)
        && (module.distros.is_empty()
            || base.distro.as_ref().is_some_and(|base| module.distros.iter().any(|module| is_distro(base, module))))
}

fn matches(base: &str, module: &str) -> bool {
    base.is_empty() || module.is_empty() || base == module
}

/// As the reference shows it in log lines.
pub(super) fn describe(target: &BuildpackTarget) -> String {
    let distros: Vec<_> = target.distros.iter().map(|d| format!("{{{} {}}}", d.name, d.version)).collect();
    format!("{{{} {} {} [{}]}}", target.os, target.arch, target.variant, distros.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_matches() {
        let target = |os: &str, arch: &str, variant: &str, distros: &[(&str, &str)]| BuildpackTarget {
            os: os.into(),
            arch: arch.into(),
            variant: variant.into(),
            distros: distros.iter().map(|(n, v)| OsDistro { name: (*n).into(), version: (*v).into() }).collect(),
        };
        let base = TargetMetadata {
            os: "linux".into(),
            arch: "arm".into(),
            arch_variant: Some("v7".into()),
            distro: Some(OsDistro { name: "confos".into(), version: "1".into() }),
            ..TargetMetadata::default()
        };
        for good in [
            target("", "", "", &[]),
            target("linux", "arm", "v7", &[("confos", "1")]),
            target("linux", "arm", "", &[("other", "1"), ("confos", "")]),
        ] {
            assert!(satisfies(&base, &good), "{good:?}");
        }
        for bad in [
            target("windows", "", "", &[]),
            target("", "arm64", "", &[]),
            target("", "", "v8", &[]),
            target("", "", "", &[("confos", "2"), ("other", "1")]),
        ] {
            assert!(!satisfies(&base, &bad), "{bad:?}");
        }
        let unknown = TargetMetadata::default();
        assert!(satisfies(&unknown, &target("linux", "arm", "v7", &[])));
        assert!(!satisfies(&unknown, &target("", "", "", &[("confos", "1")])));
        assert_eq!(describe(&target("linux", "arm", "", &[("confos", "1")])), "{linux arm  [{confos 1}]}");
    }
}
