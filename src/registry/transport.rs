//! One request to a registry: find the way there, authorise, send, classify the answer, and try again where that helps.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, Method, Response, Url};
use tokio::sync::OnceCell;
use tracing::{debug, trace, warn};

use super::answer::{describe, kind_of, without_query};
use super::authorize::Authorized;
use super::clients::Clients;
use super::endpoint::Endpoint;
use super::fault::{Fault, Kind};
use super::hosts::Way;
use super::keychain::Keychain;
use super::options::Options;
use super::request::{Place, Request, Stream, Target};
use super::retry::Patience;

/// How long a registry may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// The same after the last byte of a blob, which some registries copy before they answer.
pub(super) const SILENCE_AT_END: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Transport {
    pub options: Options,
    pub keychain: Arc<Keychain>,
    clients: Clients,
    pub endpoints: Mutex<HashMap<Place, Arc<OnceCell<Arc<Endpoint>>>>>,
    habits: Mutex<Habits>,
}

/// What was learned about registries.
#[derive(Debug, Default)]
struct Habits {
    /// These do not take a body whose length they do not know.
    want_length: HashSet<String>,
    /// Mirrors that could not be reached: not asked again.
    dead: HashSet<String>,
}

impl Transport {
    pub(super) fn new(options: Options, keychain: Keychain) -> Self {
        Self {
            options,
            keychain: Arc::new(keychain),
            clients: Clients::default(),
            endpoints: Mutex::default(),
            habits: Mutex::default(),
        }
    }

    pub(super) fn wants_length(&self, registry: &str) -> bool {
        lock(&self.habits).want_length.contains(registry)
    }

    pub(super) fn learn_wants_length(&self, registry: &str) {
        lock(&self.habits).want_length.insert(registry.to_owned());
    }

    pub(super) fn is_dead(&self, mirror: &str) -> bool {
        lock(&self.habits).dead.contains(mirror)
    }

    pub(super) fn learn_dead(&self, mirror: &str) {
        lock(&self.habits).dead.insert(mirror.to_owned());
    }

    /// Sends until it succeeds, cannot succeed, or patience is over.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, Fault> {
        let mut patience = Patience::new(self.options.patience);
        loop {
            match self.attempt(request, None).await {
                Ok(response) => return Ok(response),
                Err(fault) => self.pause(&mut patience, fault).await?,
            }
        }
    }

    /// Waits before another attempt, or gives the fault back.
    pub(super) async fn pause(&self, patience: &mut Patience, mut fault: Fault) -> Result<(), Fault> {
        fault.attempts = patience.attempts();
        let Some(wait) = patience.wait(&fault) else { return Err(fault) };
        let text = format!("{fault}; trying again in {:.1} s", wait.as_secs_f64());
        if wait >= Duration::from_secs(2) {
            warn!("{text}");
        } else {
            debug!("{text}");
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Sends once (twice if a token turns out to be stale). A `stream` is sent as the body and can be sent once only.
    pub(super) async fn attempt(&self, request: &Request, stream: Option<Stream>) -> Result<Response, Fault> {
        let endpoint = self.endpoint(request).await?;
        let url = match &request.target {
            Target::Path(path) => {
                endpoint.base.join(path).map_err(|e| request.fault(&endpoint.base, format!("{path}: {e}"), Kind::Permanent))?
            }
            Target::Url(url) => url.clone(),
        };
        let mut stream = stream;
        let mut renewed = false;
        loop {
            let authorized = self.authorize(request, &endpoint, &url).await?;
            let streamed = stream.is_some();
            let response = self.exchange(request, &endpoint, &url, &authorized, stream.take()).await?;
            let status = response.status();
            let refused = matches!(status.as_u16(), 401 | 403) && !request.accept.contains(&status.as_u16());
            let again = refused && !renewed && self.renew(request, &endpoint, &authorized, &response).await;
            if again && !streamed {
                renewed = true;
                continue;
            }
            if status.is_success() || request.accept.contains(&status.as_u16()) {
                return Ok(response);
            }
            let mut fault = request.refused(&url, response, authorized.source).await;
            if again {
                // The body is gone; whoever can make it anew sends it with other credentials.
                fault.kind = Kind::Doubtful;
            }
            return Err(fault);
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        url: &Url,
        authorized: &Authorized,
        stream: Option<Stream>,
    ) -> Result<Response, Fault> {
        let client = self.client(request, endpoint.way, &host_and_port(url))?;
        let mut builder = client.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(header) = &authorized.header {
            builder = builder.header(AUTHORIZATION, header);
        }
        if let Some((body, media_type)) = &request.body {
            builder = builder.header(CONTENT_TYPE, *media_type).header(CONTENT_LENGTH, body.len()).body(body.clone());
        } else if let Some(stream) = &stream
            && let Some(length) = stream.length
        {
            builder = builder.header(CONTENT_LENGTH, length);
        } else if stream.is_none() && matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        let started = Instant::now();
        let answer = match stream {
            Some(stream) => {
                let silence = stream.silence.clone();
                let sent = builder.header(CONTENT_TYPE, "application/octet-stream").body(stream.body).send();
                tokio::select! {
                    answer = sent => answer.map_err(|e| (describe(&e), kind_of(&e))),
                    () = silence.longer_than(SILENCE.min(self.options.patience), SILENCE_AT_END.min(self.options.patience)) => Err(("no progress".to_owned(), Kind::Connection)),
                }
            }
            None => match tokio::time::timeout(request.silence().min(self.options.patience), builder.send()).await {
                Ok(answer) => answer.map_err(|e| (describe(&e), kind_of(&e))),
                Err(_) => Err(("no answer in time".to_owned(), Kind::Connection)),
            },
        };
        let ms = started.elapsed().as_millis();
        match answer {
            Ok(response) => {
                trace!(method = %request.method, url = %without_query(url), status = response.status().as_u16(), ms, "request");
                Ok(response)
            }
            Err((detail, kind)) => {
                trace!(method = %request.method, url = %without_query(url), ms, detail, "request failed");
                Err(request.fault(url, detail, kind))
            }
        }
    }

    pub(super) fn client(&self, request: &Request, way: Way, host: &str) -> Result<&Client, Fault> {
        self.clients
            .get(way, host, &self.options)
            .map_err(|e| request.fault_at(format!("{}://{host}", way.scheme()), e.to_string(), Kind::Permanent))
    }
}

pub(super) fn host_and_port(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
