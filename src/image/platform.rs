//! Platforms of images: choosing one out of a multi-platform index.

use serde_json::Value;

use super::manifest::Descriptor;
use crate::bail;
use crate::error::Result;

/// What an image runs on. An empty variant takes any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// That of this program, in the names that images use.
    pub fn host() -> Self {
        let architecture = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else if cfg!(target_arch = "aarch64") {
            "arm64"
        } else if cfg!(target_arch = "arm") {
            "arm"
        } else if cfg!(target_arch = "s390x") {
            "s390x"
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            "ppc64le"
        } else {
            "386"
        };
        Self::new("linux", architecture, "")
    }

    /// The manifest for this platform in an index; the first that fits. `None` if there is none.
    ///
    /// # Errors
    /// If the index is no list of manifests.
    pub fn choose(&self, index: &Value) -> Result<Option<Descriptor>> {
        let Some(manifests) = index["manifests"].as_array() else { bail!("image index has no list of manifests") };
        manifests.iter().find(|manifest| self.fits(&manifest["platform"])).map(Descriptor::from_json).transpose()
    }

    /// A manifest without platform is taken for linux/amd64, as other tools do.
    fn fits(&self, platform: &Value) -> bool {
        let is = |key: &str, want: &str, default: &str| platform[key].as_str().unwrap_or(default) == want;
        let default = if platform.is_object() { ["", ""] } else { ["linux", "amd64"] };
        is("os", &self.os, default[0])
            && is("architecture", &self.architecture, default[1])
            && (self.variant.is_empty() || is("variant", &self.variant, ""))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chooses_by_os_architecture_and_variant() {
        let manifest = |n: u8, platform: Value| {
            let mut json = Descriptor::new("m", &super::super::Digest::from_sha256(&[n; 32]), 1).json;
            json["platform"] = platform;
            json
        };
        let index = json!({"manifests": [
            manifest(1, json!({"os": "linux", "architecture": "arm", "variant": "v6"})),
            manifest(2, json!({"os": "linux", "architecture": "arm", "variant": "v7"})),
            manifest(3, json!({"os": "windows", "architecture": "amd64"})),
            manifest(4, Value::Null),
        ]});
        let chosen = |platform: Platform| platform.choose(&index).unwrap().map(|d| d.digest.hex().get(..2).unwrap().to_owned());
        assert_eq!(chosen(Platform::new("linux", "arm", "v7")).as_deref(), Some("02"));
        assert_eq!(chosen(Platform::new("linux", "arm", "")).as_deref(), Some("01"));
        assert_eq!(chosen(Platform::new("linux", "amd64", "")).as_deref(), Some("04"));
        assert_eq!(chosen(Platform::new("linux", "s390x", "")), None);
        assert!(Platform::host().choose(&json!({})).is_err());
    }
}
