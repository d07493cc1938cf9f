//! An image on its way into registries: layers while they are made, the rest at the end, manifests last.

use std::collections::HashSet;
use std::io::Write;

use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use tracing::debug;

use super::fault::Fault;
use super::push::{Plan, Upload, copy};
use super::repository::{Repository, Started};
use super::retry::Patience;
use super::store::{PARALLEL, RegistryStore};
use crate::bail;
use crate::error::Result;
use crate::image::draft::{Encoded, LayerContent};
use crate::image::{Digest, Image, ImageDraft, ImageReference, ImageWriter, LayerBlob, MediaFamily, Saved};
use crate::layers::compression::Compression;
use crate::layers::pipeline::compress_layer;
use crate::layers::source::LayerSource;

#[derive(Debug)]
pub(super) struct RegistryWriter {
    store: RegistryStore,
    names: Vec<String>,
    references: Vec<ImageReference>,
    compression: Compression,
}

/// A blob that the image needs, and where it is now.
#[derive(Clone, Debug)]
struct Need {
    digest: Digest,
    size: u64,
    from: Repository,
}

impl RegistryWriter {
    pub(super) fn new(store: RegistryStore, names: &[String], base: Option<&Image>) -> Result<Self> {
        let references = names.iter().map(|name| ImageReference::parse(name)).collect::<Result<Vec<_>>>()?;
        if references.is_empty() {
            bail!("an image needs a name");
        }
        let compression = store.transport().options.compression;
        compression.check_fits(base)?;
        Ok(Self { store, names: names.to_vec(), references, compression })
    }

    /// The repository that layers are uploaded to.
    fn main(&self) -> Repository {
        self.store.repository(&self.references[0], &self.names[0])
    }

    /// Sends a layer again until it is there, after an attempt whose digest is known by now.
    fn send_again(&self, upload: &std::sync::Arc<Upload>, source: &LayerSource, digest: &Digest, size: u64) -> Result<()> {
        let transport = self.store.transport();
        let mut patience = Patience::new(transport.options.patience);
        let mut reached = 0;
        while let Some(fault) = upload.take_failure() {
            let (waiting, mut waiter) = (std::sync::Arc::clone(transport), patience);
            let (waited, back) = upload.runtime.run(async move {
                let waited = waiting.pause(&mut waiter, fault).await;
                (waited, waiter)
            })?;
            waited?;
            patience = back;
            let (planned, wanted) = (std::sync::Arc::clone(upload), digest.clone());
            let plan = upload.runtime.run(async move {
                if planned.repository.has_blob(&wanted).await? {
                    return Ok::<Option<Plan>, Fault>(None);
                }
                planned.plan(&wanted, size).await.map(Some)
            })??;
            let Some(plan) = plan else { return Ok(()) };
            if let Plan::Resuming { offset, .. } = plan
                && offset > reached
            {
                reached = offset;
                patience.progress();
            }
            debug!("Sending a layer of {} again: {plan:?}", upload.repository.image);
            let again = compress_layer(source, self.compression, None, Box::new(upload.sink(plan)))?;
            if again.digest != *digest {
                bail!("layer changed while it was uploaded: {digest}, then {}", again.digest);
            }
        }
        Ok(())
    }

    fn needs(&self, draft: &ImageDraft) -> Result<Vec<Need>> {
        let mut seen = HashSet::new();
        let mut needs = Vec::new();
        for layer in &draft.layers {
            let descriptor = draft.descriptor(layer)?;
            if descriptor.is_foreign() || !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let from = match &layer.content {
                LayerContent::New(_) => self.main(),
                LayerContent::From { image, .. } => self.store.repository(&ImageReference::parse(&image.name)?, &image.name),
            };
            needs.push(Need { digest: descriptor.digest, size: descriptor.size, from });
        }
        Ok(needs)
    }

    /// Each repository that gets the image, once, the main one first.
    fn targets(&self) -> Vec<Repository> {
        let mut targets: Vec<Repository> = Vec::new();
        for (reference, name) in self.references.iter().zip(&self.names) {
            let target = self.store.repository(reference, name);
            if !targets.iter().any(|known| known.is(&target)) {
                targets.push(target);
            }
        }
        targets
    }

    /// Puts everything but the manifest into a repository.
    async fn fill(store: &RegistryStore, target: &Repository, needs: &[Need], encoded: &Encoded) -> Result<(), Fault> {
        let mut blobs = stream::iter(needs.to_vec())
            .map(|need| {
                let (store, target) = (store.clone(), target.clone());
                async move { ensure(&store, &target, &need).await }
            })
            .buffer_unordered(PARALLEL);
        while let Some(done) = blobs.next().await {
            done?;
        }
        if !store.knows_blob(target, &encoded.config_digest) {
            target.put_small(&encoded.config_digest, Bytes::from(encoded.config.clone())).await?;
            store.learn_blob(target, &encoded.config_digest);
        }
        Ok(())
    }
}

