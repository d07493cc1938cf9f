//! The extend phase (platform.md, "Extender"; image_extension.md, "Phase: Extension").
//!
//! The Dockerfiles that extensions generated are applied in the running container, whose root file system is the image
//! that is extended. Each instruction becomes a layer: what it changed is found by looking at all files before and after.
//!
//! * [`inputs`] finds the Dockerfiles; `executor` applies one; `scope`, `script`, `copy`, `metadata` are its instructions.
//! * `run` starts commands as the user of the image.
//! * `scan`, `snapshot`, `ignored` find changes; `layer_tar`, `blob` make layers of them; `unpack` is the way back.
//! * `cache` remembers layers; `working_image` is the image as it grows; `output` writes it.

mod blob;
mod cache;
mod context;
mod copy;
mod executor;
mod ignored;
pub mod inputs;
mod layer_tar;
mod metadata;
mod output;
pub mod run;
mod scan;
mod scope;
mod script;
mod snapshot;
mod unpack;
mod users;
mod working_image;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, debug_span, warn};

use crate::api::PlatformApi;
use crate::data::group::GroupElement;
use crate::error::{Context, Error, Result};
use crate::phase::timing;

use blob::Blob;
use cache::LayerCache;
pub use executor::Fetch;
use executor::Workshop;
use ignored::Ignored;
pub use inputs::ImageKind;
use inputs::{Places, recipes};
use snapshot::Snapshots;
use working_image::WorkingImage;

/// Tells rebasers that the layers of extensions may stay on another base.
const REBASABLE: &str = "io.buildpacks.rebasable";

/// What the phase needs to know.
pub struct Inputs<'a> {
    pub api: PlatformApi,
    pub kind: ImageKind,
    /// The image to extend, from analyzed.toml: `name@digest`.
    pub image: &'a str,
    pub extensions: &'a [GroupElement],
    pub app_dir: &'a Path,
    pub layers_dir: &'a Path,
    pub platform_dir: &'a Path,
    pub generated_dir: &'a Path,
    /// Where an extended run image goes.
    pub extended_dir: &'a Path,
    /// `/kaniko` is what platforms mount.
    pub kaniko_dir: &'a Path,
    /// How long cached layers are good.
    pub cache_ttl: Duration,
    /// The file of this program, links resolved.
    pub program: &'a Path,
    /// Gets files for `ADD <url>`.
    pub download: Fetch<'a>,
}

impl std::fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs").field("kind", &self.kind).field("image", &self.image).finish_non_exhaustive()
    }
}

/// Extends the build image in place. Returns its environment, `NAME=value`.
pub fn extend_build(inputs: &Inputs<'_>) -> Result<Vec<String>> {
    let base = base_image(inputs).context("getting build image to extend")?;
    let image = extend(inputs, base).context("extending build image")?;
    Ok(image.config.env_lines())
}

/// Extends the run image and writes the result to `<extended>/run`.
pub fn extend_run(inputs: &Inputs<'_>) -> Result<()> {
    let base = base_image(inputs).context("getting run image to extend")?;
    let layers = base.base_layers();
    debug!("Found {} layers in original image with digest: {}", base.base_layer_count(), base.digest()?);
    if let [below @ .., top] = layers {
        debug!("Original image top layer digest: {}", top.digest);
        for _ in below.iter().filter(|layer| layer.digest == top.digest) {
            warn!("Original run image has duplicated top layer with digest: {}", top.digest);
        }
    }
    let image = extend(inputs, base).context("extending run image")?;
    output::write(&inputs.extended_dir.join("run"), &image).context("failed to copy extended image to output directory")
}

/// The restorer left manifest and config in the cache.
fn base_image(inputs: &Inputs<'_>) -> Result<WorkingImage> {
    let reference = inputs.image;
    let parts: Vec<&str> = reference.split('@').collect();
    let [_, digest] = parts.as_slice() else {
        return Err(Error::new(format!(
            "failed to get digest for reference '{reference}': a digest must contain exactly one '@' separator (e.g. \
             registry/repository@digest) saw: {reference}"
        )));
    };
    let layout = inputs.kaniko_dir.join("cache/base").join(digest);
    WorkingImage::read(&layout).with_context(|| format!("getting base image for digest '{reference}'"))
}

