//! A request as a value, before it is known how its registry is reached.

use std::time::Duration;

use hyper::body::Bytes;
use reqwest::{Method, Response, Url};

use super::answer::{retry_after, without_query};
use super::fault::{Fault, Kind, body_message};
use super::token::Scope;
use super::transport::{SILENCE, SILENCE_AT_END};

/// Where a request goes: a registry by its name, or a mirror of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Host and port.
    pub host: String,
    /// Mirrors say themselves how they are reached.
    pub https: Option<bool>,
}

impl Place {
    pub(super) fn registry(host: &str) -> Self {
        Self { host: host.to_owned(), https: None }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// For messages: `read manifest of r/app:latest`.
    pub act: String,
    pub place: Place,
    pub method: Method,
    pub target: Target,
    /// First the repository that the request is about.
    pub scopes: Vec<Scope>,
    pub headers: Vec<(reqwest::header::HeaderName, String)>,
    pub body: Option<(Bytes, &'static str)>,
    /// Statuses besides 2xx that the caller wants to see.
    pub accept: &'static [u16],
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Below `/v2/`.
    Path(String),
    /// What a registry named in `Location`.
    Url(Url),
}

/// A body that is made while it is sent.
#[derive(Debug)]
pub(super) struct Stream {
    pub body: reqwest::Body,
    /// `None`: sent in chunks.
    pub length: Option<u64>,
    pub silence: super::push::Silence,
}

impl Request {
    pub(super) fn repository(&self) -> &str {
        self.scopes.first().map_or("", |scope| &scope.repository)
    }

    pub(super) fn silence(&self) -> Duration {
        let ends_upload = self.method == Method::PUT && matches!(self.target, Target::Url(_));
        if ends_upload { SILENCE_AT_END } else { SILENCE }
    }

    pub(super) fn fault(&self, url: &Url, detail: String, kind: Kind) -> Fault {
        self.fault_at(without_query(url), detail, kind)
    }

    pub(super) fn fault_at(&self, url: String, detail: String, kind: Kind) -> Fault {
        Fault {
            act: self.act.clone(),
            request: format!("{} {url}", self.method),
            status: None,
            detail,
            attempts: 1,
            credentials: String::new(),
            kind,
            retry_after: None,
        }
    }

    pub(super) async fn refused(&self, url: &Url, response: Response, credentials: String) -> Fault {
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = tokio::time::timeout(Duration::from_secs(10), response.bytes()).await;
        let detail = body.ok().and_then(Result::ok).map(|body| body_message(&body)).unwrap_or_default();
        Fault { status: Some(status), credentials, retry_after, ..self.fault(url, detail, Kind::of(status)) }
    }
}
