//! Inputs of everything that talks to registries.

use std::time::Duration;

use reqwest::{NoProxy, Proxy, Url};
use rustls::pki_types::CertificateDer;

use super::hosts::Insecure;
use super::mirrors::Mirrors;
use super::tls;
use crate::bail;
use crate::error::{Context, Error, Failure, Result};
use crate::layers::compression::Compression;
use crate::process::Invocation;

/// What variables and flags say about networks. Files are read when this is made, while the process may still be root.
#[derive(Debug)]
pub(super) struct Options {
    pub insecure: Insecure,
    pub mirrors: Mirrors,
    /// Trusted besides the system's.
    pub certificates: Vec<CertificateDer<'static>>,
    pub proxies: Proxies,
    /// Time without progress after which a transfer is given up.
    pub patience: Duration,
    pub compression: Compression,
}

impl Options {
    /// # Errors
    /// Bad values of `CNB_REGISTRY_MIRRORS`, `CNB_REGISTRY_CA`, `CNB_REGISTRY_TIMEOUT`, `CNB_COMPRESSION` (exit 3).
    pub(super) fn read(invocation: &Invocation, insecure: &[String]) -> Result<Self> {
        Self::try_read(invocation, insecure).map_err(|e| e.or_failure(Failure::InvalidArguments))
    }

    fn try_read(invocation: &Invocation, insecure: &[String]) -> Result<Self> {
        let var = |name: &str| invocation.non_empty_var(name);
        let certificates = match var("CNB_REGISTRY_CA") {
            Some(path) => tls::read_certificates(path.as_ref()).context("CNB_REGISTRY_CA")?,
            None => Vec::new(),
        };
        let patience = match var("CNB_REGISTRY_TIMEOUT") {
            Some(text) => match text.parse::<u64>() {
                Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
                _ => bail!("CNB_REGISTRY_TIMEOUT is {text:?}, not a number of seconds from 1 on"),
            },
            None => Duration::from_secs(600),
        };
        let compression = match var("CNB_COMPRESSION") {
            Some(text) => Compression::parse(text)
                .ok_or_else(|| Error::new(format!("CNB_COMPRESSION is {text:?}, not one of {}", Compression::VALUES)))?,
            None => Compression::default(),
        };
        Ok(Self {
            insecure: Insecure::new(insecure),
            mirrors: Mirrors::parse(var("CNB_REGISTRY_MIRRORS").unwrap_or_default())?,
            certificates,
            proxies: Proxies::read(invocation)?,
            patience,
            compression,
        })
    }
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, or in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Option<String>,
}

impl Proxies {
    fn read(invocation: &Invocation) -> Result<Self> {
        let either = |upper: &str, lower: &str| {
            invocation.non_empty_var(upper).or_else(|| invocation.non_empty_var(lower)).map(str::to_owned)
        };
        let url = |upper: &str, lower: &str| -> Result<Option<Url>> {
            let Some(text) = either(upper, lower) else { return Ok(None) };
            let full = if text.contains("://") { text } else { format!("http://{text}") };
            // The text may hold a password.
            full.parse().map(Some).map_err(|_| Error::new(format!("{upper} is not the URL of a proxy")))
        };
        Ok(Self {
            http: url("HTTP_PROXY", "http_proxy")?,
            https: url("HTTPS_PROXY", "https_proxy")?,
            except: either("NO_PROXY", "no_proxy"),
        })
    }

    /// As reqwest wants them.
    pub(super) fn list(&self) -> Result<Vec<Proxy>> {
        let except = || self.except.as_deref().and_then(NoProxy::from_string);
        let failed = |_| Error::new("a proxy cannot be used");
        let http = self.http.clone().map(|url| Proxy::http(url).map_err(failed));
        let https = self.https.clone().map(|url| Proxy::https(url).map_err(failed));
        http.into_iter().chain(https).map(|proxy| Ok(proxy?.no_proxy(except()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options> {
        let env = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Options::read(&Invocation { env, ..Invocation::default() }, &[])
    }

    #[test]
    fn bad_values_exit_with_3_and_name_the_good_ones() {
        for (name, value, want) in [
            ("CNB_REGISTRY_TIMEOUT", "0", "CNB_REGISTRY_TIMEOUT is \"0\", not a number of seconds from 1 on"),
            ("CNB_REGISTRY_TIMEOUT", "1m", "CNB_REGISTRY_TIMEOUT is \"1m\", not a number of seconds from 1 on"),
            ("CNB_COMPRESSION", "xz", "CNB_COMPRESSION is \"xz\", not one of gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19"),
            ("CNB_REGISTRY_CA", "/no/such", "CNB_REGISTRY_CA: open /no/such: no such file or directory"),
            ("https_proxy", "http://[", "HTTPS_PROXY is not the URL of a proxy"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (want, 3));
        }
    }

    #[test]
    fn proxies_in_both_cases() {
        let options = read(&[("HTTP_PROXY", "proxy:3128"), ("https_proxy", "http://u:p@other:1"), ("NO_PROXY", "a.io")]).unwrap();
        assert_eq!(options.proxies.http.as_ref().unwrap().as_str(), "http://proxy:3128/");
        assert_eq!(options.proxies.https.as_ref().unwrap().host_str(), Some("other"));
        assert_eq!(options.proxies.list().unwrap().len(), 2);
        assert_eq!(read(&[("HTTP_PROXY", "")]).unwrap().proxies.list().unwrap().len(), 0);
    }
}
