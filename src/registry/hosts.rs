//! Hosts of registries: which are spoken to over http, which over https, and in what order that is tried.

use std::net::{IpAddr, Ipv4Addr};

/// How a registry may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Https,
    /// Whatever certificate the registry shows.
    HttpsUnverified,
    Http,
}

impl Way {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Https | Self::HttpsUnverified => "https",
            Self::Http => "http",
        }
    }
}

/// The ways to try, best first. Plain http is for this machine, private addresses (RFC 1918), `*.local`, and for what the
/// platform calls insecure; everything else is https only.
pub(super) fn ways(registry: &str, insecure: bool) -> &'static [Way] {
    let host = host_of(registry);
    match (insecure, is_loopback(host), is_private(host)) {
        (false, true, _) => &[Way::Http, Way::Https],
        (true, true, _) => &[Way::Http, Way::HttpsUnverified],
        (true, ..) => &[Way::HttpsUnverified, Way::Http],
        (false, false, true) => &[Way::Https, Way::Http],
        (false, false, false) => &[Way::Https],
    }
}

/// Without port and brackets.
pub(super) fn host_of(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_private(host: &str) -> bool {
    host.to_ascii_lowercase().ends_with(".local") || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_private())
}

/// The registries that the platform calls insecure (`-insecure-registry`). Empty values mean nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Insecure(Vec<String>);

impl Insecure {
    pub(super) fn new(values: &[String]) -> Self {
        let registries = values.iter().flat_map(|v| v.split(',')).map(str::trim).filter(|v| !v.is_empty());
        Self(registries.map(|v| v.trim_start_matches("http://").trim_end_matches('/').to_owned()).collect())
    }

    /// By host and port, not by a prefix of the name (spec-and-reference.md A2). A value without port means the host on any
    /// port.
    pub(super) fn contains(&self, registry: &str) -> bool {
        self.0.iter().any(|value| {
            let value = if value == "docker.io" { crate::image::reference::DEFAULT_REGISTRY } else { value };
            value.eq_ignore_ascii_case(registry) || (!has_port(value) && value.eq_ignore_ascii_case(without_port(registry)))
        })
    }
}

fn without_port(registry: &str) -> &str {
    let end_of_host = registry.rfind(']').unwrap_or(0);
    registry.rfind(':').filter(|colon| *colon >= end_of_host).map_or(registry, |colon| &registry[..colon])
}

fn has_port(registry: &str) -> bool {
    without_port(registry).len() < registry.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_spoken_to_over_http() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "x.localhost:80"] {
            assert_eq!(ways(local, false)[0], Way::Http, "{local}");
        }
        for private in ["10.1.2.3", "172.16.0.1:5000", "172.31.255.1", "192.168.0.1", "registry.local", "Registry.LOCAL:80"] {
            assert_eq!(ways(private, false), [Way::Https, Way::Http], "{private}");
        }
        for public in ["index.docker.io", "172.32.0.1", "11.0.0.1", "localhost.example", "xlocal", "[fe80::1]:5000"] {
            assert_eq!(ways(public, false), [Way::Https], "{public}");
            assert_eq!(ways(public, true), [Way::HttpsUnverified, Way::Http], "{public}");
        }
    }

    #[test]
    fn insecure_registries_are_compared_by_host_and_port() {
        let named = Insecure::new(&["registry.example:5000, other.example".to_owned(), String::new(), ",".to_owned()]);
        assert!(named.contains("registry.example:5000"));
        assert!(named.contains("other.example:1"));
        assert!(named.contains("Other.example"));
        for other in ["registry.example", "registry.example:50001", "registry.example:500", "xother.example", "index.docker.io"] {
            assert!(!named.contains(other), "{other}");
        }
        assert!(!Insecure::new(&[String::new()]).contains("a.io"));
        assert!(Insecure::new(&["[::1]".to_owned()]).contains("[::1]:5000"));
    }
}
