//! `CNB_REGISTRY_MIRRORS`: other places to read from (extensions.md; buildpacks/rfcs pull request 285).

use reqwest::Url;

use crate::bail;
use crate::error::{Error, Result};
use crate::image::reference::DEFAULT_REGISTRY;

/// `host=https://mirror[;host=…]`, in the order in which they are tried. They serve reads only and appear in no document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mirrors(Vec<(String, Mirror)>);

/// One place to read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub https: bool,
    /// Host and port.
    pub host: String,
    /// Put in front of repositories; empty or with a slash at its end.
    pub prefix: String,
}

impl Mirrors {
    pub(super) fn parse(text: &str) -> Result<Self> {
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(parse_one).collect::<Result<_>>().map(Self)
    }

    /// The mirrors of a registry.
    pub(super) fn of<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a Mirror> {
        self.0.iter().filter(move |(host, _)| host.eq_ignore_ascii_case(registry)).map(|(_, mirror)| mirror)
    }
}

fn parse_one(part: &str) -> Result<(String, Mirror)> {
    let expected = "expected host=https://mirror[;host=…]";
    let Some((host, mirror)) = part.split_once('=') else { bail!("CNB_REGISTRY_MIRRORS holds {part:?}; {expected}") };
    let (host, mirror) = (host.trim(), mirror.trim());
    let url: Url = mirror.parse().map_err(|_| Error::new(format!("CNB_REGISTRY_MIRRORS holds {mirror:?}; {expected}")))?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => bail!("CNB_REGISTRY_MIRRORS holds {mirror:?}; {expected} or http://mirror"),
    };
    if host.is_empty() || !url.has_host() || url.query().is_some() || !url.username().is_empty() {
        bail!("CNB_REGISTRY_MIRRORS: {expected}, without credentials or query");
    }
    let prefix = url.path().trim_matches('/');
    let prefix = prefix.strip_prefix("v2/").unwrap_or(if prefix == "v2" { "" } else { prefix });
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let registry = if host == "docker.io" { DEFAULT_REGISTRY } else { host };
    Ok((registry.to_owned(), Mirror { https, host: format!("{}{port}", url.host_str().unwrap_or_default()), prefix }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_lists() {
        let mirrors =
            Mirrors::parse("docker.io=https://m.io; gcr.io:443=http://10.0.0.1:5000/v2/proxy/gcr ;docker.io=https://m2.io/v2/")
                .unwrap();
        let of = |registry: &'static str| {
            mirrors.of(registry).map(|m| (m.https, m.host.as_str(), m.prefix.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(of("index.docker.io"), [(true, "m.io", ""), (true, "m2.io", "")]);
        assert_eq!(of("gcr.io:443"), [(false, "10.0.0.1:5000", "proxy/gcr/")]);
        assert!(of("gcr.io").is_empty());
        assert_eq!(Mirrors::parse("").unwrap(), Mirrors::default());
    }

    #[test]
    fn refuses_nonsense() {
        for bad in ["m.io", "a.io=m.io", "a.io=ftp://m.io", "=https://m.io", "a.io=https://user:pw@m.io", "a.io=https://"] {
            let error = Mirrors::parse(bad).unwrap_err().to_string();
            assert!(error.contains("expected host=https://mirror") && !error.contains(":pw@m"), "{bad}: {error}");
        }
    }
}
