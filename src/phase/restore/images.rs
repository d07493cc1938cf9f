//! What the restorer finds out about build image and run image, for the extender and for targets.

use std::sync::Arc;

use tracing::debug;

use crate::api::PlatformApi;
use crate::data::analyzed::{Analyzed, RunImage};
use crate::data::run::RunToml;
use crate::error::{Context, Error, Result};
use crate::image::{Image, ImageStore};
use crate::phase::run_image::{recheck, target_of};

/// What there is to find out.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "stores and functions have none")]
pub struct ImageInputs<'a> {
    pub api: PlatformApi,
    /// `-build-image`
    pub build_image: Option<&'a str>,
    /// Whether image extensions were detected.
    pub has_extensions: bool,
    /// Run images that the platform knows; from Platform API 0.14 on.
    pub run: Option<&'a RunToml>,
    /// Whether the run image may be read.
    pub accessible: &'a dyn Fn(&str) -> bool,
    /// Where the app image will be; the run image is there, too.
    pub images: &'a dyn ImageStore,
    /// The run image is in a layout directory, not in a registry.
    pub in_layout: bool,
    /// Fetches an image's manifest and config from its registry and keeps them for the extender.
    pub pull: &'a dyn Fn(&str) -> Result<Arc<Image>>,
    /// The same for an image of a layout directory, which the reference's extender cannot use.
    pub pull_from_layout: &'a dyn Fn(&str) -> Result<Arc<Image>>,
}

