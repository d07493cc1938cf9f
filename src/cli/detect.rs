//! The command `detect`: detection, then generation where extensions passed.

use crate::buildpack::program::Surroundings;
use crate::buildpack::store::Store;
use crate::data::analyzed::Analyzed;
use crate::data::run::RunToml;
use crate::env::Env;
use crate::error::{Error, Failure, Result};
use crate::phase::detect::{self, Detected, Detector};
use crate::phase::generate;

use super::fail::Fail;
use super::session::{self, Session};

pub fn run(session: &Session<'_>) -> Result<()> {
    session.refuse_root()?;
    let analyzed = Analyzed::read(&session.flags.path("analyzed")).failed_to("initialize detector")?;
    let detected = detect(session, &analyzed, |detector| {
        if detector.has_extensions && !session.api.has_extension_contexts() {
            session.guard_experimental(session::DOCKERFILES)?;
        }
        Ok(())
    })?;
    if detected.group.extensions.is_empty() { Ok(()) } else { generate(session, &analyzed, &detected) }
}

/// Finds the group and writes group.toml and plan.toml. `check` sees the detector before anything runs.
pub(super) fn detect(
    session: &Session<'_>,
    analyzed: &Analyzed,
    check: impl FnOnce(&Detector) -> Result<()>,
) -> Result<Detected> {
    let flags = session.flags;
    let inputs = detect::Inputs {
        api: session.api,
        store: store(session),
        order_path: flags.path("order"),
        system_path: flags.path("system"),
        surroundings: surroundings(session),
        env: Env::for_build(&session.invocation.env),
    };
    let detector = Detector::new(inputs, analyzed).unless_settled("initialize detector", Failure::Generic)?;
    check(&detector)?;
    let detected = detector.detect().map_err(|e: Error| e.context("failed to detect"))?;
    detected.group.write(&flags.path("group"))?;
    detected.plan.write(&flags.path("plan"))?;
    Ok(detected)
}

fn generate(session: &Session<'_>, analyzed: &Analyzed, detected: &Detected) -> Result<()> {
    let flags = session.flags;
    let run = RunToml::read(&flags.path("run")).failed_to("initialize generator")?;
    let inputs = generate::Inputs {
        api: session.api,
        store: &store(session),
        surroundings: &surroundings(session),
        env: &Env::for_build(&session.invocation.env),
        generated_dir: flags.path("generated"),
        extensions: &detected.group.extensions,
        run: &run,
    };
    let (analyzed, plan) = generate::generate(&inputs, analyzed, &detected.plan).failed_to("build")?;
    analyzed.write(&flags.path("analyzed"))?;
    plan.write(&flags.path("plan"))
}

fn store(session: &Session<'_>) -> Store {
    Store { buildpacks: session.flags.path("buildpacks"), extensions: session.flags.path("extensions") }
}

fn surroundings(session: &Session<'_>) -> Surroundings {
    let flags = session.flags;
    Surroundings {
        app: flags.path("app"),
        platform: flags.path("platform"),
        build_config: flags.path("build-config"),
        target: Vec::new(),
        exec_env: flags.text("exec-env").to_owned(),
    }
}
