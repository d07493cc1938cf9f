//! What the platform wants to happen when a buildpack changes what another one left (layer-protection-and-order.md §4).

use crate::bail;
use crate::error::Result;
use crate::layers::glob;

/// `-layer-protection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is looked at.
    #[default]
    Off,
    /// Changes are told; the image gets what is on disk at the end.
    Warn,
    /// A change ends the build.
    Error,
    /// The kernel refuses changes; what it cannot refuse ends the build.
    Enforce {
        /// Without the kernel's help there is no build, instead of one with [`Mode::Error`].
        strict: bool,
    },
    /// Changes are told; the image gets each layer as its buildpack left it.
    Discard,
}

/// `-layer-protection` and `CNB_LAYER_PROTECTION_ALLOW`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Buildpack id and pattern of layers that others may change.
    allowed: Vec<(String, String)>,
}

impl Policy {
    pub fn parse(mode: &str, allow: &str) -> Result<Self> {
        let mode = match mode {
            "off" | "" => Mode::Off,
            "warn" => Mode::Warn,
            "error" => Mode::Error,
            "enforce" => Mode::Enforce { strict: false },
            "enforce-strict" => Mode::Enforce { strict: true },
            "discard" => Mode::Discard,
            _ => bail!("layer protection '{mode}' is none of off, warn, error, enforce, enforce-strict, discard"),
        };
        let mut allowed = Vec::new();
        for item in allow.split(',').filter(|item| !item.is_empty()) {
            match item.trim().split_once(':') {
                Some((id, pattern)) if glob::matches(pattern.as_bytes(), b"").is_ok() => {
                    allowed.push((id.to_owned(), pattern.to_owned()));
                }
                _ => bail!("'{item}' is no <buildpack id>:<layer glob>"),
            }
        }
        Ok(Self { mode, allowed })
    }

    /// Whether the platform lets everybody change the layer.
    pub fn allows(&self, buildpack_id: &str, layer: &[u8]) -> bool {
        let matches = |pattern: &str| glob::matches(pattern.as_bytes(), layer).unwrap_or(false);
        self.allowed.iter().any(|(id, pattern)| id == buildpack_id && matches(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_layers_are_named_by_buildpack_and_pattern() {
        let policy = Policy::parse("enforce-strict", "a/b:x*, c:y").unwrap();
        assert_eq!(policy.mode, Mode::Enforce { strict: true });
        for (id, layer, allowed) in [("a/b", "x1", true), ("a/b", "y", false), ("c", "y", true), ("c", "x", false)] {
            assert_eq!(policy.allows(id, layer.as_bytes()), allowed, "{id}:{layer}");
        }
        for bad in [("on", ""), ("warn", "a"), ("warn", "a:[")] {
            assert!(Policy::parse(bad.0, bad.1).is_err(), "{bad:?}");
        }
    }
}