/// `analyzed` with what was found out.
///
/// # Errors
/// An image that is needed is not accessible or does not exist.
pub fn update_images(mut analyzed: Analyzed, inputs: &ImageInputs<'_>) -> Result<Analyzed> {
    if let Some(name) = inputs.build_image.filter(|_| inputs.api.has_extensions()) {
        debug!("Pulling builder image metadata for {name}...");
        let image = (inputs.pull)(name).with_context(|| format!("failed to pull builder image {name}"))?;
        analyzed.build_image = Some(image.identifier.clone());
        debug!("Adding build image info to analyzed metadata: ");
        debug!(r#"{{"Reference":"{}"}}"#, image.identifier);
    }
    if let Some(run) = inputs.run {
        let chosen = analyzed.run_image.as_ref().map_or("", |r| r.image.as_str());
        recheck(chosen, run, inputs.accessible)?;
    }
    if let Some(run_image) = analyzed.run_image.as_mut() {
        update_run_image(run_image, inputs)?;
    }
    Ok(analyzed)
}

fn update_run_image(run_image: &mut RunImage, inputs: &ImageInputs<'_>) -> Result<()> {
    // Below Platform API 0.12 only a platform writes the name; the reference says the same in a registry.
    let name = if run_image.image.is_empty() { run_image.reference.clone() } else { run_image.image.clone() };
    let image = if run_image.extend && inputs.api.has_run_image_extension() {
        // Also if only the metadata are needed: the extender wants a reference by digest, which a daemon does not give.
        debug!("Pulling run image metadata for {name}...");
        (if inputs.in_layout { inputs.pull_from_layout } else { inputs.pull })(&name)
            .with_context(|| format!("failed to pull run image {name}"))?
    } else if inputs.has_extensions && inputs.api.has_extensions() && !has_target(run_image) {
        debug!("Updating run image info in analyzed metadata...");
        let opened = inputs.images.open(&name).and_then(|i| i.ok_or_else(|| Error::new("image not found")));
        opened.with_context(|| format!("failed to get run image {name}"))?
    } else {
        return Ok(());
    };
    debug!("Run image info in analyzed metadata was: ");
    debug!("{}", run_image.to_log_json()?);
    run_image.reference.clone_from(&image.identifier);
    run_image.target = inputs.api.has_targets().then(|| target_of(Some(&image.config)));
    debug!("Run image info in analyzed metadata is: ");
    debug!("{}", run_image.to_log_json()?);
    Ok(())
}

fn has_target(run_image: &RunImage) -> bool {
    run_image.target.as_ref().is_some_and(|target| !target.os.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::api::ApiVersion;
    use crate::data::run::RunImageForExport;
    use crate::data::target::TargetMetadata;
    use crate::image::{DiffId, ImageConfig, ImageWriter};

    /// Has one image, by the name `run`.
    struct Store;

    fn image(name: &str, identifier: &str) -> Arc<Image> {
        let config = ImageConfig::parse(br#"{"os": "linux", "architecture": "riscv64", "rootfs": {}}"#).unwrap();
        Arc::new(Image {
            name: name.into(),
            identifier: identifier.into(),
            config,
            manifest: None,
            digest: None,
            originals: None,
        })
    }

    impl ImageStore for Store {
        fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
            Ok((name == "run").then(|| image(name, "run@opened")))
        }

        fn read_layer(&self, _: &Image, _: &DiffId) -> Result<Box<dyn Read + Send>> {
            crate::bail!("has no layers")
        }

        fn writer(&self, _: &[String], _: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
            crate::bail!("is read only")
        }
    }

    struct Case {
        minor: u64,
        extend: bool,
        extensions: bool,
        target: bool,
        layout: bool,
        image: &'static str,
    }

    const CASE: Case = Case { minor: 15, extend: false, extensions: false, target: false, layout: false, image: "run" };

    fn run(case: &Case, build_image: Option<&str>) -> Result<Analyzed> {
        let target = case.target.then(|| TargetMetadata { os: "linux".into(), ..TargetMetadata::default() });
        let run_image = RunImage { reference: "run@before".into(), image: case.image.into(), extend: case.extend, target };
        let toml = RunToml { images: vec![RunImageForExport { image: "closed".into(), mirrors: Vec::new() }] };
        let api = PlatformApi::supported(ApiVersion::new(0, case.minor)).unwrap();
        update_images(
            Analyzed { run_image: Some(run_image), ..Analyzed::default() },
            &ImageInputs {
                api,
                build_image,
                has_extensions: case.extensions,
                run: api.rechecks_run_image().then_some(&toml),
                accessible: &|_| false,
                images: &Store,
                in_layout: case.layout,
                pull: &|name| Ok(image(name, &format!("{name}@pulled"))),
                pull_from_layout: &|name| Ok(image(name, &format!("{name}@layout"))),
            },
        )
    }

    fn reference(case: &Case) -> String {
        run(case, None).unwrap().run_image.unwrap().reference
    }

    #[test]
    fn a_run_image_that_is_extended_is_pulled() {
        for minor in 12..=15 {
            let analyzed = run(&Case { minor, extend: true, target: true, ..CASE }, None).unwrap();
            let run_image = analyzed.run_image.unwrap();
            assert_eq!(run_image.reference, "run@pulled");
            assert_eq!(run_image.target.unwrap().arch, "riscv64");
        }
        assert_eq!(reference(&Case { minor: 11, extend: true, ..CASE }), "run@before");
        assert_eq!(reference(&Case { layout: true, extend: true, ..CASE }), "run@layout");
    }

    #[test]
    fn a_target_is_looked_up_for_extensions_if_there_is_none() {
        for minor in 7..=15 {
            let analyzed = run(&Case { minor, extensions: true, ..CASE }, None).unwrap();
            let run_image = analyzed.run_image.unwrap();
            assert_eq!(run_image.reference, if minor < 10 { "run@before" } else { "run@opened" }, "0.{minor}");
            assert_eq!(run_image.target.is_some(), minor >= 12, "0.{minor}");
        }
        assert_eq!(reference(&Case { extensions: true, target: true, ..CASE }), "run@before");
        assert_eq!(reference(&CASE), "run@before");
        let error = run(&Case { extensions: true, image: "gone", ..CASE }, None).unwrap_err();
        assert_eq!(error.to_string(), "failed to get run image gone: image not found");
    }

    #[test]
    fn a_run_image_that_is_no_longer_accessible_is_an_error_since_0_14() {
        for minor in [12, 13] {
            assert!(run(&Case { minor, image: "closed", ..CASE }, None).is_ok());
        }
        for minor in [14, 15] {
            let error = run(&Case { minor, image: "closed", ..CASE }, None).unwrap_err();
            assert_eq!(error.to_string(), "selected run image 'closed' is not accessible");
        }
    }

    #[test]
    fn a_build_image_is_pulled_since_0_10() {
        for minor in 7..=15 {
            let build_image = run(&Case { minor, ..CASE }, Some("build")).unwrap().build_image;
            assert_eq!(build_image.as_deref(), (minor >= 10).then_some("build@pulled"));
        }
    }
}
