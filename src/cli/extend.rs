//! The command `extend`.

use std::path::Path;

use crate::bail;
use crate::data::analyzed::Analyzed;
use crate::data::group::Group;
use crate::error::{Context, Failure, Result};
use crate::phase::extend::{self, ImageKind, Inputs};
use crate::process::user;
use crate::registry;

use super::fail::Fail;
use super::{Session, build};

/// What platforms mount for the extender.
const KANIKO: &str = "/kaniko";

/// Extends the build image and builds on it, or extends the run image.
pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    // Below Platform API 0.12 there is no flag and no other kind.
    let Some(kind) = ImageKind::parse(if session.api.has_run_image_extension() { flags.text("kind") } else { "build" }) else {
        bail!("failed to parse arguments: unknown kind of image");
    };
    let analyzed = Analyzed::read(&flags.path("analyzed")).failed_to("initialize extender")?;
    let group = Group::read(&flags.path("group")).context("reading group").failed_to("initialize extender")?;
    let image = match kind {
        ImageKind::Build => analyzed.build_image,
        ImageKind::Run => analyzed.run_image.map(|image| image.reference),
    };
    let inputs = Inputs {
        api: session.api,
        kind,
        image: &image.unwrap_or_default(),
        extensions: &group.extensions,
        app_dir: &flags.path("app"),
        layers_dir: &flags.path("layers"),
        platform_dir: &flags.path("platform"),
        generated_dir: &flags.path("generated"),
        extended_dir: &flags.path("extended"),
        kaniko_dir: Path::new(KANIKO),
        cache_ttl: flags.duration("kaniko-cache-ttl"),
        program: &session.invocation.exe,
        download: &|url, to| registry::download(session.invocation, url, to),
    };
    match kind {
        ImageKind::Run => extend::extend_run(&inputs).failed_to_with("extend run image", Failure::Extend),
        ImageKind::Build => {
            let env = extend::extend_build(&inputs).failed_to_with("extend build image", Failure::Extend)?;
            build_as_user(session, &env)
        }
    }
}

/// The build sees the files and the environment of the extended image.
fn build_as_user(session: &Session<'_>, env: &[String]) -> Result<()> {
    let user = session.user();
    // The container was started as root; its build must not run with root's groups.
    user::leave_groups(user).failed_to("leave the groups of root")?;
    session.become_user(&[&session.flags.path("layers")])?;
    let mut invocation = session.invocation.clone();
    for line in env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        invocation.env.insert(name.into(), value.into());
    }
    let invocation = invocation.for_user(user, true).failed_to(&format!("set environment for user {}", user.uid))?;
    build::run(&Session { invocation: &invocation, ..*session })
}
