//! Analyze: what earlier builds left in the previous image, and what the run image is (platform.md, "analyzer").

use std::path::Path;
use std::sync::Arc;

use tracing::{debug, info};

use crate::api::PlatformApi;
use crate::bail;
use crate::data::analyzed::{Analyzed, RunImage};
use crate::data::layers_metadata::LayersMetadata;
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, Image, ImageStore};
use crate::layers::extract;

use super::labels::LIFECYCLE_METADATA;
use super::run_image::target_of;

/// What the phase is asked to do.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "a store has none")]
pub struct Inputs<'a> {
    pub api: PlatformApi,
    pub layers_dir: &'a Path,
    /// Where the previous image and the run image are.
    pub images: &'a dyn ImageStore,
    /// Whether that is a registry, where access is a matter of its own.
    pub in_registry: bool,
    pub previous_image: Option<&'a str>,
    pub run_image: Option<&'a str>,
    /// Makes sure that an image which seems not to exist is not kept from us: registries that do not want to tell say the
    /// same of both.
    pub check_read: &'a (dyn Fn(&str) -> Result<()> + Sync),
    /// Images that the build will write to registries, in the order in which they are complained about.
    pub written: &'a [&'a str],
    /// Makes sure that an image may be written to its registry; the error names the image.
    pub check_write: &'a (dyn Fn(&str) -> Result<()> + Sync),
    /// Whether the SBOM of the previous image comes back, for buildpacks that reuse their layers.
    pub restore_sbom: bool,
}

/// The images that the phase reads; the creator goes on with them.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    pub previous: Option<Arc<Image>>,
    pub run: Option<Arc<Image>>,
}

impl Opened {
    /// Opens both images and makes sure that the others may be written, all at once: each costs several round trips.
    ///
    /// # Errors
    /// An image cannot be read or may not be written; one that does not exist is no error.
    pub fn open(inputs: &Inputs<'_>) -> Result<Self> {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| open(inputs, "run", inputs.run_image));
            let written: Vec<_> = inputs.written.iter().map(|name| scope.spawn(|| check_write(inputs, name))).collect();
            let previous = open(inputs, "previous", inputs.previous_image);
            let run = join(run);
            let written: Vec<_> = written.into_iter().map(join).collect();
            let opened = Self { previous: previous?, run: run? };
            written.into_iter().collect::<Result<()>>()?;
            Ok(opened)
        })
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::new("a thread ended early")))
}

fn open(inputs: &Inputs<'_>, what: &str, name: Option<&str>) -> Result<Option<Arc<Image>>> {
    let Some(name) = name else { return Ok(None) };
    let opened = inputs.images.open(name);
    if !inputs.in_registry {
        return opened.with_context(|| format!("getting {what} image"));
    }
    let opened = opened.with_context(|| format!("failed to ensure registry read access to {name}"));
    let opened = opened.and_then(|opened| {
        if opened.is_none() {
            (inputs.check_read)(name)?;
        }
        Ok(opened)
    });
    opened.context("validating registry read access")
}

fn check_write(inputs: &Inputs<'_>, name: &str) -> Result<()> {
    (inputs.check_write)(name).context("validating registry write access")
}

/// Runs the phase.
///
/// # Errors
/// The previous image's SBOM cannot be restored; the run image has no operating system.
pub fn analyze(inputs: &Inputs<'_>, images: &Opened) -> Result<Analyzed> {
    let _timing = crate::phase::timing::measure("Analyzer");
    let _span = tracing::info_span!("phase", name = "analyze").entered();
    let (metadata, previous_reference) = previous(inputs, images)?;
    if inputs.restore_sbom
        && inputs.api.has_sbom()
        && let (Some(image), Some(sbom)) = (&images.previous, &metadata.sbom)
    {
        restore_sbom(inputs, image, &sbom.sha).context("retrieving launch SBOM layer")?;
    }
    let run_image = match inputs.run_image {
        Some(name) => run_image(inputs, name, images.run.as_deref())?,
        None => RunImage::default(),
    };
    Ok(Analyzed { previous_image: Some(previous_reference), build_image: None, metadata, run_image: Some(run_image) })
}

