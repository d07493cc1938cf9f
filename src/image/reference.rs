//! Names: digests, diffIDs and image references.

use std::fmt;

/// `sha256:<hex>` of a manifest, a config or a (compressed) blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

/// `sha256:<hex>` of a layer's uncompressed tar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiffId(String);

macro_rules! sha256_name {
    ($name:ident) => {
        impl $name {
            /// `None` unless the text is `sha256:` and 64 lower-case hex digits.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.strip_prefix("sha256:")?;
                let ok = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                ok.then(|| Self(text.to_owned()))
            }

            pub fn from_sha256(hash: &[u8; 32]) -> Self {
                use fmt::Write;
                let mut text = String::with_capacity(71);
                text.push_str("sha256:");
                for byte in hash {
                    let _ = write!(text, "{byte:02x}");
                }
                Self(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Without `sha256:`.
            pub fn hex(&self) -> &str {
                &self.0["sha256:".len()..]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sha256_name!(Digest);
sha256_name!(DiffId);

/// An image name with registry, repository, tag and digest, spelled as the reference spells it
/// (`index.docker.io/library/busybox:latest`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    pub registry: String,
    pub repository: String,
    /// `latest` if the text has neither tag nor digest.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}
