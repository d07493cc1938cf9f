//! Which texts our own inputs accept (the specification's inputs are read where they are used).

/// `build` or `run`.
pub fn is_extend_kind(text: &str) -> bool {
    matches!(text, "build" | "run")
}

/// What the build does about changes in layers of earlier buildpacks.
pub fn is_layer_protection(text: &str) -> bool {
    matches!(text, "off" | "warn" | "error" | "enforce" | "enforce-strict" | "discard")
}

/// `<buildpack id>:<layer glob>[,…]`
pub fn is_layer_protection_allow(text: &str) -> bool {
    text.split(',').all(|item| item.split_once(':').is_some_and(|(id, glob)| !id.trim().is_empty() && !glob.trim().is_empty()))
}

/// A codec with its level.
pub fn is_compression(text: &str) -> bool {
    let (codec, level) = text.split_once(':').unwrap_or((text, "1"));
    let best = match codec {
        "gzip" => 9,
        "zstd" => 19,
        _ => return false,
    };
    is_number(level) && level.parse().is_ok_and(|n: u32| (1..=best).contains(&n))
}

/// `host=https://mirror[;host=…]`
pub fn is_registry_mirrors(text: &str) -> bool {
    text.split(';').all(|item| {
        let Some((host, mirror)) = item.trim().split_once('=') else { return item.trim().is_empty() };
        let rest = mirror.strip_prefix("https://").or_else(|| mirror.strip_prefix("http://"));
        !host.trim().is_empty() && rest.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
    })
}

/// A number of seconds above 0.
pub fn is_seconds(text: &str) -> bool {
    is_number(text) && text.parse().is_ok_and(|n: u32| n > 0)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_levels() {
        for good in ["gzip", "gzip:9", "zstd", "zstd:19"] {
            assert!(is_compression(good), "{good}");
        }
        for bad in ["", "gzip:", "gzip:0", "gzip:10", "zstd:20", "zstd:+1", "lz4", "gzip:1:1"] {
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
        for bad in ["a/b", ":x", "a:", "a:b,"] {
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
