//! The images of a command, and checks and warnings that several commands share.

use tracing::warn;

use crate::bail;
use crate::error::Result;
use crate::image::reference::ImageReference;

use super::applet::Command;
use super::session::Session;

/// The images that the command line and variables name; empty where they name none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// The first argument.
    pub output: String,
    /// `-tag`, or the further arguments of exporter and rebaser.
    pub tags: Vec<String>,
    /// Of analyzer and creator the output image, unless given.
    pub previous: String,
    pub build: String,
    /// `-run-image`; a command that finds it elsewhere fills it in.
    pub run: String,
    /// `-image`, the deprecated name of `-run-image`.
    pub deprecated_run: String,
    pub cache: String,
}

impl Images {
    /// Reads the images of `session`.
    ///
    /// # Errors
    /// An empty output image.
    pub fn of(session: &Session<'_>) -> Result<Self> {
        let flags = session.flags;
        let positional = flags.positional();
        let tags = match session.command {
            Command::Export | Command::Rebase => positional.get(1..).unwrap_or_default().to_vec(),
            _ => flags.list("tag").to_vec(),
        };
        let mut images = Self {
            output: positional.first().cloned().unwrap_or_default(),
            tags,
            previous: flags.text("previous-image").into(),
            build: flags.text("build-image").into(),
            run: flags.text("run-image").into(),
            deprecated_run: flags.text("image").into(),
            cache: flags.text("cache-image").into(),
        };
        let writes_an_image = matches!(session.command, Command::Analyze | Command::Create | Command::Export | Command::Rebase);
        if writes_an_image && images.output.is_empty() {
            bail!("image argument is required");
        }
        if matches!(session.command, Command::Analyze | Command::Create) && images.previous.is_empty() {
            images.previous.clone_from(&images.output);
        }
        Ok(images)
    }

    /// Output image and tags, each once.
    pub fn destinations(&self) -> Vec<&str> {
        once([&self.output].into_iter().chain(&self.tags))
    }

    /// Every image there is, each once.
    pub fn all(&self) -> Vec<&str> {
        let others = [&self.previous, &self.build, &self.run, &self.deprecated_run, &self.cache];
        once([&self.output].into_iter().chain(&self.tags).chain(others))
    }

    /// The names of the app image, the main one first.
    pub fn app_names(&self) -> Vec<String> {
        std::iter::once(&self.output).chain(&self.tags).cloned().collect()
    }

    /// The images that are in registries; with a daemon that is the cache image only.
    pub fn in_registries(&self, daemon: bool) -> Vec<&str> {
        let cache = Some(self.cache.as_str()).filter(|c| !c.is_empty());
        if daemon { cache.into_iter().collect() } else { self.all() }
    }

    /// Refuses names that are no references, and destinations on more than one registry.
    pub fn check(&self, daemon: bool) -> Result<()> {
        for image in self.all() {
            ImageReference::parse(image)?;
        }
        if !daemon {
            let registries = self.destinations().into_iter().map(|image| Ok(ImageReference::parse(image)?.registry));
            let registries = registries.collect::<Result<Vec<_>>>()?;
            if registries.iter().any(|registry| registry != &registries[0]) {
                bail!("writing to multiple registries is unsupported");
            }
        }
        Ok(())
    }

    /// `-run-image` and `-image` exclude each other; a run image that only the variable names does not count.
    pub fn merge_deprecated_run(&mut self, session: &Session<'_>) -> Result<()> {
        if self.deprecated_run.is_empty() {
            return Ok(());
        }
        if self.run != session.invocation.var("CNB_RUN_IMAGE").unwrap_or_default() {
            bail!("supply only one of -run-image or (deprecated) -image");
        }
        self.run.clone_from(&self.deprecated_run);
        Ok(())
    }

    /// The exporter takes its run image from analyzed.toml only; one that only the variable names is passed over.
    pub fn refuse_run(&self, session: &Session<'_>) -> Result<()> {
        if !self.run.is_empty() && self.run != session.invocation.var("CNB_RUN_IMAGE").unwrap_or_default() {
            bail!("-run-image is unsupported");
        }
        if !self.deprecated_run.is_empty() {
            bail!("-image is unsupported");
        }
        Ok(())
    }
}

fn once<'a>(images: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut list: Vec<&str> = Vec::new();
    for image in images {
        if !image.is_empty() && !list.contains(&image.as_str()) {
            list.push(image);
        }
    }
    list
}

impl Session<'_> {
    /// Whether buildpacks are not to see anything of earlier builds: creator and the phases call it differently.
    pub fn skips_layers(&self) -> bool {
        self.flags.boolean(if self.command == Command::Create { "skip-restore" } else { "skip-layers" })
    }

    /// Warns if there is neither cache directory nor cache image.
    pub fn warn_without_cache(&self) {
        if !self.has_cache() {
            warn!("No cached data will be used, no cache specified.");
        }
    }

    /// Warns if a launch cache is given without a daemon.
    pub fn warn_launch_cache(&self) {
        if !self.flags.boolean("daemon") && !self.flags.text("launch-cache").is_empty() {
            warn!("Ignoring -launch-cache, only intended for use with -daemon");
        }
    }

    /// Warns if `-parallel` has nothing to run in parallel.
    pub fn warn_parallel_export(&self) {
        if self.flags.boolean("parallel") && !self.has_cache() {
            warn!("Parallel export has been enabled, but it has not taken effect because no cache has been specified.");
        }
    }

    fn has_cache(&self) -> bool {
        !self.flags.text("cache-image").is_empty() || !self.flags.text("cache-dir").is_empty()
    }
}