/// Makes sure that a repository has a blob: known to be there, mounted, or copied.
async fn ensure(store: &RegistryStore, target: &Repository, need: &Need) -> Result<(), Fault> {
    if store.knows_blob(target, &need.digest) {
        return Ok(());
    }
    let here = need.from.is(target);
    let same_registry = need.from.registry == target.registry;
    if here || !same_registry {
        // Copying takes longest: look first.
        if !target.has_blob(&need.digest).await? {
            if here {
                // Says what is missing; the manifest would be refused anyway.
                let fault = target.open_blob(&need.digest, 0, None).await.err();
                return fault.map_or(Ok(()), Err);
            }
            copy(&need.from, target, &need.digest, need.size, None).await?;
        }
    } else if let Started::Session(session) = target.start_upload(Some((&need.digest, &need.from.name))).await? {
        copy(&need.from, target, &need.digest, need.size, Some(session)).await?;
    }
    store.learn_blob(target, &need.digest);
    Ok(())
}

impl ImageWriter for RegistryWriter {
    fn shown_names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn add_layer(&self, source: &LayerSource, tee: Option<&mut (dyn Write + Send)>) -> Result<LayerBlob> {
        let main = self.main();
        let upload = Upload::new(main.clone(), self.store.runtime()?);
        let layer = compress_layer(source, self.compression, tee, Box::new(upload.sink(Plan::Streaming)))?;
        self.send_again(&upload, source, &layer.digest, layer.size)?;
        self.store.learn_blob(&main, &layer.digest);
        // The draft relabels it into the family of its manifest.
        let media_type = self.compression.media_type(MediaFamily::Oci).unwrap_or_default().to_owned();
        Ok(LayerBlob { diff_id: layer.diff_id, digest: layer.digest, size: layer.size, media_type })
    }

    fn take_blob(&self, blob: &LayerBlob, from: &str) -> Result<bool> {
        // An earlier build may have had another codec, which this one's manifests may not even have a name for.
        if self.compression.media_type(MediaFamily::Oci) != Some(MediaFamily::Oci.relabel(&blob.media_type)) {
            return Ok(false);
        }
        let (main, from) = (self.main(), ImageReference::parse(from)?);
        if self.store.knows_blob(&main, &blob.digest) {
            return Ok(true);
        }
        if from.registry != main.registry {
            return Ok(false);
        }
        let (target, digest) = (main.clone(), blob.digest.clone());
        let mounted = self.store.runtime()?.run(async move {
            match target.start_upload(Some((&digest, &from.repository))).await? {
                Started::Mounted => Ok(true),
                Started::Session(session) => {
                    target.cancel_upload(session).await;
                    Ok::<bool, Fault>(false)
                }
            }
        })??;
        if mounted {
            self.store.learn_blob(&main, &blob.digest);
        }
        Ok(mounted)
    }

    fn commit(self: Box<Self>, draft: &ImageDraft) -> Result<Saved> {
        let encoded = draft.encode()?;
        let needs = self.needs(draft)?;
        let mut failures: Vec<String> = Vec::new();
        let targets = self.targets();
        let mut filled: Vec<(Repository, std::result::Result<(), Fault>)> = Vec::new();
        for target in targets {
            let (store, needs, encoded, to) = (self.store.clone(), needs.clone(), encoded.clone(), target.clone());
            let done = self.store.runtime()?.run(async move { Self::fill(&store, &to, &needs, &encoded).await })?;
            filled.push((target, done));
        }
        let manifest = Bytes::from(encoded.manifest.clone());
        for (reference, name) in self.references.iter().zip(&self.names) {
            let target = self.store.repository(reference, name);
            let result = match filled.iter().find(|(known, _)| known.is(&target)) {
                Some((_, Err(fault))) => Err(fault.clone()),
                _ => self.write_manifest(&target, reference, &encoded, &manifest, &needs)?,
            };
            self.store.forget_image(name);
            if let Err(fault) = result {
                failures.push(format!("[{name}: {fault}]"));
            }
        }
        if !failures.is_empty() {
            bail!("failed to write image to the following tags: {}", failures.join(","));
        }
        Ok(Saved {
            names: self.names.clone(),
            identifier: self.references[0].with_digest(&encoded.manifest_digest).name(),
            image_id: None,
            digest: Some(encoded.manifest_digest),
            manifest_size: encoded.manifest.len() as u64,
        })
    }
}

impl RegistryWriter {
    /// Writes the manifest. If the registry misses a blob that was taken to be there, all are looked after once more.
    fn write_manifest(
        &self,
        target: &Repository,
        reference: &ImageReference,
        encoded: &Encoded,
        manifest: &Bytes,
        needs: &[Need],
    ) -> Result<std::result::Result<(), Fault>> {
        let (store, target, needs) = (self.store.clone(), target.clone(), needs.to_vec());
        let (encoded, manifest, identifier) = (encoded.clone(), manifest.clone(), reference.identifier().to_owned());
        self.store.runtime()?.run(async move {
            match target.put_manifest(&identifier, encoded.manifest_media_type, &manifest).await {
                Err(fault) if fault.detail.contains("BLOB_UNKNOWN") => {
                    debug!("{fault}");
                    store.forget_blobs(&target);
                    Self::fill(&store, &target, &needs, &encoded).await?;
                    target.put_manifest(&identifier, encoded.manifest_media_type, &manifest).await
                }
                other => other,
            }
        })
    }
}
