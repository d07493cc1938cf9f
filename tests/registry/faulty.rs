//! An in-process registry that records requests and breaks things when told to.
//!
//! It is strict: blobs must have their digest, manifests name only blobs that the repository has. So whatever can be pulled
//! from it was pushed whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Delay(Duration),
    /// An answer with this status and perhaps `Retry-After`; nothing is done.
    Status(u16, Option<&'static str>),
    /// The connection is closed without an answer; nothing is done.
    ResetBefore,
    /// It is done, and the connection closed without an answer.
    ResetAfter,
    /// The body of the answer breaks off after this part of it (of 256).
    CutBody(u8),
    /// One byte of the answer's body is wrong.
    WrongByte(u8),
    /// The request's body is read up to this many bytes, which are kept; then the connection is closed.
    CutUpload(usize),
    /// The same, but what has arrived is forgotten.
    LoseUpload,
    /// Tokens given so far are worth nothing any more.
    ExpireTokens,
}

/// A request as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// With query.
    pub path: String,
    pub status: u16,
    pub authorization: Option<String>,
}

type Script = Box<dyn FnMut(&Method, &str) -> Option<Fault> + Send>;

/// How the registry behaves in general.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// It wants tokens, which its own `/token` gives to this user and password (or to anybody).
    pub tokens: Option<Option<(String, String)>>,
    /// Its `/token` wants this refresh token (OAuth2).
    pub refresh: Option<&'static str>,
    /// It wants `Content-Length`.
    pub wants_length: bool,
    /// It does not know `Range`.
    pub no_ranges: bool,
    /// It does not mount.
    pub no_mounts: bool,
    /// Every answer takes this long.
    pub latency: Duration,
    /// It listens on `[::1]`.
    pub ipv6: bool,
    /// It sends uploads to another host, which is no registry and wants no credentials.
    pub uploads_elsewhere: bool,
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Bytes>,
    /// Blobs by repository.
    repositories: HashMap<String, HashSet<String>>,
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    tokens: HashSet<String>,
    next: u64,
    seen: Vec<Seen>,
    script: Option<Script>,
    /// Requests that are being answered, since when there are any, and how long there were some before.
    in_flight: (u32, Option<std::time::Instant>, Duration),
    manners: Manners,
}

pub struct FaultyRegistry {
    pub host: String,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Body = BoxBody<Bytes, io::Error>;

impl FaultyRegistry {
    pub fn start(manners: Manners) -> Self {
        let address = if manners.ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
        let state = Arc::new(Mutex::new(State { manners, ..State::default() }));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind(address).await.expect("bind");
                tell.send(listener.local_addr().expect("address")).expect("tell address");
                tokio::select! {
                    () = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let address: SocketAddr = told.recv().expect("address");
        Self { host: address.to_string(), state, stop: Some(stop), thread: Some(thread) }
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// From now on, this decides which requests go wrong. It sees method and path with query.
    pub fn script(&self, script: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static) {
        self.lock().script = Some(Box::new(script));
    }

    pub fn calm(&self) {
        self.lock().script = None;
    }

    /// Requests since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.lock().seen)
    }

    /// How long requests were being answered since the last call: what a client waited for, whatever it did meanwhile.
    pub fn take_busy(&self) -> Duration {
        std::mem::take(&mut self.lock().in_flight.2)
    }

    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        self.lock().manifests.get(&(repository.to_owned(), reference.to_owned())).cloned()
    }