fn extend(inputs: &Inputs<'_>, mut image: WorkingImage) -> Result<WorkingImage> {
    let kind = inputs.kind.as_str();
    let _span = debug_span!("extend", kind).entered();
    let _timing = timing::measure("Extender");
    debug!("Extending base image for {kind}: {}", inputs.image);
    let places = Places { generated: inputs.generated_dir, app: inputs.app_dir, api: inputs.api };
    let recipes = recipes(inputs.kind, inputs.extensions, places).with_context(|| format!("getting {kind}.Dockerfiles"))?;
    debug!("Original image has digest: {}", image.digest()?);
    let (mut user, mut group) = user_of(&image);
    let original_user = user.clone();
    let mut rebasable = true;
    let mut workshop = if recipes.is_empty() { None } else { Some(workshop(inputs)?) };
    for mut recipe in recipes {
        let Some(workshop) = &mut workshop else { break };
        let given = [
            ("base_image", format!("base@{}", image.digest()?)),
            ("build_id", uuid()?),
            ("user_id", user.clone()),
            ("group_id", group),
        ];
        recipe.args.splice(0..0, given.map(|(name, value)| (name.to_owned(), value)));
        workshop.apply(&recipe, &mut image).context("applying Dockerfile to image")?;
        image.name_history(|text| format!("Layer: '{text}', Created by extension: {}", recipe.extension));
        debug!("Intermediate image has digest: {}", image.digest()?);

        rebasable = rebasable && image.config.label(REBASABLE).is_some_and(is_true);
        image.set_label(REBASABLE, if rebasable { "true" } else { "false" });
        let previous = std::mem::take(&mut user);
        (user, group) = user_of(&image);
        if is_root(&user) {
            warn!(
                "Extension from {} changed the user ID from {previous} to {user}; this must not be the final user ID (a \
                 following extension must reset the user).",
                recipe.path.display()
            );
        }
    }
    if is_root(&user) && inputs.kind == ImageKind::Run {
        return Err(Error::new("the final user ID is 0 (root); please add another extension that resets the user to non-root"));
    }
    if user != original_user {
        warn!("The original user ID was {original_user} but the final extension left the user ID set to {user}.");
    }
    if let Some(workshop) = workshop {
        workshop.cache.prune();
    }
    debug!("Final extended image has digest: {}", image.digest()?);
    Ok(image)
}

fn workshop<'a>(inputs: &Inputs<'a>) -> Result<Workshop<'a>> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("Dockerfiles can only be applied by root"));
    }
    let lifecycle = inputs.program.parent().unwrap_or(Path::new("/")).to_owned();
    let own = [inputs.app_dir, inputs.layers_dir, inputs.platform_dir, inputs.kaniko_dir].map(PathBuf::from);
    let own = own.into_iter().chain([lifecycle]);
    // A directory may be named by way of a link.
    let ignored = Ignored::of_container(own.flat_map(|path| [path.canonicalize().ok(), Some(path)]).flatten())?;
    Ok(Workshop {
        program: inputs.program.to_owned(),
        scratch: inputs.kaniko_dir.to_owned(),
        snapshots: Snapshots::new(Path::new("/"), ignored),
        cache: LayerCache::open(&inputs.kaniko_dir.join("cache"), inputs.cache_ttl)?,
        empty: Blob::empty()?,
        download: inputs.download,
    })
}

/// The parts of `User` on both sides of the colon.
fn user_of(image: &WorkingImage) -> (String, String) {
    let user = image.config.user();
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    (user.to_owned(), group.to_owned())
}

fn is_root(user: &str) -> bool {
    user == "0" || user == "root"
}

/// As Go's `strconv.ParseBool`.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "TRUE", "true", "True"].contains(&text)
}

/// A random UUID, version 4.
fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    let source = "/dev/urandom";
    std::fs::File::open(source)
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut bytes))
        .map_err(|e| Error::io("read", source, &e))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let (a, b) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(a, b);
        let lengths: Vec<usize> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }
}
