//! The command `create`: analyze, detect, restore, build and export in one process. Every phase writes its documents and
//! passes its results on as values; nothing is read back.

use std::path::PathBuf;

use crate::data::group::GroupElement;
use crate::error::{Error, Failure, Result};
use crate::log;
use crate::phase::build::Finished;
use crate::process::user;

use super::ahead::{self, Watch};
use super::analyze::{self, Request};
use super::export::{self, Given};
use super::fail::Fail;
use super::session::Session;
use super::{build, detect, restore};

pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    let (mut request, stores) = Request::open(session)?;
    let volumes = ["cache-dir", "launch-cache", "layers"].map(|name| flags.path(name));
    let changed = user::is_root();
    session.become_user(&volumes.each_ref().map(PathBuf::as_path))?;
    request.select_run_image(&stores).failed_to_with("resolve inputs", Failure::InvalidArguments)?;
    let user = session.user();
    let invocation = session.invocation.for_user(user, changed).failed_to(&format!("set environment for user {}", user.uid))?;
    let session = &Session { invocation: &invocation, ..*session };
    let cache = session.cache(&stores)?;

    log::phase("ANALYZING");
    let (analyzed, opened) = analyze::analyze(session, &request.images, &stores)?;
    analyzed.write(&flags.path("analyzed"))?;

    log::phase("DETECTING");
    let detected = detect::detect(session, &analyzed, |_| Ok(()))?;
    if !detected.group.extensions.is_empty() {
        let refused = "failed to detect: detected order contains extensions which is not supported by the creator";
        return Err(Error::new(refused).or_failure(Failure::Detect));
    }

    if !session.skips_layers() || session.api.restores_sbom_without_layers() {
        log::phase("RESTORING");
        restore::restore(session, &detected.group, &analyzed.metadata, cache.as_deref())?;
    }

    log::phase("BUILDING");
    // Kept copies of layers take the place of directories there.
    let discards = flags.text("layer-protection") == "discard";
    let run_image = opened.run.as_ref().filter(|_| !discards);
    let ahead = ahead::start(stores.images.as_ref(), &request.images.app_names(), run_image, cache.as_deref());
    let watch = ahead.as_ref().map(|ahead| Watch {
        ahead,
        layers_dir: flags.path("layers"),
        owner: build::layer_owner(session),
        previous: &analyzed.metadata,
        cached: cache.as_deref().filter(|cache| cache.exists()).and_then(|cache| cache.metadata().ok()).unwrap_or_default(),
    });
    let finished = |buildpack: &GroupElement| watch.iter().for_each(|watch| watch.finished(buildpack));
    let metadata = build::build(session, &detected.group, &detected.plan, &analyzed, Some(Finished(&finished)))?;

    log::phase("EXPORTING");
    let given = Given {
        images: &request.images,
        group: &detected.group,
        analyzed: &analyzed,
        store: stores.images.as_ref(),
        cache: cache.as_deref(),
        build: Some(metadata),
        run_image: opened.run,
        previous: opened.previous,
        ahead,
    };
    export::export(session, given)
}
