//! Names: digests, diffIDs and image references.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

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

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_sha256(&sha2::Sha256::digest(bytes).into())
    }
}

/// An image name with registry, repository, tag or digest, spelled as the reference spells it
/// (`index.docker.io/library/busybox:latest`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Host and port; `index.docker.io` if the text names none.
    pub registry: String,
    /// With `library/` in front of Docker Hub's official images.
    pub repository: String,
    /// `latest` if the text has neither tag nor digest; `None` if it has a digest (a tag beside it means nothing).
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "index.docker.io";

impl ImageReference {
    /// Reads a name under the reference's weak rules: registry, `library/` and tag may be missing.
    ///
    /// # Errors
    /// `could not parse reference: <text>`, as the reference words it.
    pub fn parse(text: &str) -> Result<Self> {
        parse_tagged(text)
            .or_else(|| parse_digested(text))
            .ok_or_else(|| Error::new(format!("could not parse reference: {text}")))
    }

    /// Registry and repository: what two references to the same kind of image have in common.
    pub fn context(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The digest, else the tag.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// The name in full: `<registry>/<repository>:<tag>` or `…@<digest>`.
    pub fn name(&self) -> String {
        let separator = if self.digest.is_some() { '@' } else { ':' };
        format!("{}{separator}{}", self.context(), self.identifier())
    }

    /// The same repository, by digest.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// Whether both names mean the same tag or digest of the same repository, however they are spelled. Names that cannot
    /// be parsed are compared as text.
    pub fn same(a: &str, b: &str) -> bool {
        Self::full_name_or_text(a) == Self::full_name_or_text(b)
    }

    /// [`Self::name`] of the text, or the text itself if it is no name.
    pub fn full_name_or_text(text: &str) -> String {
        Self::parse(text).map_or_else(|_| text.to_owned(), |r| r.name())
    }

    /// Where a layout directory keeps the image, relative to it: `<registry>/<repository>/<tag>` or
    /// `<registry>/<repository>/sha256/<hex>` (platform.md, "OCI Image Layout").
    pub fn layout_path(&self) -> PathBuf {
        let path = PathBuf::from(self.context());
        match &self.digest {
            Some(digest) => path.join("sha256").join(digest.hex()),
            None => path.join(self.identifier()),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn parse_tagged(text: &str) -> Option<ImageReference> {
    let (base, tag) = match text.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((base, tag)) if !tag.contains('/') => (base, Some(tag)),
        _ => (text, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return None;
    }
    let (registry, repository) = parse_repository(base)?;
    Some(ImageReference { registry, repository, tag: Some(tag.unwrap_or("latest").to_owned()), digest: None })
}

fn parse_digested(text: &str) -> Option<ImageReference> {
    let (base, digest) = text.split_once('@')?;
    let digest = Digest::parse(digest)?;
    let (registry, repository) = match parse_tagged(base) {
        Some(tagged) => (tagged.registry, tagged.repository),
        None => parse_repository(base)?,
    };
    Some(ImageReference { registry, repository, tag: None, digest: Some(digest) })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn parse_repository(text: &str) -> Option<(String, String)> {
    let (registry, repository) = match text.split_once('/') {
        // The first part is a host only if it cannot be part of a repository.
        Some((host, rest)) if host == "localhost" || host.contains(['.', ':']) => (host, rest),
        _ => ("", text),
    };
    // Unlike the reference, which asks a host `http:` for `//host/name`.
    let fits = (2..=255).contains(&repository.len())
        && !repository.starts_with('/')
        && repository.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.' | b'/'));
    if !fits || !is_authority(registry) {
        return None;
    }
    let registry = match registry {
        "" | "docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let repository = if official { format!("library/{repository}") } else { repository.to_owned() };
    Some((registry.to_owned(), repository))
}

/// `host[:port]` of RFC 3986: a name, an IPv4 address or an IPv6 address in brackets. Empty is fine: the default.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => ("", port),
                None if port.is_empty() => ("", ""),
                None => return false,
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~'))
        && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:f75f3d1a317fc82c793d567de94fc8df2bece37acd5f2bd364a0d91a0d1f3dab";

    #[test]
    fn full_names() {
        for (text, want) in [
            ("busybox", "index.docker.io/library/busybox:latest"),
            ("docker.io/busybox", "index.docker.io/library/busybox:latest"),
            ("org/app:1", "index.docker.io/org/app:1"),
            ("localhost/xy", "localhost/xy:latest"),
            ("localhost:5000/xy:T_a-g.1", "localhost:5000/xy:T_a-g.1"),
            ("127.0.0.1:5000/a.b/c-d__e", "127.0.0.1:5000/a.b/c-d__e:latest"),
            ("gcr.io/p/r", "gcr.io/p/r:latest"),
            ("[::1]:5000/ab", "[::1]:5000/ab:latest"),
            ("[fe80::1]/ab:x", "[fe80::1]/ab:x"),
        ] {
            assert_eq!(ImageReference::parse(text).unwrap().name(), want, "{text}");
        }
        for text in [format!("busybox@{D}"), format!("busybox:tag@{D}")] {
            assert_eq!(ImageReference::parse(&text).unwrap().name(), format!("index.docker.io/library/busybox@{D}"));
        }
    }

    #[test]
    fn refused_names() {
        let long = "a".repeat(256);
        let other = D.replace("sha256", "sha512");
        let texts = [
            "",
            "a",
            "A/b",
            "ab:",
            "ab::x",
            "my-bad-image-reference::latest",
            "ab@x",
            "ab:t@",
            "host.io:x/ab",
            "[::1/ab",
            "[x]/ab",
            "http://host.io/ab",
            "user@host.io/ab",
            "ab c",
            &long,
        ];
        for text in texts.into_iter().map(str::to_owned).chain([format!("ab@{other}"), format!("a@b@{D}")]) {
            let error = ImageReference::parse(&text).unwrap_err();
            assert_eq!(error.to_string(), format!("could not parse reference: {text}"));
        }
    }

    #[test]
    fn same_image_in_other_words() {
        assert!(ImageReference::same("busybox", "docker.io/library/busybox:latest"));
        assert!(!ImageReference::same("busybox", "busybox:1"));
        assert!(ImageReference::same("not a name", "not a name"));
        assert!(!ImageReference::same("not a name", "busybox"));
    }

    #[test]
    fn layout_paths() {
        for (text, want) in [
            ("busybox".to_owned(), "index.docker.io/library/busybox/latest".to_owned()),
            ("localhost:5000/xy:v".to_owned(), "localhost:5000/xy/v".to_owned()),
            (format!("gcr.io/a/b@{D}"), format!("gcr.io/a/b/sha256/{}", &D[7..])),
        ] {
            assert_eq!(ImageReference::parse(&text).unwrap().layout_path(), PathBuf::from(want));
        }
    }
}
