//! How new layers are compressed (`CNB_COMPRESSION`, extensions.md).

use crate::error::{Error, Failure, Result};
use crate::image::{Image, MediaFamily};

/// Codec and level of new layers in registries and layouts.
///
/// The bytes a codec makes are part of every layer digest: they depend on the input alone, never on the number of
/// threads or on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// libdeflate, one member per chunk; levels 1 to 9.
    Gzip(u8),
    /// One frame per chunk; levels 1 to 19. Docker manifests have no media type for it.
    Zstd(u8),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip(1)
    }
}

impl Compression {
    /// Values of `CNB_COMPRESSION`, for the message about a bad one.
    pub const VALUES: &str = "gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19";

    /// `None` for anything but [`Self::VALUES`].
    pub fn parse(text: &str) -> Option<Self> {
        let (codec, level) = match text.split_once(':') {
            Some((codec, level)) => (codec, level.parse::<u8>().ok().filter(|n| n.to_string() == level)?),
            None => (text, 1),
        };
        match (codec, level) {
            ("gzip", 1..=9) => Some(Self::Gzip(level)),
            ("zstd", 1..=19) => Some(Self::Zstd(level)),
            _ => None,
        }
    }

    /// Media type of a layer in a manifest of this family; `None` if the family knows no such layers.
    pub fn media_type(self, family: MediaFamily) -> Option<&'static str> {
        match (self, family) {
            (Self::Gzip(_), MediaFamily::Docker) => Some("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            (Self::Gzip(_), MediaFamily::Oci) => Some("application/vnd.oci.image.layer.v1.tar+gzip"),
            (Self::Zstd(_), MediaFamily::Oci) => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
            (Self::Zstd(_), MediaFamily::Docker) => None,
        }
    }

    /// Makes sure that the codec can be told in the manifest of an image on this base.
    ///
    /// # Errors
    /// zstd on an image with docker media types, exit 3.
    pub fn check_fits(self, base: Option<&Image>) -> Result<()> {
        let Some((base, family)) = base.and_then(|base| Some((base, base.manifest.as_ref()?.family()))) else { return Ok(()) };
        if self.media_type(family).is_some() {
            return Ok(());
        }
        let message = format!("CNB_COMPRESSION asks for zstd, but {} has docker media types, which have none for it", base.name);
        Err(Error::new(message).or_failure(Failure::InvalidArguments))
    }

    /// Names codec, its version and level. Equal ids mean equal bytes for equal input.
    pub fn id(self) -> String {
        match self {
            Self::Gzip(level) => format!("gzip:{level}/1"),
            Self::Zstd(level) => format!("zstd:{level}/1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Compression::{self, Gzip, Zstd};

    #[test]
    fn values() {
        for (text, want) in [
            ("gzip", Some(Gzip(1))),
            ("gzip:9", Some(Gzip(9))),
            ("zstd", Some(Zstd(1))),
            ("zstd:19", Some(Zstd(19))),
            ("gzip:0", None),
            ("gzip:10", None),
            ("gzip:", None),
            ("gzip:+1", None),
            ("zstd:20", None),
            ("xz", None),
            ("", None),
        ] {
            assert_eq!(Compression::parse(text), want, "{text}");
        }
    }
}
