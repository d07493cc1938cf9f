//! Applying one Dockerfile to the image whose files this container has.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempPath;
use tracing::{debug, info, warn};

use super::blob::Blob;
use super::cache::{Key, LayerCache};
use super::context::BuildContext;
use super::copy::{self, CopyJob, CopySource, Download};
use super::metadata;
use super::run::Job;
use super::scope::Scope;
use super::script::Script;
use super::snapshot::Snapshots;
use super::unpack::{Whiteouts, unpack};
use super::users::Users;
use super::working_image::WorkingImage;
use crate::dockerfile::{Command, Copy, Dockerfile, Expander, Instruction, Kind, Source};
use crate::error::{Context, Error, Result};

/// What all Dockerfiles of a run share.
pub struct Workshop<'a> {
    /// The file of this program, see [`super::run`].
    pub program: PathBuf,
    /// For scripts that a command needs as files.
    pub scratch: PathBuf,
    pub snapshots: Snapshots,
    pub cache: LayerCache,
    pub empty: Blob,
    pub download: Fetch<'a>,
}

/// Writes what a URL names to a file; says when it was modified.
pub type Fetch<'a> = &'a dyn Fn(&str, &mut File) -> Result<Option<SystemTime>>;

/// A Dockerfile with what it may use.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub path: PathBuf,
    pub extension: String,
    /// Build args, the last of a name wins.
    pub args: Vec<(String, String)>,
    pub context: PathBuf,
}

impl Workshop<'_> {
    /// Applies the Dockerfile; history entries are the instructions as written.
    pub fn apply(&mut self, recipe: &Recipe, image: &mut WorkingImage) -> Result<()> {
        let text = std::fs::read(&recipe.path).map_err(|e| Error::io("open", &recipe.path, &e))?;
        let text = String::from_utf8_lossy(&text);
        let file = Dockerfile::parse(&text).context("parsing dockerfile").map_err(|e| e.context(recipe.path.display()))?;
        let [stage] = file.stages.as_slice() else {
            let line = file.stages[1].from.line;
            return Err(at(recipe, line, Error::new("only one FROM instruction is supported")));
        };
        let expander = Expander::new(file.escape);
        let mut scope = Scope::new(recipe.args.clone());
        for instruction in &file.global_args {
            if let Kind::Arg(args) = &instruction.kind {
                for (name, default) in args {
                    scope.declare_global(name, default.as_deref(), expander).map_err(|e| at(recipe, instruction.line, e))?;
                }
            }
        }
        // Whatever FROM names, the given base is used; an unknown argument is no reason to fail.
        if scope.expand_global(&stage.image, expander).is_ok_and(|name| name == "scratch") {
            image.clear();
        }
        scope.start_stage(&image.config.env_lines());
        let triggers = metadata::take_triggers(image)?;
        let instructions: Vec<&Instruction> = triggers.iter().chain(&stage.instructions).collect();
        if let Some(instruction) = instructions.iter().find(|i| copies_from_image(i)) {
            return Err(at(recipe, instruction.line, Error::new(format!("{} --from is not supported", instruction.keyword))));
        }
        let mut build = Build {
            key: image.key(),
            context: BuildContext::open(&recipe.context)?,
            scope,
            expander,
            lookups: true,
            looked: false,
            cmd_set: false,
            workshop: self,
            image,
        };
        build.ensure_working_dir()?;
        for instruction in instructions {
            build.instruction(instruction).map_err(|e| at(recipe, instruction.line, e.context(&instruction.text)))?;
        }
        Ok(())
    }
}

fn at(recipe: &Recipe, line: usize, error: Error) -> Error {
    error.context(format!("{} line {line}", recipe.path.display()))
}

fn copies_from_image(instruction: &Instruction) -> bool {
    matches!(&instruction.kind, Kind::Copy(Copy { from: Some(_), .. }) | Kind::Add(Copy { from: Some(_), .. }))
}

