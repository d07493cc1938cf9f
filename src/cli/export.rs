//! The command `export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::bail;
use crate::cache::Cache;
use crate::data::analyzed::Analyzed;
use crate::data::build_metadata::{BuildMetadata, LauncherMetadata};
use crate::data::group::Group;
use crate::data::layers_metadata::LayersMetadata;
use crate::data::project::ProjectMetadata;
use crate::data::run::{RunImageForExport, RunToml, StackToml};
use crate::error::{Context, Error, Failure, Result};
use crate::image::time::rfc3339;
use crate::image::{DiffId, Image, ImageReference, ImageStore};
use crate::layers::kept;
use crate::phase::export::{self, Ahead, ExtendedRunImage, Inputs};
use crate::phase::run_image;

use super::build::check_apis;
use super::fail::Fail;
use super::inputs::Images;
use super::session::{self, Session};
use super::stores::Stores;

pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    let (images, analyzed) = inputs(session).failed_to_with("resolve inputs", Failure::InvalidArguments)?;
    if flags.boolean("layout") {
        session.guard_experimental(session::LAYOUT)?;
    }
    let mut names = images.in_registries(flags.boolean("daemon"));
    names.extend(analyzed.previous_image.as_deref().filter(|name| !name.is_empty()));
    let stores = Stores::open(session, &names).unless_settled("resolve keychain", Failure::Generic)?;
    let volumes = ["cache-dir", "launch-cache"].map(|name| flags.path(name));
    session.become_user(&volumes.each_ref().map(PathBuf::as_path))?;

    let group = Group::read(&flags.path("group"))?;
    check_apis(&group)?;
    let cache = session.cache(&stores)?;
    if !session.api.has_extension_contexts() && is_filled(&flags.path("extended").join("run")) {
        session.guard_experimental(session::DOCKERFILES)?;
    }
    let given = Given {
        images: &images,
        group: &group,
        analyzed: &analyzed,
        store: stores.images.as_ref(),
        cache: cache.as_deref(),
        build: None,
        run_image: None,
        previous: None,
        ahead: None,
    };
    export(session, given)
}

fn inputs(session: &Session<'_>) -> Result<(Images, Analyzed)> {
    let mut images = Images::of(session)?;
    images.refuse_run(session)?;
    let analyzed = Analyzed::read(&session.flags.path("analyzed"))?;
    images.run.clear();
    let run_image = match &analyzed.run_image {
        Some(run_image) if !run_image.reference.is_empty() => run_image.reference.clone(),
        _ => bail!("run image not found in analyzed metadata"),
    };
    session.warn_without_cache();
    session.warn_launch_cache();
    images.check(session.flags.boolean("daemon"))?;
    // In a layout directory it is a path.
    if !session.flags.boolean("layout") {
        ImageReference::parse(&run_image)?;
    }
    images.run = run_image;
    Ok((images, analyzed))
}

fn is_filled(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// What the exporter reads and the creator knows.
pub struct Given<'a> {
    pub images: &'a Images,
    pub group: &'a Group,
    pub analyzed: &'a Analyzed,
    pub store: &'a dyn ImageStore,
    pub cache: Option<&'a dyn Cache>,
    /// Unless the builder passed it on, metadata.toml is read.
    pub build: Option<BuildMetadata>,
    /// Unless they are open already, the images of `analyzed` are opened.
    pub run_image: Option<Arc<Image>>,
    pub previous: Option<Arc<Image>>,
    /// What was made of the image while buildpacks ran.
    pub ahead: Option<Ahead>,
}

/// Exports the image, writes the report, then the cache.
pub fn export(session: &Session<'_>, given: Given<'_>) -> Result<()> {
    let (flags, api) = (session.flags, session.api);
    let project = ProjectMetadata::read(&flags.path("project-metadata"))?;
    let extended = extended(session, given.analyzed)?;
    let run_image = match given.run_image {
        Some(image) => image,
        None => open_run_image(session, &given.images.run, given.store)?,
    };
    let previous = previous(given.analyzed, given.previous, given.store)?;
    if flags.boolean("layout") {
        let name = flags.path("layout-dir").join(ImageReference::parse(&given.images.output)?.layout_path());
        info!("Using app image: {}", name.display());
    }
    let layers_dir = flags.path("layers");
    let build = match given.build {
        Some(build) => Ok(build),
        None => BuildMetadata::read(&layers_dir.join("config/metadata.toml"), api).context("read build metadata"),
    };
    let mut build = build.failed_to_with("export", Failure::Export)?;
    build.launcher = launcher_metadata();
    let run_image_names = run_image_names(session, given.analyzed, &build)?;
    let created = created(session);
    let names = given.images.app_names();
    let (app_dir, launcher, launcher_sbom) = (flags.path("app"), flags.path("launcher"), flags.optional_path("launcher-sbom"));
    let owner = |name| u64::try_from(flags.integer(name)).unwrap_or_default();
    let inputs = Inputs {
        api,
        layers_dir: &layers_dir,
        app_dir: &app_dir,
        group: given.group,
        build: &build,
        project: &project,
        uid: owner("uid"),
        gid: owner("gid"),
        launcher: &launcher,
        launcher_sbom: launcher_sbom.as_deref(),
        process_type: flags.optional_text("process-type"),
        exec_env: flags.text("exec-env"),
        created: created.as_deref(),
        names: &names,
        run_image: &run_image,
        run_image_names: &run_image_names,
        extended: extended.as_ref(),
        use_extended_config: extended.is_some() && uses_extended_config(session, given.analyzed),
        previous: previous.as_ref(),
        previous_metadata: &given.analyzed.metadata,
        parallel: flags.boolean("parallel"),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        discards_changes: flags.text("layer-protection") == "discard",
        report_run_image: flags.boolean("report-run-image"),
    };
    let exported = export::export(&inputs, given.store, given.cache, given.ahead).failed_to_with("export", Failure::Export)?;
    exported.report.write(&flags.path("report")).failed_to_with("write export report", Failure::Export)?;
    exported.write_cache();
    if inputs.discards_changes {
        kept::clear(&layers_dir)?;
    }
    Ok(())
}

