//! Images in registries.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tracing::{debug, warn};

use super::fault::{Fault, Kind};
use super::keychain::Keychain;
use super::options::Options;
use super::pull::BlobReader;
use super::repository::{Repository, Small};
use super::runtime::Runtime;
use super::transport::Transport;
use super::writer::RegistryWriter;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::image::manifest::{Descriptor, is_index};
use crate::image::{
    DiffId, Digest, Image, ImageConfig, ImageReference, ImageStore, ImageWriter, Manifest, Originals, Platform, blob,
};
use crate::process::Invocation;

/// All registries. Clones share connections, tokens and what is known about blobs, so one is made per process.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: Arc<Transport>,
    platform: Platform,
    /// Started at the first request: no thread may exist before the process has changed its user.
    runtime: OnceLock<Arc<Runtime>>,
    known: Mutex<Known>,
}

/// What earlier requests of this process told.
#[derive(Debug, Default)]
struct Known {
    images: HashMap<String, Arc<Image>>,
    absent: HashMap<String, String>,
    /// Blobs by `registry/repository`.
    blobs: HashSet<(String, Digest)>,
}

/// Requests about blobs that run at the same time.
pub(super) const PARALLEL: usize = 6;

impl RegistryStore {
    /// Reads credentials, certificates and settings: everything that may need root, and no network. `insecure`: values of
    /// `-insecure-registry`.
    ///
    /// # Errors
    /// Malformed variables; see `extensions` for which.
    pub fn new(invocation: &Invocation, insecure: &[String], platform: Platform) -> Result<Self> {
        let options = Options::read(invocation, insecure)?;
        let keychain = Keychain::load(invocation)?;
        Ok(Self::with(options, keychain, platform))
    }

    fn with(options: Options, keychain: Keychain, platform: Platform) -> Self {
        let transport = Arc::new(Transport::new(options, keychain));
        Self { shared: Arc::new(Shared { transport, platform, runtime: OnceLock::new(), known: Mutex::default() }) }
    }

