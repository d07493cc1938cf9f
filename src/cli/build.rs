//! The command `build`.

use crate::api::BuildpackApi;
use crate::buildpack::program::Surroundings;
use crate::buildpack::store::Store;
use crate::buildpack::target;
use crate::data::analyzed::Analyzed;
use crate::data::build_metadata::BuildMetadata;
use crate::data::group::Group;
use crate::data::plan::Plan;
use crate::error::{Failure, Result};
use crate::layers::load_order::honours_proposals;
use crate::phase::build::{self, Finished, Inputs, LayerOwner, Policy};

use super::applet::Command;
use super::{Fail, Session};

pub fn run(session: &Session<'_>) -> Result<()> {
    session.refuse_root()?;
    let flags = session.flags;
    let group = Group::read(&flags.path("group"))?;
    let plan = Plan::read(&flags.path("plan"))?;
    check_apis(&group)?;
    let analyzed = Analyzed::read(&flags.path("analyzed")).failed_to("reading analyzed.toml")?;
    build(session, &group, &plan, &analyzed, None).map(drop)
}

/// The Buildpack APIs of a group read from a file.
pub(super) fn check_apis(group: &Group) -> Result<()> {
    group.group.iter().try_for_each(|b| BuildpackApi::requested("Buildpack", &b.to_string(), &b.api).map(drop))
}

/// Builds and writes `<layers>/config/metadata.toml`.
pub(super) fn build(
    session: &Session<'_>,
    group: &Group,
    plan: &Plan,
    analyzed: &Analyzed,
    finished: Option<Finished<'_>>,
) -> Result<BuildMetadata> {
    let flags = session.flags;
    let store = Store { buildpacks: flags.path("buildpacks"), ..Store::default() };
    let layers_dir = flags.path("layers");
    let surroundings = Surroundings {
        app: flags.path("app"),
        platform: flags.path("platform"),
        build_config: flags.path("build-config"),
        target: target::variables(&target::for_build(&analyzed.run_image_target())),
        exec_env: flags.text("exec-env").into(),
    };
    let protection = Policy::parse(flags.text("layer-protection"), flags.text("layer-protection-allow"))
        .map_err(|e| e.or_failure(Failure::InvalidArguments))?;
    let inputs = Inputs {
        api: session.api,
        layers_dir: &layers_dir,
        surroundings: &surroundings,
        env: &session.invocation.env,
        store: &store,
        group,
        plan,
        protection: &protection,
        layer_owner: layer_owner(session),
        honours_proposals: honours_proposals(session.invocation.var("CNB_EXPERIMENTAL_MODE")),
        finished,
    };
    let metadata = build::build(&inputs).failed_to_with("build", Failure::Build)?;
    metadata.write(&layers_dir.join("config/metadata.toml"), session.api)?;
    Ok(metadata)
}

/// Whom the exporter makes layers for. The creator knows; a builder has no flag for it, so it is what the variables say,
/// else the user that the builder runs as.
pub(super) fn layer_owner(session: &Session<'_>) -> LayerOwner {
    let id = |flag: &str, variable: &str, own: u32| {
        let given = match session.command {
            Command::Create => u64::try_from(session.flags.integer(flag)).ok(),
            _ => session.invocation.non_empty_var(variable).and_then(|text| text.parse().ok()),
        };
        given.unwrap_or(own.into())
    };
    LayerOwner {
        uid: id("uid", "CNB_USER_ID", nix::unistd::getuid().as_raw()),
        gid: id("gid", "CNB_GROUP_ID", nix::unistd::getgid().as_raw()),
    }
}
