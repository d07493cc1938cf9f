//! The command `restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, warn};

use crate::bail;
use crate::cache::Cache;
use crate::data::analyzed::Analyzed;
use crate::data::group::Group;
use crate::data::layers_metadata::LayersMetadata;
use crate::data::run::RunToml;
use crate::error::{Failure, Result};
use crate::image::{Image, ImageStore, layout};
use crate::phase::restore::images::{ImageInputs, update_images};
use crate::phase::restore::{self, Inputs};

use super::build::check_apis;
use super::fail::Fail;
use super::session::Session;
use super::stores::Stores;

/// Where the extender finds manifest and config of the images that it extends.
const EXTENDER_DIR: &str = "/kaniko";

pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    session.warn_without_cache();
    let images = super::Images::of(session)?;
    let stores = Stores::open(session, &images.in_registries(flags.boolean("daemon")))
        .unless_settled("resolve keychain", Failure::Generic)?;
    let (layers, cache) = (flags.path("layers"), flags.path("cache-dir"));
    session.become_user(&[&layers, &cache, Path::new(EXTENDER_DIR)])?;

    let group = Group::read(&flags.path("group"))?;
    check_apis(&group)?;
    let metadata = match Analyzed::read(&flags.path("analyzed")) {
        Ok(analyzed) => {
            let analyzed = update(session, &stores, &group, analyzed)?;
            analyzed.write(&flags.path("analyzed")).failed_to("write analyzed metadata")?;
            analyzed.metadata
        }
        Err(error) => {
            warn!("Not using analyzed data, usable file not found: {error}");
            LayersMetadata::default()
        }
    };
    let cache = session.cache(&stores)?;
    restore(session, &group, &metadata, cache.as_deref())
}

/// Runs the phase.
pub(super) fn restore(session: &Session<'_>, group: &Group, metadata: &LayersMetadata, cache: Option<&dyn Cache>) -> Result<()> {
    let layers_dir = session.flags.path("layers");
    let inputs = Inputs {
        api: session.api,
        layers_dir: &layers_dir,
        buildpacks: &group.group,
        image: metadata,
        cache,
        skip_layers: session.skips_layers(),
    };
    restore::restore(&inputs).failed_to_with("restore", Failure::Restore)
}

fn update(session: &Session<'_>, stores: &Stores, group: &Group, analyzed: Analyzed) -> Result<Analyzed> {
    let flags = session.flags;
    let run = if session.api.rechecks_run_image() { Some(RunToml::read(&flags.path("run"))?) } else { None };
    let inputs = ImageInputs {
        api: session.api,
        build_image: flags.optional_text("build-image"),
        has_extensions: !group.extensions.is_empty(),
        run: run.as_ref(),
        accessible: &|name| stores.accessible(name),
        images: stores.images.as_ref(),
        in_layout: flags.boolean("layout"),
        pull: &|name| keep(stores.registry().as_ref(), name),
        pull_from_layout: &|name| keep(stores.images.as_ref(), name),
    };
    update_images(analyzed, &inputs)
}

/// Opens the image and keeps manifest and config for the extender, if there is one.
fn keep(store: &dyn ImageStore, name: &str) -> Result<Arc<Image>> {
    let Some(image) = store.open(name)? else { bail!("failed to get remote image") };
    let kept = PathBuf::from(EXTENDER_DIR);
    if let Some(digest) = image.digest.as_ref().filter(|_| kept.exists()) {
        let path = kept.join("cache/base").join(digest.as_str());
        debug!("Saving image metadata to {}...", path.display());
        layout::write_sparse(&path, &image)?;
    }
    Ok(image)
}