    /// Asks the credential helpers for these images, while the process may still run them. Empty names and names that are none
    /// are skipped.
    pub fn prefetch_credentials(&self, images: &[&str]) {
        self.shared.transport.keychain.prefetch(images);
    }

    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.shared.transport
    }

    pub(super) fn runtime(&self) -> Result<Arc<Runtime>> {
        if let Some(runtime) = self.shared.runtime.get() {
            return Ok(Arc::clone(runtime));
        }
        let runtime = Arc::new(Runtime::start()?);
        Ok(Arc::clone(self.shared.runtime.get_or_init(|| runtime)))
    }

    pub(super) fn repository(&self, reference: &ImageReference, name: &str) -> Repository {
        Repository::of(self.transport(), reference, name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knows_blob(&self, repository: &Repository, digest: &Digest) -> bool {
        self.known().blobs.contains(&(place(repository), digest.clone()))
    }

    pub(super) fn learn_blob(&self, repository: &Repository, digest: &Digest) {
        self.known().blobs.insert((place(repository), digest.clone()));
    }

    pub(super) fn forget_blobs(&self, repository: &Repository) {
        let place = place(repository);
        self.known().blobs.retain(|(known, _)| *known != place);
    }

    /// The image under this name has been replaced or deleted.
    pub(super) fn forget_image(&self, name: &str) {
        let mut known = self.known();
        known.images.remove(name);
        known.absent.remove(name);
    }

    async fn read_image(self, reference: ImageReference, name: String) -> Result<Image, ReadError> {
        let repository = self.repository(&reference, &name);
        let mut small = repository.manifest(reference.identifier()).await?;
        let mut json = parse(&small)?;
        if is_index(media_type(&small, &json)) {
            let Some(child) = self.shared.platform.choose(&json)? else {
                return Err(ReadError::Absent(format!("{name} is an index without an image for {}", self.shared.platform)));
            };
            small = repository.manifest(child.digest.as_str()).await?;
            json = parse(&small)?;
        }
        if json.get("mediaType").is_none() && !small.content_type.is_empty() {
            // Old registries tell the type in the header only.
            let media_type = small.content_type.as_str();
            if media_type == crate::image::MediaFamily::Docker.manifest() {
                json["mediaType"] = media_type.into();
            }
        }
        let manifest = Manifest::parse(&crate::image::json::to_bytes(&json)).context(format!("manifest of {name}"))?;
        let config_descriptor = manifest.config()?;
        let config = repository.config(&config_descriptor.digest).await?;
        let originals = Some(Originals { manifest: small.bytes.to_vec(), config: config.bytes.to_vec() });
        let config = ImageConfig::parse(&config.bytes).context(format!("config of {name}"))?;
        if small.from_origin {
            self.learn_blob(&repository, &config_descriptor.digest);
            for layer in manifest.layers()? {
                self.learn_blob(&repository, &layer.digest);
            }
        }
        let identifier = reference.with_digest(&small.digest).name();
        Ok(Image { name, identifier, config, manifest: Some(manifest), digest: Some(small.digest), originals })
    }
}

enum ReadError {
    Fault(Fault),
    Absent(String),
    Other(Error),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn parse(small: &Small) -> Result<Value> {
    serde_json::from_slice(&small.bytes).map_err(|e| Error::new(format!("parse manifest: {e}")))
}

/// What the document says it is; else what the registry says.
fn media_type<'a>(small: &'a Small, json: &'a Value) -> &'a str {
    json["mediaType"].as_str().unwrap_or(if json.get("manifests").is_some() && json.get("config").is_none() {
        crate::image::MediaFamily::Oci.index()
    } else {
        &small.content_type
    })
}

fn place(repository: &Repository) -> String {
    format!("{}/{}", repository.registry, repository.name)
}

/// The layer's blob.
pub(super) fn layer_blob(image: &Image, diff_id: &DiffId) -> Result<Descriptor> {
    let Some(index) = image.config.diff_ids().iter().position(|id| id == diff_id) else {
        bail!("failed to find layer with diff ID {:?} in image {}", diff_id.as_str(), image.name);
    };
    let mut layers = image.manifest.as_ref().map(Manifest::layers).transpose()?.unwrap_or_default();
    if index >= layers.len() {
        bail!("manifest of {} has no layer {index}", image.name);
    }
    Ok(layers.swap_remove(index))
}

impl ImageStore for RegistryStore {
    fn open(&self, name: &str) -> Result<Option<Arc<Image>>> {
        let reference = ImageReference::parse(name)?;
        if let Some(image) = self.known().images.get(name) {
            return Ok(Some(Arc::clone(image)));
        }
        let read = self.clone().read_image(reference, name.to_owned());
        let why = match self.runtime()?.run(read)? {
            Ok(image) => {
                let image = Arc::new(image);
                self.known().images.insert(name.to_owned(), Arc::clone(&image));
                return Ok(Some(image));
            }
            Err(ReadError::Fault(fault)) if fault.kind == Kind::NotFound => fault.to_string(),
            // What some registries say of repositories that do not exist.
            Err(ReadError::Fault(fault)) if fault.status.is_some_and(|status| status.as_u16() == 401) => {
                debug!("Taking an image for absent: {fault}");
                fault.to_string()
            }
            Err(ReadError::Absent(why)) => {
                warn!("{why}");
                why
            }
            Err(ReadError::Fault(fault)) => return Err(fault.into()),
            Err(ReadError::Other(error)) => return Err(error),
        };
        self.known().absent.insert(name.to_owned(), why);
        Ok(None)
    }

    fn why_absent(&self, name: &str) -> Option<String> {
        self.known().absent.get(name).cloned()
    }

    fn is_complete(&self, image: &Image) -> Result<bool> {
        let Some(manifest) = &image.manifest else { return Ok(true) };
        let repository = self.repository(&ImageReference::parse(&image.name)?, &image.name);
        let layers = manifest.layers()?;
        let wanted: HashSet<Digest> = layers.into_iter().filter(|layer| !layer.is_foreign()).map(|layer| layer.digest).collect();
        let check = async move {
            let mut answers = stream::iter(wanted)
                .map(|digest| {
                    let repository = repository.clone();
                    async move { repository.has_blob(&digest).await }
                })
                .buffer_unordered(PARALLEL);
            while let Some(answer) = answers.next().await {
                if !answer? {
                    return Ok(false);
                }
            }
            Ok::<bool, Fault>(true)
        };
        Ok(self.runtime()?.run(check)??)
    }

    fn read_layer(&self, image: &Image, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        let layer = layer_blob(image, diff_id)?;
        let repository = self.repository(&ImageReference::parse(&image.name)?, &image.name);
        let reader = BlobReader::open(&*self.runtime()?, repository, layer.digest);
        Ok(blob::verified(blob::decompress(reader)?, diff_id))
    }

    /// Deletes the manifest (a replaced cache image); its blobs are the registry's matter.
    fn delete(&self, image: &Image) -> Result<()> {
        let Some(digest) = image.digest.clone() else { return Ok(()) };
        let repository = self.repository(&ImageReference::parse(&image.name)?, &image.name);
        self.forget_image(&image.name);
        Ok(self.runtime()?.run(async move { repository.delete_manifest(&digest).await })??)
    }

    fn writer(&self, names: &[String], base: Option<&Image>) -> Result<Box<dyn ImageWriter>> {
        Ok(Box::new(RegistryWriter::new(self.clone(), names, base)?))
    }
}
