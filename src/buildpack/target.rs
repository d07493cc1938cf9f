//! The target of a build, as buildpacks and extensions see it (buildpack.md, "Targets").

use std::fs;

use tracing::{info, warn};

use crate::data::target::{OsDistro, TargetMetadata};

/// The target with what is missing filled in from this machine, because builds run on the distribution that they are for:
/// the distribution from /etc/os-release, which stays on the build side (spec-and-reference.md B16).
pub fn for_build(target: &TargetMetadata) -> TargetMetadata {
    let mut target = target.clone();
    if target.distro.is_some() {
        return target;
    }
    if target.os.is_empty() {
        target.os = "linux".into();
    }
    if target.arch.is_empty() {
        target.arch = ARCH.into();
    }
    info!("target distro name/version labels not found, reading /etc/os-release file");
    match fs::read_to_string("/etc/os-release") {
        Ok(text) => target.distro = Some(parse_os_release(&text)).filter(|d| *d != OsDistro::default()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => warn!("Encountered error trying to read /etc/os-release file: {e}"),
    }
    target
}

/// `CNB_TARGET_*` for bin/detect, bin/build and bin/generate.
pub fn variables(target: &TargetMetadata) -> Vec<(&'static str, String)> {
    let distro = target.distro.clone().unwrap_or_default();
    let optional = [
        ("CNB_TARGET_ARCH_VARIANT", target.arch_variant.clone().unwrap_or_default()),
        ("CNB_TARGET_DISTRO_NAME", distro.name),
        ("CNB_TARGET_DISTRO_VERSION", distro.version),
    ];
    let always = [("CNB_TARGET_OS", target.os.clone()), ("CNB_TARGET_ARCH", target.arch.clone())];
    always.into_iter().chain(optional.into_iter().filter(|(_, value)| !value.is_empty())).collect()
}

/// In Go's words, as images have it.
const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    ""
};

/// `ID` and `VERSION_ID`; quotes of both kinds and a carriage return are not part of the value (os-release(5)).
fn parse_os_release(text: &str) -> OsDistro {
    let mut distro = OsDistro::default();
    for line in text.split('\n') {
        let Some((key, value)) = line.split_once('=').filter(|(_, value)| !value.contains('=')) else { continue };
        let value = value.trim_matches(['"', '\'', ' ', '\r']);
        match key {
            "ID" => distro.name = value.into(),
            "VERSION_ID" => distro.version = value.into(),
            _ => {}
        }
        if !distro.name.is_empty() && !distro.version.is_empty() {
            break;
        }
    }
    distro
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_a_shell_file() {
        let cases = [
            ("NAME=\"Conf OS\"\nID=confos\nVERSION_ID=\"3.1\"\n", "confos", "3.1"),
            ("ID='confos'\r\nVERSION_ID='3.1'\r\n", "confos", "3.1"),
            ("ID=a\nID=b\nVERSION_ID=1\nID=c\n", "b", "1"),
            ("ID_LIKE=debian\nX=y=z\n", "", ""),
        ];
        for (text, name, version) in cases {
            assert_eq!(parse_os_release(text), OsDistro { name: name.into(), version: version.into() }, "{text}");
        }
    }

    #[test]
    fn only_known_parts_become_variables() {
        let target = TargetMetadata { os: "linux".into(), arch: "arm64".into(), ..TargetMetadata::default() };
        assert_eq!(variables(&target), [("CNB_TARGET_OS", "linux".into()), ("CNB_TARGET_ARCH", "arm64".into())]);
    }
}