/// The previous image's metadata and identifier. An image that lost blobs, or whose label cannot be read, counts as absent.
fn previous(inputs: &Inputs<'_>, images: &Opened) -> Result<(LayersMetadata, String)> {
    let Some(name) = inputs.previous_image else { return Ok(Default::default()) };
    let reference = identifier(inputs, name, images.previous.as_deref());
    let Some(image) = &images.previous else { return Ok(Default::default()) };
    if !inputs.images.is_complete(image).context("checking previous image")? {
        info!("Ignoring image {:?} because it was corrupt", inputs.images.display_name(name));
        return Ok(Default::default());
    }
    match image.config.label(LIFECYCLE_METADATA).filter(|label| !label.is_empty()) {
        None => Ok((LayersMetadata::default(), reference)),
        Some(label) => match LayersMetadata::from_json(label) {
            Ok(metadata) => Ok((metadata, reference)),
            Err(error) => {
                debug!("Ignoring label '{LIFECYCLE_METADATA}' of the previous image: {error}");
                Ok(Default::default())
            }
        },
    }
}

fn identifier(inputs: &Inputs<'_>, name: &str, image: Option<&Image>) -> String {
    match image {
        Some(image) => {
            debug!("Found image with identifier {:?}", image.identifier);
            image.identifier.clone()
        }
        None => {
            info!("Image with name {:?} not found", inputs.images.display_name(name));
            String::new()
        }
    }
}

fn restore_sbom(inputs: &Inputs<'_>, image: &Image, sha: &str) -> Result<()> {
    if sha.is_empty() {
        return Ok(());
    }
    info!("Restoring data for SBOM from previous image");
    debug!("Retrieving previous image SBOM layer for {sha:?}");
    let diff_id = DiffId::parse(sha).filter(|id| image.config.diff_ids().contains(id));
    let Some(diff_id) = diff_id else { bail!("failed to find layer with diff ID {sha:?}") };
    let mut layer = inputs.images.read_layer(image, &diff_id)?;
    let bytes = extract::extract(&mut layer, &inputs.layers_dir.join("sbom")).context("restoring layer")?;
    debug!(bytes, "SBOM of the previous image restored");
    Ok(())
}

