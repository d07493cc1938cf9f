//! How a registry is reached, found out once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use tracing::trace;

use super::answer::{challenge_of, describe, kind_of};
use super::challenge::Challenge;
use super::fault::{Fault, Kind};
use super::hosts::{Way, ways};
use super::request::Request;
use super::token::Tokens;
use super::transport::{SILENCE, Transport, lock};

/// A registry that answered.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub base: Url,
    pub way: Way,
    pub challenge: Mutex<Challenge>,
    pub tokens: tokio::sync::Mutex<Tokens>,
}

impl Transport {
    /// The registry as it was found to be reached, asked for once.
    pub(super) async fn endpoint(&self, request: &Request) -> Result<Arc<Endpoint>, Fault> {
        let cell = Arc::clone(lock(&self.endpoints).entry(request.place.clone()).or_default());
        cell.get_or_try_init(|| self.ping(request)).await.map(Arc::clone)
    }

    async fn ping(&self, request: &Request) -> Result<Arc<Endpoint>, Fault> {
        let place = &request.place;
        let insecure = self.options.insecure.contains(&place.host);
        let ways = match place.https {
            None => ways(&place.host, insecure),
            Some(true) if insecure => &[Way::HttpsUnverified][..],
            Some(true) => &[Way::Https],
            Some(false) => &[Way::Http],
        };
        let mut first: Option<Fault> = None;
        for (index, way) in ways.iter().enumerate() {
            let more = index + 1 < ways.len();
            match self.ping_by(request, *way, more).await {
                Ok(endpoint) => return Ok(Arc::new(endpoint)),
                Err(fault) => {
                    first = Some(match first {
                        None => fault,
                        Some(before) => Fault {
                            detail: format!("{}; {}: {}", before.detail, fault.request, fault.detail),
                            ..worse(before, &fault)
                        },
                    });
                }
            }
        }
        Err(first.unwrap_or_else(|| request.fault_at(String::new(), "no way to reach the registry".to_owned(), Kind::Permanent)))
    }

    /// `GET /v2/` by one way. `more`: there is another way if this one does not work.
    async fn ping_by(&self, request: &Request, way: Way, more: bool) -> Result<Endpoint, Fault> {
        let text = format!("{}://{}/v2/", way.scheme(), request.place.host);
        let failed =
            |detail: String, kind| Fault { request: format!("GET {text}"), ..request.fault_at(String::new(), detail, kind) };
        let url: Url = text.parse().map_err(|e| failed(format!("{e}"), Kind::Permanent))?;
        let client = self.client(request, way, &request.place.host)?;
        // A firewall may swallow what is not open; do not wait for it too long if there is another way.
        let limit = if more { Duration::from_secs(5) } else { SILENCE }.min(self.options.patience);
        let response = match tokio::time::timeout(limit, client.get(url.clone()).send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(describe(&error), kind_of(&error))),
            Err(_) => return Err(failed("no answer in time".to_owned(), Kind::Connection)),
        };
        let status = response.status();
        trace!(url = %url, status = status.as_u16(), "ping");
        if more && way == Way::Http && status == StatusCode::BAD_REQUEST {
            // What a server says that wants TLS.
            return Err(failed("400 Bad Request".to_owned(), Kind::Permanent));
        }
        if Kind::of(status).is_transient() {
            let fault = request.refused(&url, response, String::new()).await;
            return Err(Fault { request: format!("GET {url}"), ..fault });
        }
        // A redirect may have told a better place; others would be told again and again.
        let mut base = response.url().clone();
        if base.host_str() != url.host_str() || !base.path().starts_with("/v2") {
            base = url;
        }
        base.set_path("/v2/");
        base.set_query(None);
        let way = match way {
            Way::Http if base.scheme() == "https" && !self.options.insecure.contains(&request.place.host) => Way::Https,
            Way::Http if base.scheme() == "https" => Way::HttpsUnverified,
            way => way,
        };
        let challenge = if status == StatusCode::UNAUTHORIZED { challenge_of(&response) } else { Challenge::None };
        let _ = response.bytes().await;
        Ok(Endpoint { base, way, challenge: Mutex::new(challenge), tokens: tokio::sync::Mutex::default() })
    }
}

/// Both ways to reach the registry failed: try again if that may help for one of them.
fn worse(before: Fault, other: &Fault) -> Fault {
    let kind = if before.kind.is_transient() { before.kind } else { other.kind };
    Fault { kind, retry_after: before.retry_after.or(other.retry_after), ..before }
}
