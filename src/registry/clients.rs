//! HTTP clients: one pool of connections per way of reaching a registry.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use rustls::ClientConfig;

use super::hosts::{Way, host_of, is_loopback};
use super::options::Options;
use super::tls;
use crate::error::{Error, Result};

/// How long it may take to get a connection.
const CONNECT: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By verified or not, with proxies or not. Reading the system's certificates takes time, so nothing is built in advance.
    built: [OnceLock<Client>; 4],
}

impl Clients {
    /// The client for a host. This machine is never reached by way of a proxy.
    pub(super) fn get(&self, way: Way, host: &str, options: &Options) -> Result<&Client> {
        let direct = is_loopback(host_of(host));
        // Plain http may be redirected to https; only what is insecure anyway is not verified there.
        let verify = way != Way::HttpsUnverified;
        let cell = &self.built[usize::from(verify) * 2 + usize::from(direct)];
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let tls = if verify { tls::verified(&options.certificates)? } else { tls::unverified()? };
        let client = build(tls, direct, options)?;
        Ok(cell.get_or_init(|| client))
    }
}

fn build(tls: ClientConfig, direct: bool, options: &Options) -> Result<Client> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .connect_timeout(CONNECT)
        .user_agent(concat!("lifecycle/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(redirect))
        // The list is made from the environment that this program was given.
        .no_proxy();
    if !direct {
        for proxy in options.proxies.list()? {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().map_err(|e| Error::new(format!("set up HTTP client: {e}")))
}

/// Never from https to plain http: what was asked for in private is not told in public.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from_https = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > 10 {
        attempt.error("too many redirects")
    } else if from_https && attempt.url().scheme() == "http" {
        attempt.error("redirect from https to http")
    } else {
        attempt.follow()
    }
}

/// Whether two URLs have the same scheme, host and port: only then are credentials for one good for the other.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}