/// One Dockerfile being applied.
struct Build<'a, 'w> {
    workshop: &'a mut Workshop<'w>,
    image: &'a mut WorkingImage,
    scope: Scope,
    expander: Expander,
    context: BuildContext,
    key: Key,
    /// Until the first miss, cached layers are looked for.
    lookups: bool,
    /// The files were looked at since the last layer that came from the cache.
    looked: bool,
    /// This Dockerfile has a CMD of its own.
    cmd_set: bool,
}

impl Build<'_, '_> {
    fn instruction(&mut self, instruction: &Instruction) -> Result<()> {
        let text = instruction.text.as_bytes();
        debug!("Applying {}", instruction.text);
        match &instruction.kind {
            Kind::Run(command) => self.run(instruction, command),
            Kind::Copy(copy) => self.copy(instruction, copy, false),
            Kind::Add(copy) => self.copy(instruction, copy, true),
            Kind::Workdir(path) => self.work_dir(instruction, path),
            Kind::Maintainer => Ok(()),
            Kind::Arg(args) => {
                for (name, default) in args {
                    let name = self.expand(name)?;
                    let default = default.as_deref().map(|d| self.expand(d)).transpose()?;
                    self.scope.declare(name, default);
                }
                self.key = self.key.then(&[text]);
                self.metadata(instruction)
            }
            Kind::Env(pairs) => {
                let mut values = vec![text.to_vec()];
                // All values see the variables as they were before the instruction.
                let pairs = self.expand_pairs(pairs)?;
                for (name, value) in pairs {
                    values.push(format!("{name}={value}").into_bytes());
                    self.scope.set_env(name, value);
                }
                self.image.set("Env", self.scope.env_lines().into());
                self.then(&values);
                self.metadata(instruction)
            }
            Kind::Label(pairs) => {
                for (name, value) in self.expand_pairs(pairs)? {
                    self.image.set_label(&name, &value);
                }
                self.key = self.key.then(&[text]);
                self.metadata(instruction)
            }
            Kind::User(user) => {
                let user = self.expand(user)?;
                self.then(&[text.to_vec(), user.clone().into_bytes()]);
                self.image.set("User", user.into());
                self.metadata(instruction)
            }
            Kind::Shell(shell) => {
                self.image.set("Shell", shell.clone().into());
                self.key = self.key.then(&[text]);
                self.metadata(instruction)
            }
            other => {
                let (scope, expander) = (&self.scope, self.expander);
                metadata::apply(self.image, other, &mut self.cmd_set, &|word| expander.expand(word, scope))?;
                self.key = self.key.then(&[text]);
                self.metadata(instruction)
            }
        }
    }

    /// An instruction that changes no file has an empty layer.
    fn metadata(&mut self, instruction: &Instruction) -> Result<()> {
        self.image.add_layer(self.workshop.empty.clone(), &instruction.text);
        Ok(())
    }

    fn run(&mut self, instruction: &Instruction, command: &Command) -> Result<()> {
        let variables = self.scope.of_commands();
        let mut inputs = vec![instruction.text.clone().into_bytes()];
        inputs.extend(variables.iter().map(|(name, value)| format!("{name}={value}").into_bytes()));
        inputs.extend(instruction.heredocs.iter().map(|h| h.body.clone().into_bytes()));
        self.then(&inputs);
        warn_of_flags(instruction);
        self.cached(instruction, |build| {
            let script = Script::new(command, instruction, &metadata::shell(build.image), &build.workshop.scratch)?;
            if script.words().is_empty() {
                return Ok(build.workshop.empty.clone());
            }
            if !build.looked {
                build.workshop.snapshots.look()?;
                build.looked = true;
            }
            let root = build.workshop.snapshots.root().to_owned();
            let identity = Users::read(&root).identity(build.image.config.user()).context("credentials: get uid/gid")?;
            let mut env: Vec<(String, String)> = variables.into_iter().collect();
            if !env.iter().any(|(name, _)| name == "HOME") {
                env.push(("HOME".to_owned(), identity.home.clone()));
            }
            build.ensure_working_dir()?;
            let directory = build.working_dir();
            let program = &build.workshop.program;
            info!("{}", instruction.text);
            Job { program, words: script.words(), env: &env, directory: &directory, identity: &identity }.run()?;
            drop(script);
            let changes = build.workshop.snapshots.changes()?;
            build.workshop.layer(&changes)
        })
    }