fn run_image(inputs: &Inputs<'_>, name: &str, image: Option<&Image>) -> Result<RunImage> {
    let mut run_image = RunImage { reference: identifier(inputs, name, image), ..RunImage::default() };
    if inputs.api.has_targets() {
        let target = target_of(image.map(|image| &image.config));
        if target.os.is_empty() {
            bail!("failed to find OS in run image config");
        }
        run_image.image = inputs.images.display_name(name);
        run_image.target = Some(target);
    }
    Ok(run_image)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::api::ApiVersion;
    use crate::image::{ImageConfig, ImageWriter};

    const SBOM: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// A store with one image, `app`.
    struct Store {
        label: Option<String>,
        complete: bool,
        os: &'static str,
        layer: Vec<u8>,
    }

    impl ImageStore for Store {
        fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
            let labels = self.label.iter().map(|l| (LIFECYCLE_METADATA, l)).collect::<std::collections::BTreeMap<_, _>>();
            let json = serde_json::json!({
                "os": self.os, "architecture": "amd64", "rootfs": {"diff_ids": [SBOM]}, "config": {"Labels": labels},
            });
            let config = ImageConfig::parse(json.to_string().as_bytes())?;
            let (identifier, name) = (format!("{name}@id"), name.to_owned());
            Ok((name == "app")
                .then(|| Arc::new(Image { name, identifier, config, manifest: None, digest: None, originals: None })))
        }

        fn is_complete(&self, _: &Image) -> Result<bool> {
            Ok(self.complete)
        }

        fn read_layer(&self, _: &Image, _: &DiffId) -> Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(self.layer.clone())))
        }

        fn writer(&self, _: &[String], _: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
            bail!("is read only")
        }
    }

    const STORE: Store = Store { label: None, complete: true, os: "linux", layer: Vec::new() };

    fn run(store: &Store, layers_dir: &Path, minor: u64, previous: &str, run_image: Option<&str>) -> Result<Analyzed> {
        let inputs = Inputs {
            api: PlatformApi::supported(ApiVersion::new(0, minor)).unwrap(),
            layers_dir,
            images: store,
            in_registry: false,
            previous_image: Some(previous),
            run_image,
            check_read: &|_| Ok(()),
            written: &[],
            check_write: &|_| Ok(()),
            restore_sbom: true,
        };
        analyze(&inputs, &Opened::open(&inputs)?)
    }

    fn previous(store: &Store, name: &str) -> (Option<String>, LayersMetadata) {
        let analyzed = run(store, Path::new("/nowhere"), 15, name, None).unwrap();
        (analyzed.previous_image, analyzed.metadata)
    }

    #[test]
    fn what_cannot_be_used_of_the_previous_image_counts_as_absent() {
        let label = Some(r#"{"config": {"sha": "c"}}"#.to_owned());
        let (reference, metadata) = previous(&Store { label: label.clone(), ..STORE }, "app");
        assert_eq!((reference.as_deref(), metadata.config.sha.as_str()), (Some("app@id"), "c"));
        let absent = (Some(String::new()), LayersMetadata::default());
        assert_eq!(previous(&Store { label: label.clone(), ..STORE }, "gone"), absent);
        assert_eq!(previous(&Store { label, complete: false, ..STORE }, "app"), absent);
        for broken in ["{", r#"{"buildpacks": "none"}"#] {
            assert_eq!(previous(&Store { label: Some(broken.into()), ..STORE }, "app"), absent, "{broken}");
        }
        for empty in [None, Some(String::new())] {
            let (reference, metadata) = previous(&Store { label: empty, ..STORE }, "app");
            assert_eq!((reference.as_deref(), metadata), (Some("app@id"), LayersMetadata::default()));
        }
    }

    #[test]
    fn target_data_of_the_run_image_are_written_since_0_12() {
        for minor in 7..=15 {
            let run_image = run(&STORE, Path::new("/nowhere"), minor, "gone", Some("app")).unwrap().run_image.unwrap();
            assert_eq!(run_image.reference, "app@id");
            assert_eq!(
                (run_image.image.as_str(), run_image.target.is_some()),
                if minor < 12 { ("", false) } else { ("app", true) }
            );
        }
        let absent = run(&STORE, Path::new("/nowhere"), 15, "gone", Some("none")).unwrap().run_image.unwrap();
        assert_eq!((absent.reference.as_str(), absent.image.as_str()), ("", "none"));
        assert_eq!(absent.target.unwrap().os, "linux");
        let error = run(&Store { os: "", ..STORE }, Path::new("/nowhere"), 15, "gone", Some("app")).unwrap_err();
        assert_eq!(error.to_string(), "failed to find OS in run image config");
    }

    #[test]
    fn the_sbom_layer_comes_back_and_must_be_there() {
        let temp = tempfile::tempdir().unwrap();
        let label = |sha: &str| Some(format!(r#"{{"sbom": {{"sha": "{sha}"}}}}"#));
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        let name = format!("{}/sbom/launch/a/sbom.cdx.json", temp.path().display());
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
        let store = Store { label: label(SBOM), layer: tar.into_inner().unwrap(), ..STORE };
        run(&store, temp.path(), 7, "app", None).unwrap();
        assert!(!temp.path().join("sbom").exists());
        run(&store, temp.path(), 8, "app", None).unwrap();
        assert!(temp.path().join("sbom/launch/a/sbom.cdx.json").is_file());
        let other = SBOM.replace("aaaa", "bbbb");
        let error = run(&Store { label: label(&other), ..STORE }, temp.path(), 8, "app", None).unwrap_err();
        let want = format!("retrieving launch SBOM layer: failed to find layer with diff ID {other:?}");
        assert_eq!(error.to_string(), want);
        run(&Store { label: label(""), ..STORE }, temp.path(), 8, "app", None).unwrap();
    }

    #[test]
    fn access_is_checked_in_the_order_of_the_complaints() {
        struct Closed;
        impl ImageStore for Closed {
            fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
                if name.starts_with("closed") { bail!("401 for {name}") } else { Ok(None) }
            }
            fn read_layer(&self, _: &Image, _: &DiffId) -> Result<Box<dyn Read + Send>> {
                bail!("is closed")
            }
            fn writer(&self, _: &[String], _: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
                bail!("is closed")
            }
        }
        let open = |previous, run, written: &[&str]| {
            let inputs = Inputs {
                api: PlatformApi::latest(),
                layers_dir: Path::new("/nowhere"),
                images: &Closed,
                in_registry: true,
                previous_image: Some(previous),
                run_image: Some(run),
                check_read: &|name| if name.starts_with("hidden") { bail!("401 for {name}") } else { Ok(()) },
                written,
                check_write: &|name| if name.starts_with("ro") { bail!("no access to {name}") } else { Ok(()) },
                restore_sbom: false,
            };
            Opened::open(&inputs).map(|_| ()).map_err(|e| e.to_string())
        };
        let read = |name| {
            Err(format!("validating registry read access: failed to ensure registry read access to {name}: 401 for {name}"))
        };
        assert_eq!(open("closed1", "closed2", &["ro"]), read("closed1"));
        assert_eq!(open("open", "closed2", &["ro"]), read("closed2"));
        assert_eq!(open("hidden", "open", &[]), Err("validating registry read access: 401 for hidden".into()));
        let want = "validating registry write access: no access to ro1";
        assert_eq!(open("open", "open", &["rw", "ro1", "ro2"]), Err(want.into()));
        assert_eq!(open("open", "open", &["rw"]), Ok(()));
    }
}
