//! Which run image a build or a rebase uses (platform.md, "Run Image Resolution").

use crate::bail;
use crate::data::run::{RunImageForExport, RunToml};
use crate::data::target::{OsDistro, TargetMetadata};
use crate::error::Result;
use crate::image::platform::Platform;
use crate::image::{ImageConfig, ImageReference};

impl RunImageForExport {
    /// Whether the name is that of the image or of a mirror. Tags count, `latest` may be left out; digests do not count.
    pub fn contains(&self, name: &str) -> bool {
        let wanted = comparable(name);
        self.names().any(|own| comparable(own) == wanted)
    }

    /// The image and its mirrors, in order of preference.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.image).chain(&self.mirrors).map(String::as_str)
    }
}

impl RunToml {
    /// Whether any of the images has this name, see [`RunImageForExport::contains`].
    pub fn contains(&self, name: &str) -> bool {
        self.images.iter().any(|image| image.contains(name))
    }
}

/// A name without its digest, spelled in full. What is no reference is compared as it is.
fn comparable(name: &str) -> String {
    let (tagged, _) = name.split_once("@sha256:").unwrap_or((name, ""));
    ImageReference::parse(tagged).map_or_else(|_| name.to_owned(), |reference| reference.name())
}

/// The image or the mirror that is used for an output in this registry: the first accessible one in the same registry,
/// else the first accessible one.
///
/// `accessible` asks the registry whether the image may be read; an image that does not exist may be. Daemons and layout
/// directories answer yes.
///
/// # Errors
/// There is no name, or none is accessible.
pub fn select(registry: &str, candidates: &RunImageForExport, accessible: &dyn Fn(&str) -> bool) -> Result<String> {
    if candidates.image.is_empty() {
        bail!("missing run image metadata (-run-image)");
    }
    let same = |name: &str| ImageReference::parse(name).is_ok_and(|reference| reference.registry == registry);
    let near = candidates.names().filter(|name| same(name));
    let all = candidates.names();
    // A name that was refused as one of the same registry is not asked for again.
    let mut refused = Vec::new();
    for name in near.chain(all) {
        if refused.contains(&name) {
            continue;
        }
        if accessible(name) {
            return Ok(name.to_owned());
        }
        refused.push(name);
    }
    bail!("failed to find accessible run image")
}

/// Platform API 0.14: the restorer makes sure that the run image of analyzed.toml may still be read, if run.toml knows
/// it. One that run.toml does not know was chosen by an extension and is taken as it is. Another mirror is not tried:
/// the analyzer has read this one's target data.
pub fn recheck(chosen: &str, run: &RunToml, accessible: &dyn Fn(&str) -> bool) -> Result<()> {
    if run.contains(chosen) && !accessible(chosen) {
        bail!("selected run image '{chosen}' is not accessible");
    }
    Ok(())
}

/// What run.toml says of a build's run image, for the labels of the app image: the entry that names it, the first one
/// otherwise. If there were extensions, one of them may have chosen an image that run.toml does not know; then there is
/// nothing but its name. An empty run.toml says nothing.
pub fn for_export(run: &RunToml, chosen: &str, has_extensions: bool) -> RunImageForExport {
    let Some(first) = run.images.first() else { return RunImageForExport::default() };
    match run.images.iter().find(|image| image.contains(chosen)) {
        Some(image) => image.clone(),
        None if has_extensions => RunImageForExport { image: chosen.to_owned(), mirrors: Vec::new() },
        None => first.clone(),
    }
}

/// Labels of a run image (platform.md, "Target data").
const ID_LABEL: &str = "io.buildpacks.base.id";
const DISTRO_NAME_LABEL: &str = "io.buildpacks.base.distro.name";
const DISTRO_VERSION_LABEL: &str = "io.buildpacks.base.distro.version";

