//! The command `create`: analyze, detect, restore, build and export in one process. Every phase writes its documents and
//! passes its results on as values; nothing is read back.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::data::group::GroupElement;
use crate::error::{Error, Failure, Result};
use crate::layers::ahead::hash_ahead;
use crate::layers::dir::BuildpackDir;
use crate::log;
use crate::phase::build::Finished;
use crate::process::user;

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
    let fingerprints = cache.as_deref().and_then(Cache::fingerprints);
    let owner = build::layer_owner(session);
    let layers_dir = flags.path("layers");
    let metadata = hash_ahead(fingerprints.as_deref(), |hash| {
        let finished = |buildpack: &GroupElement| {
            let Some(previous) = analyzed.metadata.buildpack(&buildpack.id) else { return };
            let Ok(dir) = BuildpackDir::read(&layers_dir, buildpack) else { return };
            // Only those that the previous image may have are hashed at all; new ones are read once, to be compressed.
            let layers = dir.layers.iter().filter(|l| previous.layers.contains_key(&l.name) && l.has_data);
            layers.filter(|l| l.metadata.as_ref().is_ok_and(|m| m.launch)).for_each(|l| hash(l.source(owner.uid, owner.gid)));
        };
        build::build(session, &detected.group, &detected.plan, &analyzed, Some(Finished(&finished)))
    })?;

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
    };
    export::export(session, given)
}
