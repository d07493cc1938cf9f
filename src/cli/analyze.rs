//! The command `analyze`.

use std::path::PathBuf;

use crate::bail;
use crate::data::analyzed::Analyzed;
use crate::data::run::{RunImageForExport, RunToml, StackToml};
use crate::error::{Failure, Result};
use crate::image::ImageReference;
use crate::phase::analyze::{self, Inputs, Opened};
use crate::phase::run_image;

use super::applet::Command;
use super::fail::Fail;
use super::inputs::Images;
use super::session::{self, Session};
use super::stores::Stores;

pub fn run(session: &Session<'_>) -> Result<()> {
    let flags = session.flags;
    let (mut request, stores) = Request::open(session)?;
    let volumes = ["layers", "cache-dir", "launch-cache"].map(|name| flags.path(name));
    session.become_user(&volumes.each_ref().map(PathBuf::as_path))?;
    request.select_run_image(&stores).failed_to_with("resolve inputs", Failure::InvalidArguments)?;
    let (analyzed, _) = analyze(session, &request.images, &stores)?;
    analyzed.write(&flags.path("analyzed"))
}

/// What analyzer and creator are asked for.
#[derive(Debug)]
pub struct Request {
    pub images: Images,
    /// The run images to choose from, unless the platform named one.
    candidates: Option<RunImageForExport>,
}

impl Request {
    /// Reads the inputs and opens the stores that they ask for, as the first steps of analyzer and creator. Still as the user
    /// who started the program.
    pub fn open(session: &Session<'_>) -> Result<(Self, Stores)> {
        let request = Self::of(session).failed_to_with("resolve inputs", Failure::InvalidArguments)?;
        if session.flags.boolean("layout") {
            session.guard_experimental(session::LAYOUT)?;
        }
        let stores = request.open_stores(session)?;
        Ok((request, stores))
    }

    /// Reads and checks the images of the command line, and run.toml or stack.toml if need be.
    fn of(session: &Session<'_>) -> Result<Self> {
        let mut images = Images::of(session)?;
        images.merge_deprecated_run(session)?;
        // The registry of the output image decides between run images: its name comes before their file.
        ImageReference::parse(&images.output)?;
        let candidates = if images.run.is_empty() { Some(candidates(session)?) } else { None };
        if session.command == Command::Create {
            session.warn_without_cache();
        }
        session.warn_launch_cache();
        images.check(session.flags.boolean("daemon"))?;
        session.warn_parallel_export();
        Ok(Self { images, candidates })
    }

    /// Opens the stores, with the credentials that any of the images may need.
    fn open_stores(&self, session: &Session<'_>) -> Result<Stores> {
        let mut names = self.images.in_registries(session.flags.boolean("daemon"));
        names.extend(self.candidates.iter().flat_map(RunImageForExport::names));
        match &self.candidates {
            Some(_) => Stores::open(session, &names)
                .unless_settled("resolve inputs: unable to create keychain", Failure::InvalidArguments),
            None => Stores::open(session, &names).unless_settled("resolve keychain", Failure::Generic),
        }
    }

    /// Chooses the run image (platform.md, "Run Image Resolution").
    pub fn select_run_image(&mut self, stores: &Stores) -> Result<()> {
        if let Some(candidates) = &self.candidates {
            let registry = ImageReference::parse(&self.images.output)?.registry;
            self.images.run = run_image::select(&registry, candidates, &|name| stores.accessible(name))?;
        }
        Ok(())
    }
}

/// The run images that the platform knows: the first entry of run.toml, or stack.toml's.
fn candidates(session: &Session<'_>) -> Result<RunImageForExport> {
    if !session.api.has_run_toml() {
        return Ok(StackToml::read(&session.flags.path("stack"))?.run_image);
    }
    match RunToml::read(&session.flags.path("run"))?.images.into_iter().next() {
        Some(first) => Ok(first),
        None => bail!("-run-image is required when there is no run metadata available"),
    }
}

/// Checks that registries let us read and write what the build will, then runs the phase. The images stay open for the
/// creator.
pub fn analyze(session: &Session<'_>, images: &Images, stores: &Stores) -> Result<(Analyzed, Opened)> {
    let flags = session.flags;
    let layers_dir = flags.path("layers");
    let in_registry = stores.in_registry();
    let mut written: Vec<&str> = flags.optional_text("cache-image").into_iter().collect();
    if in_registry {
        written.extend(images.destinations());
    }
    let inputs = Inputs {
        api: session.api,
        layers_dir: &layers_dir,
        images: stores.images.as_ref(),
        in_registry,
        previous_image: Some(images.previous.as_str()).filter(|name| !name.is_empty()),
        run_image: Some(images.run.as_str()).filter(|name| !name.is_empty()),
        check_read: &|name| stores.check_read(name),
        written: &written,
        check_write: &|name| stores.check_write(name),
        restore_sbom: !session.skips_layers() && !flags.boolean("skip-sbom"),
    };
    let opened = Opened::open(&inputs).unless_settled("initialize analyzer", Failure::Analyze)?;
    let analyzed = analyze::analyze(&inputs, &opened).failed_to_with("analyze", Failure::Analyze)?;
    Ok((analyzed, opened))
}
