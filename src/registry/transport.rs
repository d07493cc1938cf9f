//! One request to a registry: find the way there, authorise, send, classify the answer, and try again where that helps.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::OnceCell;
use tracing::{debug, trace, warn};

use super::challenge::Challenge;
use super::clients::{Clients, same_origin};
use super::fault::{Fault, Kind, body_message};
use super::hosts::{Way, ways};
use super::keychain::{Credentials, Found, Keychain};
use super::options::Options;
use super::retry::Patience;
use super::token::{self, Ask, Scope, Tokens};

/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// The same after the last byte of a blob, which some registries copy before they answer.
const SILENCE_AT_END: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Transport {
    pub options: Options,
    pub keychain: Arc<Keychain>,
    clients: Clients,
    endpoints: Mutex<HashMap<Place, Arc<OnceCell<Arc<Endpoint>>>>>,
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

/// A registry that answered.
#[derive(Debug)]
pub(super) struct Endpoint {
    base: Url,
    way: Way,
    challenge: Mutex<Challenge>,
    tokens: tokio::sync::Mutex<Tokens>,
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

/// Credentials put on a request.
#[derive(Debug)]
struct Authorized {
    header: Option<HeaderValue>,
    source: String,
    /// The token in the header, and whether it was there before this request.
    token: Option<(String, bool)>,
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

    /// Whether another attempt with other credentials makes sense: the token was from before or is called invalid, the answer
    /// asks for something that was not known, or a helper has other credentials by now.
    async fn renew(&self, request: &Request, endpoint: &Endpoint, used: &Authorized, response: &Response) -> bool {
        let mut news = false;
        if let Some((token, from_before)) = &used.token {
            endpoint.tokens.lock().await.forget(token);
            news = *from_before || says_invalid(response);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = challenge_of(response);
            let mut known = lock(&endpoint.challenge);
            if challenge != Challenge::None && *known != challenge {
                let widens = matches!((&*known, &challenge), (Challenge::None, _) | (Challenge::Basic, Challenge::Bearer { .. }))
                    || used.header.is_none();
                *known = challenge;
                news |= widens;
            }
        }
        if !news && used.header.is_some() {
            news = self.ask_keychain(request, Keychain::refresh).await;
        }
        news
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

    async fn authorize(&self, request: &Request, endpoint: &Endpoint, url: &Url) -> Result<Authorized, Fault> {
        // What a registry redirects uploads to is not the registry.
        if !same_origin(url, &endpoint.base) {
            return Ok(Authorized { header: None, source: String::new(), token: None });
        }
        let found = self.credentials(request).await;
        let challenge = lock(&endpoint.challenge).clone();
        let value = match (&found.credentials, &challenge) {
            (Credentials::Bearer(token), Challenge::None | Challenge::Basic | Challenge::Bearer { .. }) => {
                format!("Bearer {token}")
            }
            (Credentials::Header(header), _) => header.clone(),
            (Credentials::Basic { user, password }, Challenge::Basic) => {
                use base64::Engine as _;
                format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")))
            }
            (_, Challenge::Bearer { .. }) => return self.with_token(request, endpoint, &challenge, found).await,
            _ => return Ok(Authorized { header: None, source: found.source, token: None }),
        };
        Ok(Authorized { header: secret(&value), source: found.source, token: None })
    }

    /// Running a helper takes its time; transfers go on meanwhile.
    async fn credentials(&self, request: &Request) -> Found {
        if self.keychain.knows(&request.place.host, request.repository()) {
            return self.keychain.resolve(&request.place.host, request.repository());
        }
        self.ask_keychain(request, Keychain::resolve).await
    }

    async fn ask_keychain<T: Send + 'static>(&self, request: &Request, ask: fn(&Keychain, &str, &str) -> T) -> T {
        let (keychain, registry, repository) =
            (Arc::clone(&self.keychain), request.place.host.clone(), request.repository().to_owned());
        let asked = tokio::task::spawn_blocking({
            let (keychain, registry, repository) = (Arc::clone(&keychain), registry.clone(), repository.clone());
            move || ask(&keychain, &registry, &repository)
        });
        match asked.await {
            Ok(answer) => answer,
            // No thread to be had: ask here.
            Err(_) => ask(&keychain, &registry, &repository),
        }
    }

    async fn with_token(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        challenge: &Challenge,
        found: Found,
    ) -> Result<Authorized, Fault> {
        // Held while a token is fetched: whoever needs the same one waits for it.
        let mut tokens = endpoint.tokens.lock().await;
        let owner = owner(&found);
        if let Some(token) = tokens.get(&request.scopes, &owner) {
            let header = secret(&format!("Bearer {}", token.value));
            return Ok(Authorized { header, source: found.source, token: Some((token.value.clone(), true)) });
        }
        let host = match challenge {
            Challenge::Bearer { realm, .. } => realm.parse::<Url>().map(|url| host_and_port(&url)).unwrap_or_default(),
            _ => String::new(),
        };
        let client = self.client(request, endpoint.way, &host)?;
        let ask = Ask {
            client,
            registry: &endpoint.base,
            challenge,
            scopes: &request.scopes,
            found: &found,
            owner: &owner,
            timeout: SILENCE.min(self.options.patience),
        };
        let token =
            token::fetch(&ask).await.map_err(|fault| Fault { act: format!("{}: {}", request.act, fault.act), ..fault })?;
        let header = secret(&format!("Bearer {}", token.value));
        let value = token.value.clone();
        tokens.put(token);
        Ok(Authorized { header, source: found.source, token: Some((value, false)) })
    }

    /// The registry as it was found to be reached, asked for once.
    async fn endpoint(&self, request: &Request) -> Result<Arc<Endpoint>, Fault> {
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

    fn client(&self, request: &Request, way: Way, host: &str) -> Result<&Client, Fault> {
        self.clients
            .get(way, host, &self.options)
            .map_err(|e| request.fault_at(format!("{}://{host}", way.scheme()), e.to_string(), Kind::Permanent))
    }
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
    fn repository(&self) -> &str {
        self.scopes.first().map_or("", |scope| &scope.repository)
    }

    fn silence(&self) -> Duration {
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

    async fn refused(&self, url: &Url, response: Response, credentials: String) -> Fault {
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = tokio::time::timeout(Duration::from_secs(10), response.bytes()).await;
        let detail = body.ok().and_then(Result::ok).map(|body| body_message(&body)).unwrap_or_default();
        Fault { status: Some(status), credentials, retry_after, ..self.fault(url, detail, Kind::of(status)) }
    }
}

/// Where an upload goes on, as the registry says; relative to the request.
pub(super) fn location(response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(text).ok()
}

/// Seconds or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(response: &Response) -> Option<u32> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| seconds_until(text))
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`
fn seconds_until(date: &str) -> Option<u32> {
    let words: Vec<&str> = date.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i64::try_from(months.iter().position(|m| m == month)?).ok()? + 1;
    let number = |text: &str| text.parse::<i64>().ok();
    let days = crate::image::time::days_since_epoch(number(year)?, month, number(day)?);
    let then = days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_secs();
    u32::try_from(u64::try_from(then).ok()?.saturating_sub(now)).ok()
}

fn challenge_of(response: &Response) -> Challenge {
    Challenge::parse(response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok()))
}

/// RFC 6750 §3.1: the token itself is the trouble, not what it allows.
fn says_invalid(response: &Response) -> bool {
    let lines = response.headers().get_all(WWW_AUTHENTICATE);
    lines.iter().filter_map(|line| line.to_str().ok()).any(|line| line.contains("error=\"invalid_token\""))
}

/// A header that is left out of debug output.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Tells owners of tokens apart without keeping secrets.
fn owner(found: &Found) -> String {
    use sha2::Digest as _;
    let secret = match &found.credentials {
        Credentials::Anonymous => return "anonymous".to_owned(),
        Credentials::Basic { user, password } => format!("{user}:{password}"),
        Credentials::Bearer(text) | Credentials::Identity(text) | Credentials::Header(text) => text.clone(),
    };
    crate::image::Digest::from_sha256(&sha2::Sha256::digest(secret).into()).to_string()
}

/// Both ways to reach the registry failed: try again if that may help for one of them.
fn worse(before: Fault, other: &Fault) -> Fault {
    let kind = if before.kind.is_transient() { before.kind } else { other.kind };
    Fault { kind, retry_after: before.retry_after.or(other.retry_after), ..before }
}

fn host_and_port(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

pub(super) fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// The chain of causes, without the URL, whose query may hold a signature.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let this = error.to_string();
        // Wrappers repeat what they wrap.
        if !text.ends_with(&this) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&this);
        }
        cause = error.source();
    }
    if text.is_empty() { if error.is_timeout() { "timed out".to_owned() } else { "request failed".to_owned() } } else { text }
}

pub(super) fn kind_of(error: &reqwest::Error) -> Kind {
    let text = describe(error);
    let tls = ["certificate", "tls", "TLS", "InvalidMessage", "InvalidContentType", "received corrupt message"];
    if error.is_builder() || error.is_redirect() || (error.is_connect() && tls.iter().any(|word| text.contains(word))) {
        Kind::Permanent
    } else if error.is_connect() {
        Kind::Unreachable
    } else {
        Kind::Connection
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_retry_after() {
        assert_eq!(seconds_until("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert!(seconds_until("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|s| s > 1_000_000));
        assert_eq!(seconds_until("soon"), None);
    }

    #[test]
    fn urls_in_messages_hold_no_secrets() {
        let url: Url = "https://u:p@r.io/v2/x?sig=secret".parse().unwrap();
        assert_eq!(without_query(&url), "https://r.io/v2/x");
    }
}