    /// Takes a blob away from a repository, or altogether.
    pub fn lose_blob(&self, digest: &str) {
        let mut state = self.lock();
        state.blobs.remove(digest);
        for blobs in state.repositories.values_mut() {
            blobs.remove(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

async fn serve(listener: tokio::net::TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "as told by the script")
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Body>, io::Error> {
    {
        let mut state = state.lock().unwrap();
        state.in_flight.0 += 1;
        state.in_flight.1.get_or_insert_with(std::time::Instant::now);
    }
    let latency = state.lock().unwrap().manners.latency;
    tokio::time::sleep(latency).await;
    let answer = answer_now(request, Arc::clone(&state)).await;
    let mut state = state.lock().unwrap();
    state.in_flight.0 -= 1;
    if state.in_flight.0 == 0
        && let Some(since) = state.in_flight.1.take()
    {
        state.in_flight.2 += since.elapsed();
    }
    answer
}

async fn answer_now(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let fault = state.lock().unwrap().script.as_mut().and_then(|script| script(&parts.method, &path));
    let authorization = parts.headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let record = |status: u16| {
        let seen = Seen { method: parts.method.to_string(), path: path.clone(), status, authorization: authorization.clone() };
        state.lock().unwrap().seen.push(seen);
    };
    match &fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Status(status, retry_after)) => {
            record(*status);
            let mut response = message(*status, "TOLD", "by the script");
            if let Some(text) = retry_after {
                response.headers_mut().insert("retry-after", HeaderValue::from_static(text));
            }
            // The request's body is not read: the connection cannot be used again.
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            return Ok(response);
        }
        Some(Fault::ResetBefore) => {
            record(0);
            return Err(reset());
        }
        Some(Fault::ExpireTokens) => state.lock().unwrap().tokens.clear(),
        _ => {}
    }
    let limit = match &fault {
        Some(Fault::CutUpload(at)) => Some(*at),
        Some(Fault::LoseUpload) => Some(0),
        _ => None,
    };
    let (received, whole) = read(body, limit).await;
    let response = handle(&parts.method, &path, &parts.headers, received, whole, &fault, &state);
    record(if whole { response.status().as_u16() } else { 0 });
    if !whole || fault == Some(Fault::ResetAfter) {
        return Err(reset());
    }
    Ok(spoil(response, fault).await)
}

/// The body, or its beginning.
async fn read(mut body: Incoming, limit: Option<usize>) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (bytes, false) };
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if let Some(limit) = limit
            && bytes.len() > limit
        {
            bytes.truncate(limit);
            return (bytes, false);
        }
    }
    (bytes, true)
}

async fn spoil(response: Response<Body>, fault: Option<Fault>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match fault {
        Some(Fault::CutBody(part)) if !bytes.is_empty() => {
            let at = bytes.len() * usize::from(part) / 256;
            // The beginning shall be on its way before the connection goes down.
            let items = futures_util::stream::unfold(Some(bytes.slice(..at)), |rest| async move {
                let mut rest = rest?;
                if rest.is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return Some((Err(reset()), None));
                }
                let piece = rest.split_to(rest.len().min(64 << 10));
                Some((Ok(Frame::data(piece)), Some(rest)))
            });
            let mut response = Response::from_parts(parts, BodyExt::boxed(StreamBody::new(items)));
            response.headers_mut().insert("content-length", HeaderValue::from(bytes.len()));
            response
        }
        Some(Fault::WrongByte(part)) if !bytes.is_empty() => {
            let mut bytes = bytes.to_vec();
            let at = (bytes.len() * usize::from(part) / 256).min(bytes.len() - 1);
            bytes[at] ^= 0x20;
            Response::from_parts(parts, full(bytes))
        }
        _ => Response::from_parts(parts, full(bytes)),
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn plain(status: u16) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).expect("status");
    response
}

fn message(status: u16, code: &str, text: &str) -> Response<Body> {
    let mut response = plain(status);
    *response.body_mut() = full(json!({"errors": [{"code": code, "message": text}]}).to_string());
    response
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_str(value).expect("header"));
    response
}

fn query<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

fn decode(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")
}

fn handle(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
    whole: bool,
    fault: &Option<Fault>,
    state: &Arc<Mutex<State>>,
) -> Response<Body> {
    let mut state = state.lock().unwrap();
    let bare = path.split('?').next().unwrap_or_default();
    if bare == "/token" {
        return state.give_token(path, headers, &body);
    }
    if let Some(refused) = state.refuse(bare, method, headers) {
        return refused;
    }
    let Some(rest) = bare.strip_prefix("/v2/") else { return message(404, "NOT_FOUND", "no such page") };
    if rest.is_empty() {
        return plain(200);
    }
    if let Some((repository, reference)) = rest.split_once("/manifests/") {
        return state.manifests(method, repository, reference, headers, body, whole);
    }
    if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
        let lost = *fault == Some(Fault::LoseUpload);
        return state.uploads(method, repository, id, path, headers, body, whole, lost);
    }
    if let Some((repository, digest)) = rest.split_once("/blobs/") {
        return state.blob(method, repository, digest, headers);
    }
    message(404, "NOT_FOUND", "no such page")
}

