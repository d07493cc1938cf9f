//! Platform and Buildpack API versions; every version gate of the program is a named predicate here.
//!
//! No version string may stand anywhere else in the code. A predicate says *what* changed, and links the clause.

use std::fmt;

use crate::error::{Error, Failure, Result};

/// A `<major>.<minor>` version as the specification writes it. As in the reference a leading `v` and leading
/// zeros are accepted: `v0.9` and `0.010` are versions (spec-and-reference.md B24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u64,
    pub minor: u64,
}

impl ApiVersion {
    pub const fn new(major: u64, minor: u64) -> Self {
        Self { major, minor }
    }

    /// `None` if the text is not a version.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |s: &str| -> Option<u64> {
            (!s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok()).flatten()
        };
        let text = text.strip_prefix('v').unwrap_or(text);
        match text.split_once('.') {
            Some((major, minor)) => Some(Self::new(digits(major)?, digits(minor)?)),
            None => Some(Self::new(digits(text)?, 0)),
        }
    }
}

/// Gates by the version that an image names, which this program need not support.
impl ApiVersion {
    /// 0.12: targets instead of stacks.
    pub fn has_targets(self) -> bool {
        self >= Self::new(0, 12)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

macro_rules! api {
    ($(#[$doc:meta])* $name:ident, $supported:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ApiVersion);

        impl $name {
            /// All supported versions, ascending.
            pub const SUPPORTED: &'static [ApiVersion] = $supported;

            /// The version, if this program supports it.
            pub fn supported(version: ApiVersion) -> Option<Self> {
                Self::SUPPORTED.contains(&version).then_some(Self(version))
            }

            pub fn latest() -> Self {
                Self(Self::SUPPORTED[Self::SUPPORTED.len() - 1])
            }

            pub fn version(self) -> ApiVersion {
                self.0
            }

            const fn since(self, minor: u64) -> bool {
                self.0.major > 0 || self.0.minor >= minor
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

api! {
    /// A supported Platform API version (`CNB_PLATFORM_API`).
    PlatformApi,
    &[
        ApiVersion::new(0, 7), ApiVersion::new(0, 8), ApiVersion::new(0, 9), ApiVersion::new(0, 10), ApiVersion::new(0, 11),
        ApiVersion::new(0, 12), ApiVersion::new(0, 13), ApiVersion::new(0, 14), ApiVersion::new(0, 15),
    ]
}

api! {
    /// A supported Buildpack API version (`api` in buildpack.toml and extension.toml).
    BuildpackApi,
    &[
        ApiVersion::new(0, 7), ApiVersion::new(0, 8), ApiVersion::new(0, 9), ApiVersion::new(0, 10), ApiVersion::new(0, 11),
        ApiVersion::new(0, 12),
    ]
}

impl PlatformApi {
    /// The version that the platform asks for in `CNB_PLATFORM_API`; [`Failure::PlatformApi`] if there is none, or none that
    /// this program supports (platform.md, "Platform API Compatibility").
    pub fn requested(value: Option<&str>) -> Result<Self> {
        let fail = |text: String| Error::new(text).or_failure(Failure::PlatformApi);
        let Some(text) = value.filter(|v| !v.trim().is_empty()) else {
            return Err(fail(
                "failed to get platform API version; please set 'CNB_PLATFORM_API' to specify the desired platform API version"
                    .into(),
            ));
        };
        let version = ApiVersion::parse(text).ok_or_else(|| fail(format!("failed to parse platform API '{text}'")))?;
        Self::supported(version).ok_or_else(|| {
            fail(format!("failed to set platform API: platform API version '{text}' is incompatible with the lifecycle"))
        })
    }
}

impl BuildpackApi {
    /// The version that a module's descriptor or group.toml asks for. `kind` is `Buildpack` or `Extension`, `name` the
    /// module's `<id>@<version>`; [`Failure::BuildpackApi`] if this program does not support the version.
    pub fn requested(kind: &str, name: &str, text: &str) -> Result<Self> {
        let fail = |text: String| Error::new(text).or_failure(Failure::BuildpackApi);
        // `<nil>` stands where the reference prints it; platforms' tests look for these words (compatibility.md section 4).
        let version = ApiVersion::parse(text).ok_or_else(|| {
            let kind = kind.to_lowercase();
            fail(format!("failed to parse buildpack API '<nil>' for {kind} '{name}': '{text}' is not a version"))
        })?;
        Self::supported(version).ok_or_else(|| {
            fail(format!(
                "failed to set API for {kind} '{name}': buildpack API version '{text}' is incompatible with the lifecycle"
            ))
        })
    }
}

/// Gates by Platform API.
impl PlatformApi {
    /// 0.8: SBOM files of buildpacks are collected, cached, restored and exported.
    pub fn has_sbom(self) -> bool {
        self.since(8)
    }

    /// 0.9: `SOURCE_DATE_EPOCH` sets the creation time of the image.
    pub fn has_source_date_epoch(self) -> bool {
        self.since(9)
    }

    /// 0.9: the legacy BOM goes to files below `<layers>/sbom` and no longer into label, report and metadata.toml.
    pub fn bom_is_in_files(self) -> bool {
        self.since(9)
    }

    /// 0.9: the analyzer knows `-launch-cache` and `-skip-layers`.
    pub fn has_analyzer_launch_cache(self) -> bool {
        self.since(9)
    }

    /// 0.10: a process command is an array in metadata.toml and in the build metadata label.
    pub fn command_is_array(self) -> bool {
        self.since(10)
    }

    /// 0.10: a creator that skips the restore phase still restores the SBOM of cached layers (spec-and-reference.md B26).
    pub fn restores_sbom_without_layers(self) -> bool {
        self.since(10)
    }

    /// 0.10: image extensions.
    pub fn has_extensions(self) -> bool {
        self.since(10)
    }

    /// 0.11: SBOM files of lifecycle and launcher are copied into the image.
    pub fn has_lifecycle_sbom(self) -> bool {
        self.since(11)
    }

    /// 0.11: `-build-config`.
    pub fn has_build_config(self) -> bool {
        self.since(11)
    }

    /// 0.11: the rebaser takes the image to rebase from `-previous-image`.
    pub fn has_rebase_of_previous_image(self) -> bool {
        self.since(11)
    }

    /// 0.12: the rebaser knows `-force`.
    pub fn has_forced_rebase(self) -> bool {
        self.since(12)
    }

    /// 0.12: the restorer knows `-daemon`, `-layout`, `-layout-dir` and `-generated`.
    pub fn has_restorer_stores(self) -> bool {
        self.since(12)
    }

    /// 0.12: run.toml, target data, layout export, run image extensions, history entries name their layer.
    pub fn has_run_toml(self) -> bool {
        self.since(12)
    }

    /// 0.12: targets instead of stacks.
    pub fn has_targets(self) -> bool {
        self.since(12)
    }

    /// 0.12: `created_by` of history entries is filled in.
    pub fn has_history(self) -> bool {
        self.since(12)
    }

    /// 0.12: export to an OCI layout directory.
    pub fn has_layout(self) -> bool {
        self.since(12)
    }

    /// 0.12: run.Dockerfile may extend the run image, extension layers are exported.
    pub fn has_run_image_extension(self) -> bool {
        self.since(12)
    }

    /// 0.13: `-insecure-registry`.
    pub fn has_insecure_registries(self) -> bool {
        self.since(13)
    }

    /// 0.13: a replaced cache image is left alone instead of deleted.
    pub fn keeps_replaced_cache_image(self) -> bool {
        self.since(13)
    }

    /// 0.13: extensions are no longer experimental and may ship contexts.
    pub fn has_extension_contexts(self) -> bool {
        self.since(13)
    }

    /// 0.14: the restorer reads run.toml and checks the run image of analyzed.toml once more.
    pub fn rechecks_run_image(self) -> bool {
        self.since(14)
    }

    /// 0.14: a cached launch layer that the previous image does not have is restored from the cache.
    pub fn restores_launch_layers_missing_in_image(self) -> bool {
        self.since(14)
    }

    /// 0.15: execution environments.
    pub fn has_exec_env(self) -> bool {
        self.since(15)
    }

    /// 0.15: system buildpacks.
    pub fn has_system_buildpacks(self) -> bool {
        self.since(15)
    }
}

/// Gates by Buildpack API.
impl BuildpackApi {
    /// 0.8: inputs of bin/detect and bin/build also come as `CNB_*` variables.
    pub fn has_input_variables(self) -> bool {
        self.since(8)
    }

    /// 0.8: processes may have a working directory.
    pub fn has_process_working_dir(self) -> bool {
        self.since(8)
    }

    /// 0.9: a process command is an array, always direct, and its default arguments are overridable.
    pub fn command_is_array(self) -> bool {
        self.since(9)
    }

    /// 0.10: targets and `CNB_TARGET_*`.
    pub fn has_targets(self) -> bool {
        self.since(10)
    }

    /// 0.12: execution environments.
    pub fn has_exec_env(self) -> bool {
        self.since(12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_reference_parses() {
        assert_eq!(ApiVersion::parse("0.12"), Some(ApiVersion::new(0, 12)));
        assert_eq!(ApiVersion::parse("v0.9"), Some(ApiVersion::new(0, 9)));
        assert_eq!(ApiVersion::parse("0.010"), Some(ApiVersion::new(0, 10)));
        assert_eq!(ApiVersion::parse("1"), Some(ApiVersion::new(1, 0)));
        for bad in ["", "v", ".", "0.", ".1", "0.1.2", " 0.12", "0.x", "+0.1"] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad:?}");
        }
    }
}