/// What a run image is: its platform by its config, distribution and id by its labels. An image that does not exist is
/// taken for one of this machine's platform.
pub fn target_of(config: Option<&ImageConfig>) -> TargetMetadata {
    let Some(config) = config else {
        let host = Platform::host();
        return TargetMetadata { os: host.os, arch: host.architecture, ..TargetMetadata::default() };
    };
    let label = |name: &str| config.label(name).map(str::to_owned);
    let (name, version) = (label(DISTRO_NAME_LABEL), label(DISTRO_VERSION_LABEL));
    TargetMetadata {
        id: label(ID_LABEL),
        os: config.os().to_owned(),
        arch: config.architecture().to_owned(),
        arch_variant: Some(config.variant().to_owned()).filter(|variant| !variant.is_empty()),
        distro: (name.is_some() || version.is_some())
            .then(|| OsDistro { name: name.unwrap_or_default(), version: version.unwrap_or_default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn image(image: &str, mirrors: &[&str]) -> RunImageForExport {
        RunImageForExport { image: image.into(), mirrors: mirrors.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn names_are_compared_in_full_and_without_digest() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        let run = image("run", &["gcr.io/p/run:v1"]);
        for name in ["run", "run:latest", "docker.io/library/run", "index.docker.io/library/run:latest", "gcr.io/p/run:v1"] {
            assert!(run.contains(name), "{name}");
            assert!(run.contains(&format!("{name}{digest}")), "{name}");
        }
        for name in ["run:v1", "gcr.io/p/run", "other", "", "not a ref"] {
            assert!(!run.contains(name), "{name}");
        }
        assert!(image("not a ref", &[]).contains("not a ref"));
    }

    #[test]
    fn the_mirror_in_the_registry_of_the_output_is_preferred() {
        let run = image("a.io/run", &["Not Valid", "b.io/closed", "b.io/run", "b.io/run2"]);
        let closed = |name: &str| !name.contains("closed");
        assert_eq!(select("b.io", &run, &closed).unwrap(), "b.io/run");
        assert_eq!(select("a.io", &run, &closed).unwrap(), "a.io/run");
        assert_eq!(select("c.io", &run, &closed).unwrap(), "a.io/run");
        assert_eq!(select("a.io", &run, &|name| name.starts_with("b.io")).unwrap(), "b.io/closed");
    }

    #[test]
    fn every_name_is_asked_for_once() {
        let asked = RefCell::new(Vec::new());
        let refuse = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            false
        };
        let error = select("b.io", &image("a.io/run", &["b.io/run"]), &refuse).unwrap_err();
        assert_eq!(error.to_string(), "failed to find accessible run image");
        assert_eq!(asked.into_inner(), ["b.io/run", "a.io/run"]);
        let error = select("b.io", &image("", &["b.io/run"]), &|_| true).unwrap_err();
        assert_eq!(error.to_string(), "missing run image metadata (-run-image)");
    }

    #[test]
    fn only_what_run_toml_knows_is_checked_again() {
        let run = RunToml { images: vec![image("a.io/x", &[]), image("a.io/run", &["b.io/run"])] };
        assert!(recheck("b.io/run", &run, &|_| true).is_ok());
        assert!(recheck("c.io/other", &run, &|_| false).is_ok());
        let error = recheck("b.io/run", &run, &|name| name != "b.io/run").unwrap_err();
        assert_eq!(error.to_string(), "selected run image 'b.io/run' is not accessible");
    }

    #[test]
    fn labels_name_the_entry_of_the_run_image() {
        let run = RunToml { images: vec![image("a.io/x", &[]), image("a.io/run", &["b.io/run"])] };
        assert_eq!(for_export(&run, "b.io/run:latest", false), run.images[1]);
        assert_eq!(for_export(&run, "c.io/other", false), run.images[0]);
        assert_eq!(for_export(&run, "c.io/other", true), image("c.io/other", &[]));
        assert_eq!(for_export(&RunToml::default(), "c.io/other", true), image("", &[]));
    }

    #[test]
    fn target_data_come_from_config_and_labels() {
        let config = |json: &str| ImageConfig::parse(json.as_bytes()).unwrap();
        let labels = r#"{"io.buildpacks.base.id": "x", "io.buildpacks.base.distro.version": ""}"#;
        let full = config(&format!(
            r#"{{"os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {{}}, "config": {{"Labels": {labels}}}}}"#
        ));
        let target = target_of(Some(&full));
        assert_eq!((target.os.as_str(), target.arch.as_str(), target.arch_variant.as_deref()), ("linux", "arm", Some("v7")));
        assert_eq!(target.id.as_deref(), Some("x"));
        assert_eq!(target.distro, Some(OsDistro::default()));
        let bare = target_of(Some(&config(r#"{"os": "", "rootfs": {}, "config": {}}"#)));
        assert_eq!(bare, TargetMetadata::default());
        assert_eq!(target_of(None).os, "linux");
    }
}
