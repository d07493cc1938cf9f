//! Which texts our own inputs accept. The modules that use an input read it; here it is asked before anything begins.

use crate::layers::compression::Compression;
use crate::phase::build::Policy;
use crate::phase::extend::ImageKind;
use crate::registry;

/// `build` or `run`.
pub fn is_extend_kind(text: &str) -> bool {
    ImageKind::parse(text).is_some()
}

/// What the build does about changes in layers of earlier buildpacks.
pub fn is_layer_protection(text: &str) -> bool {
    Policy::parse(text, "").is_ok()
}

/// `<buildpack id>:<layer glob>[,…]`
pub fn is_layer_protection_allow(text: &str) -> bool {
    Policy::parse("off", text).is_ok()
}

/// A codec with its level.
pub fn is_compression(text: &str) -> bool {
    Compression::parse(text).is_some()
}

/// `host=https://mirror[;host=…]`
pub fn is_registry_mirrors(text: &str) -> bool {
    registry::are_mirrors(text)
}

/// A number of seconds above 0.
pub fn is_seconds(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse().is_ok_and(|n: u32| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_levels() {
        for good in ["gzip", "gzip:9", "zstd", "zstd:19"] {
            assert!(is_compression(good), "{good}");
        }
        for bad in ["", "gzip:", "gzip:0", "gzip:10", "zstd:20", "zstd:+1", "gzip:01", "lz4", "gzip:1:1"] {
            assert!(!is_compression(bad), "{bad}");
        }
    }

    #[test]
    fn mirrors_name_host_and_scheme() {
        for good in ["docker.io=https://mirror.example", "a=http://b:5000/x; c=https://d;"] {
            assert!(is_registry_mirrors(good), "{good}");
        }
        for bad in ["docker.io", "a=b", "=https://b", "a=https://"] {
            assert!(!is_registry_mirrors(bad), "{bad}");
        }
    }

    #[test]
    fn allowed_layers_name_buildpack_and_layer() {
        assert!(is_layer_protection_allow("a/b:x*,c:*"));
        for bad in ["a/b", "a/b:[", "a:b,c"] {
            assert!(!is_layer_protection_allow(bad), "{bad}");
        }
    }

    #[test]
    fn timeouts_are_whole_seconds() {
        assert!(is_seconds("1"));
        for bad in ["", "0", "-1", "1.5", "1s", "99999999999"] {
            assert!(!is_seconds(bad), "{bad}");
        }
    }
}