impl State {
    fn give_token(&mut self, path: &str, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        use base64::Engine as _;
        let form = format!("?{}", String::from_utf8_lossy(body));
        let path = if self.manners.refresh.is_some() { form.as_str() } else { path };
        if let Some(refresh) = self.manners.refresh
            && (query(path, "grant_type"), query(path, "refresh_token")) != (Some("refresh_token"), Some(refresh))
        {
            return message(401, "UNAUTHORIZED", "wrong refresh token");
        }
        if let Some(Some((user, password))) = &self.manners.tokens {
            let want = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")));
            if headers.get("authorization").is_none_or(|given| given.as_bytes() != want.as_bytes()) {
                return message(401, "UNAUTHORIZED", "wrong user or password");
            }
        }
        self.next += 1;
        let scopes: Vec<String> = path.split(['?', '&']).filter_map(|pair| pair.strip_prefix("scope=")).map(decode).collect();
        let token = format!("{}|{}", self.next, scopes.join(" "));
        self.tokens.insert(token.clone());
        let mut response = plain(200);
        *response.body_mut() = full(json!({"token": token, "expires_in": 300}).to_string());
        response
    }

    /// 401 with a challenge unless the token fits.
    fn refuse(&self, path: &str, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        self.manners.tokens.as_ref()?;
        if self.manners.uploads_elsewhere && path.contains("/uploads/upload-") {
            return None;
        }
        let host = headers.get("host").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        let repository =
            path.strip_prefix("/v2/").and_then(|p| p.split("/manifests/").next()?.split("/blobs/").next()).unwrap_or_default();
        let reading = matches!(*method, Method::GET | Method::HEAD) && !path.contains("/uploads/");
        let action = if reading { "pull" } else { "push" };
        let allowed = given.is_some_and(|token| {
            let scopes = token.split_once('|').map_or("", |(_, scopes)| scopes);
            let fits = scopes.split(' ').any(|scope| {
                scope
                    .strip_prefix("repository:")
                    .and_then(|s| s.strip_prefix(repository))
                    .and_then(|s| s.strip_prefix(':'))
                    .is_some_and(|actions| actions.split(',').any(|a| a == action))
            });
            self.tokens.contains(token) && (path == "/v2/" || fits)
        });
        if allowed {
            return None;
        }
        let unknown = given.is_some_and(|token| !self.tokens.contains(token));
        let error = if unknown { ",error=\"invalid_token\"" } else { "" };
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"{error}");
        Some(with(message(401, "UNAUTHORIZED", "authentication required"), "www-authenticate", &challenge))
    }

    fn has(&self, repository: &str, digest: &str) -> bool {
        self.repositories.get(repository).is_some_and(|blobs| blobs.contains(digest))
    }

    fn manifests(
        &mut self,
        method: &Method,
        repository: &str,
        reference: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
        whole: bool,
    ) -> Response<Body> {
        match *method {
            Method::PUT if whole => {
                let Ok(json) = serde_json::from_slice::<Value>(&body) else {
                    return message(400, "MANIFEST_INVALID", "not JSON");
                };
                let layers = json["layers"].as_array().map_or(&[][..], Vec::as_slice);
                let missing = std::iter::once(&json["config"])
                    .chain(layers)
                    .find(|d| !self.has(repository, d["digest"].as_str().unwrap_or_default()));
                if let Some(missing) = missing {
                    return message(400, "MANIFEST_BLOB_UNKNOWN", &missing["digest"].to_string());
                }
                let digest = super::support::sha256(&body);
                let media_type = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
                let entry = (media_type, Bytes::from(body));
                self.manifests.insert((repository.to_owned(), reference.to_owned()), entry.clone());
                self.manifests.insert((repository.to_owned(), digest.clone()), entry);
                with(plain(201), "docker-content-digest", &digest)
            }
            Method::GET | Method::HEAD => {
                let Some((media_type, bytes)) = self.manifests.get(&(repository.to_owned(), reference.to_owned())) else {
                    return message(404, "MANIFEST_UNKNOWN", "manifest unknown");
                };
                let mut response = with(plain(200), "content-type", media_type);
                response = with(response, "docker-content-digest", &super::support::sha256(bytes));
                *response.body_mut() = full(bytes.clone());
                response
            }
            Method::DELETE => {
                let digest = reference.to_owned();
                self.manifests.retain(|(r, _), (_, bytes)| r != repository || super::support::sha256(bytes) != digest);
                plain(202)
            }
            _ => message(405, "UNSUPPORTED", "method"),
        }
    }

    fn blob(&mut self, method: &Method, repository: &str, digest: &str, headers: &HeaderMap) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return message(405, "UNSUPPORTED", "method");
        }
        let (true, Some(bytes)) = (self.has(repository, digest), self.blobs.get(digest)) else {
            return message(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        let range = headers.get("range").and_then(|v| v.to_str().ok()).filter(|_| !self.manners.no_ranges);
        let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let mut response = plain(if from.is_some() { 206 } else { 200 });
        *response.body_mut() = full(bytes.slice(from.unwrap_or(0).min(bytes.len())..));
        response
    }

    #[allow(clippy::too_many_arguments)]
    fn uploads(
        &mut self,
        method: &Method,
        repository: &str,
        id: &str,
        path: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
        whole: bool,
        lost: bool,
    ) -> Response<Body> {
        let host = headers.get("host").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let elsewhere = if self.manners.uploads_elsewhere {
            format!("http://{}", host.replace("127.0.0.1", "localhost"))
        } else {
            String::new()
        };
        let place = |id: &str| format!("{elsewhere}/v2/{repository}/blobs/uploads/{id}?state=x");
        if *method == Method::POST {
            if let (Some(digest), Some(from), false) = (query(path, "mount"), query(path, "from"), self.manners.no_mounts) {
                let (digest, from) = (decode(digest), decode(from));
                if self.has(&from, &digest) {
                    self.repositories.entry(repository.to_owned()).or_default().insert(digest);
                    return plain(201);
                }
            }
            self.next += 1;
            let id = format!("upload-{}", self.next);
            self.uploads.insert(id.clone(), Vec::new());
            return with(plain(202), "location", &place(&id));
        }
        if lost {
            self.uploads.remove(id);
        }
        let Some(upload) = self.uploads.get_mut(id) else { return message(404, "BLOB_UPLOAD_UNKNOWN", "no such upload") };
        match *method {
            Method::GET => {
                let range = format!("0-{}", upload.len().saturating_sub(1));
                with(with(plain(204), "range", &range), "location", &place(id))
            }
            Method::DELETE => {
                self.uploads.remove(id);
                plain(204)
            }
            Method::PATCH | Method::PUT => {
                if *method == Method::PATCH && self.manners.wants_length && !headers.contains_key("content-length") {
                    return message(411, "SIZE_INVALID", "length required");
                }
                if let Some(range) = headers.get("content-range").and_then(|v| v.to_str().ok()) {
                    let from: usize = range.split('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
                    if from != upload.len() {
                        return message(416, "RANGE_INVALID", "not where the upload stands");
                    }
                }
                upload.extend_from_slice(&body);
                if *method == Method::PATCH || !whole {
                    let range = format!("0-{}", upload.len().saturating_sub(1));
                    return with(with(plain(202), "range", &range), "location", &place(id));
                }
                let bytes = self.uploads.remove(id).unwrap_or_default();
                let digest = decode(query(path, "digest").unwrap_or_default());
                if super::support::sha256(&bytes) != digest {
                    return message(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                self.blobs.insert(digest.clone(), bytes.into());
                self.repositories.entry(repository.to_owned()).or_default().insert(digest);
                plain(201)
            }
            _ => message(405, "UNSUPPORTED", "method"),
        }
    }
}