    fn copy(&mut self, instruction: &Instruction, copy: &Copy, extract: bool) -> Result<()> {
        let root = self.workshop.snapshots.root().to_owned();
        let (job, _downloads) = self.copy_job(instruction, copy, extract)?;
        let working_dir = self.working_dir();
        job.check(&root, &working_dir)?;
        let mut inputs = vec![instruction.text.clone().into_bytes()];
        inputs.extend(job.inputs(&self.context).context("failed to get files used from context")?);
        self.then(&inputs);
        self.cached(instruction, |build| {
            let written = job.run(&build.context, &root, &working_dir)?;
            let named = build.workshop.snapshots.named(written)?;
            build.workshop.layer(&named)
        })
    }

    /// With variables expanded and wildcards resolved; downloaded files live as long as the paths beside the job.
    fn copy_job(&self, instruction: &Instruction, copy: &Copy, extract: bool) -> Result<(CopyJob, Vec<TempPath>)> {
        let mut sources = Vec::new();
        let mut downloads = Vec::new();
        for source in &copy.sources {
            match source {
                Source::Heredoc(index) => {
                    let heredoc = instruction.heredocs.get(*index).ok_or_else(|| Error::new("here-document without a body"))?;
                    let quotes = Expander { keep_quotes: true, ..self.expander };
                    let content = heredoc.content();
                    let content = if heredoc.expand { quotes.expand(&content, &self.scope)? } else { content };
                    sources.push(CopySource::Heredoc { name: heredoc.name.clone(), content });
                }
                Source::Path(path) => {
                    let path = self.expand(path)?;
                    if extract && ["git@", "git://", "ssh://"].iter().any(|scheme| path.starts_with(scheme)) {
                        return Err(Error::new(format!("ADD of a repository is not supported: {path}")));
                    }
                    if extract && ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme)) {
                        let (file, kept) = self.download(&path, copy.checksum.as_deref())?;
                        sources.push(CopySource::Download(file));
                        downloads.push(kept);
                        continue;
                    }
                    let found = self.context.resolve(&path).context("failed to get files used from context")?;
                    sources.extend(found.into_iter().map(CopySource::Path));
                }
            }
        }
        let users = Users::read(self.workshop.snapshots.root());
        let owner = match &copy.chown {
            Some(owner) => users.owner(&self.expand(owner)?).context("--chown")?,
            None => users.owner(self.image.config.user())?,
        };
        let mode = copy.chmod.as_deref().map(|mode| self.mode(mode)).transpose()?;
        Ok((CopyJob { sources, destination: self.expand(&copy.destination)?, owner, mode, extract }, downloads))
    }

    fn download(&self, url: &str, checksum: Option<&str>) -> Result<(Download, TempPath)> {
        let name = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let scratch = &self.workshop.scratch;
        let mut file = tempfile::NamedTempFile::new_in(scratch).map_err(|e| Error::io("create file in", scratch, &e))?;
        info!("Downloading {url}");
        let modified = (self.workshop.download)(url, file.as_file_mut())?;
        let path = file.into_temp_path();
        let digest = super::cache::sha256_of(&path).map_err(|e| Error::io("read", &path, &e))?;
        if let Some(wanted) = checksum.map(|c| self.expand(c)).transpose()?
            && wanted != digest.as_str()
        {
            return Err(Error::new(format!("{url} has the checksum {digest}, not {wanted}")));
        }
        Ok((Download { name: name.to_owned(), file: path.to_path_buf(), digest, modified }, path))
    }

    fn mode(&self, text: &str) -> Result<u32> {
        let text = self.expand(text)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| Error::new(format!("--chmod: {text:?} is not an octal mode")))
    }

    fn work_dir(&mut self, instruction: &Instruction, path: &str) -> Result<()> {
        let root = self.workshop.snapshots.root().to_owned();
        let directory = copy::absolute(&self.working_dir(), &self.expand(path)?);
        self.image.set("WorkingDir", directory.display().to_string().into());
        self.then(&[instruction.text.clone().into_bytes(), directory.as_os_str().as_encoded_bytes().to_vec()]);
        self.cached(instruction, |build| {
            let on_disk = root.join(directory.strip_prefix("/").unwrap_or(&directory));
            if on_disk.is_dir() {
                return Ok(build.workshop.empty.clone());
            }
            let owner = Users::read(&root).owner(build.image.config.user())?;
            make_directories(&on_disk, owner).map_err(|e| Error::io("mkdir", &directory, &e))?;
            let named = build.workshop.snapshots.named([directory])?;
            build.workshop.layer(&named)
        })
    }

    /// The layer from the cache, or made and put there.
    fn cached(&mut self, instruction: &Instruction, make: impl FnOnce(&mut Self) -> Result<Blob>) -> Result<()> {
        let text = &instruction.text;
        if self.lookups
            && let Some(blob) = self.workshop.cache.find(&self.key)
        {
            info!("Using caching version of cmd: {text}");
            let root = self.workshop.snapshots.root();
            unpack(flate2::read::MultiGzDecoder::new(blob.open()?), root, Path::new("/"), Whiteouts::Apply)
                .context("unpacking cached layer")?;
            self.looked = false;
            self.image.add_layer(blob, text);
            return Ok(());
        }
        if self.lookups {
            info!("No cached layer found for cmd {text}");
            self.lookups = false;
        }
        let blob = make(self)?;
        self.workshop.cache.store(&self.key, &blob);
        self.image.add_layer(blob, text);
        Ok(())
    }

    fn then(&mut self, inputs: &[Vec<u8>]) {
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        self.key = self.key.then(&inputs);
    }

    fn working_dir(&self) -> PathBuf {
        copy::absolute(Path::new("/"), self.image.config.working_dir())
    }

    /// Commands start in it, so it is made if the image only names it. It is in no layer until something is put there.
    fn ensure_working_dir(&self) -> Result<()> {
        let root = self.workshop.snapshots.root();
        let directory = self.working_dir();
        let on_disk = root.join(directory.strip_prefix("/").unwrap_or(&directory));
        make_directories(&on_disk, (0, 0)).map_err(|e| Error::io("mkdir", &directory, &e))
    }

    fn expand(&self, word: &str) -> Result<String> {
        self.expander.expand(word, &self.scope)
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>> {
        pairs.iter().map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?))).collect()
    }
}

impl Workshop<'_> {
    fn layer(&self, paths: &super::layer_tar::LayerPaths) -> Result<Blob> {
        if paths.is_empty() {
            return Ok(self.empty.clone());
        }
        Blob::create(&self.cache.blobs(), |tar| super::layer_tar::write(self.snapshots.root(), paths, tar))
            .context("failed to take snapshot")
    }
}

/// The directory for this owner, missing ones above it for root.
fn make_directories(path: &Path, owner: (u32, u32)) -> std::io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| p.metadata().is_err()).collect();
    for directory in missing.into_iter().rev() {
        copy::make_directory(directory, if directory == path { owner } else { (0, 0) }, 0o755)?;
    }
    Ok(())
}

fn warn_of_flags(instruction: &Instruction) {
    let flags: Vec<&str> = instruction.text.split_whitespace().skip(1).take_while(|word| word.starts_with("--")).collect();
    if !flags.is_empty() {
        warn!("Flags of RUN have no effect: {}", flags.join(" "));
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
