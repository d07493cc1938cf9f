//! An image as an OCI layout in a tar (image-layout.md), with the blobs that a store lacks only. containerd looks for the
//! others in its store. No docker manifest.json: it would have to name files that are in the archive.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use serde_json::{Value, json};

use super::archive::{write_end, write_file};
use super::contents::Contents;
use crate::error::{Error, Result};
use crate::image::draft::ImageDraft;
use crate::image::manifest::Descriptor;
use crate::image::reference::{DiffId, Digest};
use crate::image::store::LayerBlob;
use crate::image::{ImageConfig, MediaFamily, json};

/// Writes the image without a name; `stored` blobs are named in its manifest, not sent. Layers that are sent are plain tars,
/// so that their digest is their diffID. Returns the manifest's digest and the layers as it names them.
pub fn write_oci(
    out: &mut dyn Write,
    contents: &mut Contents<'_>,
    draft: &ImageDraft,
    stored: &HashMap<DiffId, Descriptor>,
    (config, config_digest): (&[u8], &Digest),
) -> Result<(Digest, Vec<LayerBlob>)> {
    let family = MediaFamily::Oci;
    write_file(out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write_file(out, &blob_name(config_digest.hex()), config)?;
    let missing: HashSet<DiffId> = draft.diff_ids().into_iter().filter(|id| !stored.contains_key(id)).collect();
    let sizes = contents.write(out, &missing, &|diff_id| blob_name(diff_id.hex()))?;
    let descriptor = |diff_id: &DiffId| match (stored.get(diff_id), sizes.get(diff_id), Digest::parse(diff_id.as_str())) {
        (Some(stored), _, _) => Ok(stored.clone().relabelled(family)),
        (None, Some(size), Some(digest)) => Ok(Descriptor::new(family.plain_layer(), &digest, *size)),
        _ => Err(Error::new(format!("layer {diff_id} was not written"))),
    };
    let ids = draft.diff_ids();
    let layers: Vec<Descriptor> = ids.iter().map(descriptor).collect::<Result<_>>()?;
    let manifest = json::to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": family.manifest(),
        "config": ImageConfig::descriptor(family.config(), config).json,
        "layers": layers.iter().map(|layer| layer.json.clone()).collect::<Vec<Value>>(),
    }));
    let digest = Digest::of(&manifest);
    write_file(out, &blob_name(digest.hex()), &manifest)?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": family.index(),
        "manifests": [Descriptor::new(family.manifest(), &digest, manifest.len() as u64).json],
    });
    write_file(out, "index.json", &json::to_bytes(&index))?;
    write_end(out)?;
    let blob = |(diff_id, layer): (DiffId, Descriptor)| LayerBlob {
        diff_id,
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type,
    };
    Ok((digest, ids.into_iter().zip(layers).map(blob).collect()))
}

fn blob_name(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}