fn open_run_image(session: &Session<'_>, name: &str, store: &dyn ImageStore) -> Result<Arc<Image>> {
    let image = store.open(name).failed_to("create new app image")?;
    let image = image.ok_or_else(|| missing("run image", name, store));
    // Of a daemon it is a failure of the phase, as recorded.
    let of_daemon = session.flags.boolean("daemon") && !session.flags.boolean("layout");
    if of_daemon { image.failed_to_with("export", Failure::Export) } else { image.failed_to("create new app image") }
}

/// Says which image there is not, and what its store said of it.
pub(super) fn missing(what: &str, name: &str, store: &dyn ImageStore) -> Error {
    let why = store.why_absent(name).unwrap_or_else(|| "it does not exist".into());
    Error::new(format!("{what} '{}' cannot be had: {why}", store.display_name(name)))
}

/// The image whose layers are reused. One that has gone since it was analyzed is none.
fn previous(analyzed: &Analyzed, open: Option<Arc<Image>>, store: &dyn ImageStore) -> Result<Option<Arc<Image>>> {
    // The analyzer may have seen an image and found it of no use.
    let Some(name) = analyzed.previous_image.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let image = match open {
        Some(image) => Some(image),
        None => store.open(name).failed_to("create new app image")?,
    };
    let image = image.or_else(|| store.remnants(name, &diff_ids(&analyzed.metadata)));
    match &image {
        Some(image) if image.manifest.is_none() => debug!("Reusing layers from image with id '{name}'"),
        Some(_) => info!("Reusing layers from image '{}'", store.display_name(name)),
        None => warn!("previous image '{name}' is not there any more, no layers are reused"),
    }
    Ok(image)
}

/// All layers that the previous image's label names.
fn diff_ids(metadata: &LayersMetadata) -> Vec<DiffId> {
    let single = [&metadata.config, &metadata.launcher, &metadata.process_types].into_iter();
    let single = single.chain(&metadata.app).chain(&metadata.sbom).map(|layer| layer.sha.as_str());
    let buildpacks = metadata.buildpacks.iter().flat_map(|b| b.layers.values()).map(|layer| layer.sha.as_str());
    single.chain(buildpacks).filter_map(DiffId::parse).collect()
}

/// The run image as extensions left it.
fn extended(session: &Session<'_>, analyzed: &Analyzed) -> Result<Option<ExtendedRunImage>> {
    let Some(dir) = session.flags.optional_path("extended").filter(|_| session.api.has_run_image_extension()) else {
        return Ok(None);
    };
    let extended = ExtendedRunImage::read(&dir);
    // Platforms that export to layout directories have not extended run images so far: the reference cannot.
    if !uses_extended_config(session, analyzed) || session.flags.boolean("layout") && matches!(extended, Ok(None)) {
        return extended.failed_to_with("export", Failure::Export);
    }
    let extended = extended.and_then(|image| image.ok_or_else(|| Error::new("missing extended run image")));
    debug!("Using config from extensions...");
    extended.map(Some).failed_to("get extended image config")
}

fn uses_extended_config(session: &Session<'_>, analyzed: &Analyzed) -> bool {
    let extend = analyzed.run_image.as_ref().is_some_and(|run_image| run_image.extend);
    extend && session.api.has_run_image_extension()
}

/// How the platform names the run image, for the label.
fn run_image_names(session: &Session<'_>, analyzed: &Analyzed, build: &BuildMetadata) -> Result<RunImageForExport> {
    if !session.api.has_run_toml() {
        return Ok(StackToml::read(&session.flags.path("stack"))?.run_image);
    }
    let run = RunToml::read(&session.flags.path("run"))?;
    let image = analyzed.run_image.as_ref().map_or("", |run_image| &run_image.image);
    Ok(run_image::for_export(&run, image, !build.extensions.is_empty()))
}

fn launcher_metadata() -> LauncherMetadata {
    LauncherMetadata {
        version: super::VERSION.into(),
        repository: env!("CARGO_PKG_REPOSITORY").into(),
        commit: super::COMMIT.into(),
    }
}

/// `SOURCE_DATE_EPOCH` (platform.md, "Build Reproducibility"), if it is a time.
fn created(session: &Session<'_>) -> Option<String> {
    let text = session.invocation.non_empty_var("SOURCE_DATE_EPOCH").filter(|_| session.api.has_source_date_epoch())?;
    let created = text.parse().ok().and_then(rfc3339);
    if created.is_none() {
        warn!("Ignoring invalid SOURCE_DATE_EPOCH");
    }
    created
}
