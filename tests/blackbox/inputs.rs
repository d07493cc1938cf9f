//! What a command does before its phase begins: Platform API, argument counts, program names.

use crate::support::{Sandbox, binaries};
use std::process::Command;

/// platform.md, "Platform API Compatibility": the lifecycle MUST fail if it does not support CNB_PLATFORM_API.
#[test]
fn an_unknown_platform_api_is_refused_before_anything_else() {
    let sandbox = Sandbox::new();
    for phase in ["analyzer", "detector", "restorer", "builder", "exporter", "creator", "rebaser", "extender", "launcher"] {
        sandbox.phase(phase).api("0.6").run().code(11).quiet();
        sandbox.phase(phase).api("99.0").run().code(11).quiet();
    }
}

#[test]
fn an_absent_platform_api_is_named() {
    Sandbox::new().phase("analyzer").api(" ").run().code(11).says("please set 'CNB_PLATFORM_API'");
}

#[test]
fn the_version_needs_nothing() {
    let output = Command::new(binaries().join("lifecycle")).arg("-version").env_clear().output().expect("run");
    assert!(output.status.success(), "{output:?}");
    let version = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(version.trim().split('+').next().expect("a version").split('.').count(), 3, "{version}");
}
