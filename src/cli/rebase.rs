//! The command `rebase`.

use std::sync::Arc;

use crate::bail;
use crate::data::layers_metadata::LayersMetadata;
use crate::data::run::RunImageForExport;
use crate::error::{Context, Failure, Result};
use crate::image::{Image, ImageReference, ImageStore};
use crate::phase::labels::{self, LIFECYCLE_METADATA};
use crate::phase::rebase::{self, Inputs};
use crate::phase::run_image;

use super::export::missing;
use super::fail::Fail;
use super::inputs::Images;
use super::session::{self, Session};
use super::stores::Stores;

pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    let mut images = inputs(session).failed_to_with("resolve inputs", Failure::InvalidArguments)?;
    if flags.boolean("layout") {
        session.guard_experimental(session::LAYOUT)?;
    }
    let stores = Stores::open(session, &images.in_registries(flags.boolean("daemon")))
        .unless_settled("resolve keychain", Failure::Generic)?;
    let store = stores.images.as_ref();
    let app = open_app(&images, store).failed_to_with("set app image", Failure::Rebase)?;
    if images.run.is_empty() {
        images.run = select_run_image(session, &app, &images, &stores).failed_to_with("set app image", Failure::Rebase)?;
    }
    session.become_user(&[])?;

    let run_image = store.open(&images.run).failed_to("access run image")?;
    let run_image = run_image.ok_or_else(|| missing("run image", &images.run, store)).failed_to("access run image")?;
    let names: Vec<String> = std::iter::once(&images.output).chain(&images.tags).cloned().collect();
    let inputs = Inputs {
        api: session.api,
        force: flags.boolean("force"),
        app: &app,
        run_image: &run_image,
        run_image_name: &images.run,
        names: &names,
        report_run_image: flags.boolean("report-run-image"),
    };
    let report = rebase::rebase(&inputs, store).failed_to_with("rebase", Failure::Rebase)?;
    report.write(&flags.path("report")).failed_to_with("write rebase report", Failure::Rebase)
}

fn inputs(session: &Session<'_>) -> Result<Images> {
    let mut images = Images::of(session)?;
    images.merge_deprecated_run(session)?;
    images.check(session.flags.boolean("daemon"))?;
    Ok(images)
}

/// The image to rebase: the previous image, unless none is given the output image itself.
fn open_app(images: &Images, store: &dyn ImageStore) -> Result<Arc<Image>> {
    let name = if images.previous.is_empty() { &images.output } else { &images.previous };
    let image = store.open(name).failed_to("access image to rebase")?;
    image.ok_or_else(|| missing("image", name, store)).failed_to("access image to rebase")
}

/// The run image that the app image names, or its mirror that is nearest to the output.
fn select_run_image(session: &Session<'_>, app: &Image, images: &Images, stores: &Stores) -> Result<String> {
    let metadata = match app.config.label(LIFECYCLE_METADATA).filter(|label| !label.is_empty()) {
        Some(label) => LayersMetadata::from_json(label).with_context(|| labels::cannot_read(LIFECYCLE_METADATA))?,
        None => LayersMetadata::default(),
    };
    let stack = metadata.stack.map(|stack| stack.run_image);
    let known = |run_image: &RunImageForExport| !run_image.image.is_empty();
    let run_image = match (metadata.run_image.export, stack) {
        (own, _) if session.api.has_run_toml() && known(&own) => own,
        (_, Some(stack)) if known(&stack) => stack,
        _ => bail!("failed to parse arguments: -run-image is required when there is no run image metadata available"),
    };
    let registry = ImageReference::parse(&images.output)?.registry;
    run_image::select(&registry, &run_image, &|name| stores.accessible(name))
}
