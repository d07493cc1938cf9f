//! Image manifests and descriptors (OCI image spec, "manifest.md"; docker schema 2).

use serde_json::{Value, json};

use super::reference::Digest;
use crate::bail;
use crate::error::{Context, Error, Result};

/// Within one manifest all media types are of one family, that of the run image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFamily {
    Docker,
    Oci,
}

/// Docker's and OCI's names for the same kind of layer.
const LAYER_TYPES: [(&str, &str); 6] = [
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
];

impl MediaFamily {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    pub fn index(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::Oci => "application/vnd.oci.image.index.v1+json",
        }
    }

    pub fn config(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        }
    }

    /// An uncompressed layer.
    pub fn plain_layer(self) -> &'static str {
        match self {
            Self::Docker => LAYER_TYPES[1].0,
            Self::Oci => LAYER_TYPES[1].1,
        }
    }

    /// This family's name for a layer type of either family; types that neither knows stay as they are.
    pub fn relabel(self, media_type: &str) -> &str {
        let Some((docker, oci)) = LAYER_TYPES.iter().find(|(docker, oci)| [*docker, *oci].contains(&media_type)) else {
            return media_type;
        };
        match self {
            Self::Docker => docker,
            Self::Oci => oci,
        }
    }
}

/// Whether the media type is that of an image index or docker manifest list.
pub fn is_index(media_type: &str) -> bool {
    [MediaFamily::Docker.index(), MediaFamily::Oci.index()].contains(&media_type)
}

/// A manifest as it was read, unknown fields and order kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub json: Value,
}

impl Manifest {
    /// # Errors
    /// If the bytes are no JSON object or the object is no image manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(bytes).map_err(|e| Error::new(format!("parse manifest: {e}")))?;
        if json["schemaVersion"] == 1 {
            bail!("parse manifest: schema 1 is not supported");
        }
        let manifest = Self { json };
        manifest.config().context("parse manifest")?;
        manifest.layers().context("parse manifest")?;
        Ok(manifest)
    }

    pub fn media_type(&self) -> &str {
        self.json["mediaType"].as_str().unwrap_or_else(|| self.family().manifest())
    }

    /// By the manifest's media type; OCI manifests may leave it out, then the config's decides.
    pub fn family(&self) -> MediaFamily {
        let names = [&self.json["mediaType"], &self.json["config"]["mediaType"]];
        match names.into_iter().find_map(Value::as_str) {
            Some(name) if name.starts_with("application/vnd.docker.") => MediaFamily::Docker,
            _ => MediaFamily::Oci,
        }
    }

    pub fn config(&self) -> Result<Descriptor> {
        Descriptor::from_json(&self.json["config"]).context("config")
    }

    /// Bottom first.
    pub fn layers(&self) -> Result<Vec<Descriptor>> {
        match &self.json["layers"] {
            Value::Array(layers) => {
                layers.iter().enumerate().map(|(i, l)| Descriptor::from_json(l).with_context(|| format!("layer {i}"))).collect()
            }
            Value::Null => Ok(Vec::new()),
            _ => bail!("layers is not a list"),
        }
    }
}

/// What a manifest says of a blob; unknown fields (annotations, urls) kept in `json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub json: Value,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: &Digest, size: u64) -> Self {
        let json = json!({"mediaType": media_type, "size": size, "digest": digest.as_str()});
        Self { media_type: media_type.to_owned(), digest: digest.clone(), size, json }
    }

    pub fn from_json(json: &Value) -> Result<Self> {
        let digest = json["digest"].as_str().unwrap_or_default();
        let Some(digest) = Digest::parse(digest) else { bail!("digest {digest:?} is not sha256:<64 hex digits>") };
        let Some(size) = json["size"].as_u64() else { bail!("{digest} has no size") };
        let media_type = json["mediaType"].as_str().unwrap_or_default().to_owned();
        Ok(Self { media_type, digest, size, json: json.clone() })
    }

    /// The same blob under this family's name for its media type.
    #[must_use]
    pub fn relabelled(mut self, family: MediaFamily) -> Self {
        self.media_type = family.relabel(&self.media_type).to_owned();
        self.json["mediaType"] = self.media_type.as_str().into();
        self
    }

    /// Registries do not take in blobs of foreign layers: their descriptor names where to get them.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_sha256(&[7; 32])
    }

    #[test]
    fn relabels_both_ways_and_keeps_what_it_does_not_know() {
        let mut layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", &digest(), 3);
        layer.json["annotations"] = json!({"a": "b"});
        let docker = layer.clone().relabelled(MediaFamily::Docker);
        assert_eq!(docker.media_type, "application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert_eq!(docker.json["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert_eq!(docker.json["annotations"]["a"], "b");
        assert_eq!(docker.relabelled(MediaFamily::Oci), layer);
        assert_eq!(MediaFamily::Docker.relabel("application/x"), "application/x");
    }

    #[test]
    fn family_of_a_manifest_without_media_type_is_that_of_its_config() {
        let config = Descriptor::new(MediaFamily::Docker.config(), &digest(), 2).json;
        let manifest =
            Manifest::parse(&super::super::json::to_bytes(&json!({"schemaVersion": 2, "config": config, "layers": []}))).unwrap();
        assert_eq!(manifest.family(), MediaFamily::Docker);
        assert_eq!(manifest.media_type(), MediaFamily::Docker.manifest());
    }

    #[test]
    fn says_what_is_wrong_with_a_manifest() {
        for (bytes, want) in [
            ("{", "parse manifest: EOF while parsing an object at line 1 column 1"),
            ("[]", "parse manifest: config: digest \"\" is not sha256:<64 hex digits>"),
            (r#"{"schemaVersion":1}"#, "parse manifest: schema 1 is not supported"),
        ] {
            assert_eq!(Manifest::parse(bytes.as_bytes()).unwrap_err().to_string(), want);
        }
    }
}
