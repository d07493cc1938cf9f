//! The parts of the Docker Engine API that are used (docs.docker.com/reference/api/engine), also spoken by podman.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::connect::Connector;
use super::http::{self, Body, BodyReader, Response};
use crate::bail;
use crate::error::{Context, Result};

/// The newest API version whose answers are known to be understood.
const NEWEST: (u64, u64) = (1, 51);

/// A client of one daemon.
#[derive(Debug)]
pub struct Engine {
    connector: Arc<Connector>,
    /// Path prefix `/v<version>`, agreed on at the first request.
    prefix: OnceLock<Result<String>>,
}

impl Engine {
    /// Connects to nobody yet.
    pub fn new(connector: Connector) -> Self {
        Self { connector: Arc::new(connector), prefix: OnceLock::new() }
    }

    /// `GET /images/<name>/json`; `None` if there is no such image.
    pub fn inspect(&self, name: &str) -> Result<Option<Value>> {
        self.inspect_path(name, "")
    }

    /// The same with what the store has of the image's manifests, which engines before API 1.48 do not tell.
    pub fn inspect_manifests(&self, name: &str) -> Result<Option<Value>> {
        self.inspect_path(name, "?manifests=1")
    }

    fn inspect_path(&self, name: &str, query: &str) -> Result<Option<Value>> {
        let response = self.send(Method::GET, &format!("/images/{}/json{query}", escape(name)), Body::None)?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        response.ok().and_then(Response::json).with_context(|| format!("inspecting image {name:?}")).map(Some)
    }

    /// `GET /images/<name>/history`, newest first.
    pub fn history(&self, name: &str) -> Result<Value> {
        let response = self.send(Method::GET, &format!("/images/{}/history", escape(name)), Body::None);
        response.and_then(Response::ok).and_then(Response::json).with_context(|| format!("get history for image {name:?}"))
    }

    /// `GET /images/sha256:<id>/get`: the image as a tar. Dropping the reader ends the transfer. Engines with containerd take
    /// bare digits for a name that they refuse.
    pub fn save(&self, id: &str) -> Result<BodyReader> {
        let response = self.send(Method::GET, &format!("/images/sha256:{}/get", escape(id)), Body::None).and_then(Response::ok);
        let act = || format!("saving image with ID {id:?} from the docker daemon");
        response.map(Response::into_body).with_context(act)
    }

    /// `POST /images/load`: what `body` writes. Returns when the daemon has taken in everything.
    pub fn load(&self, body: Body) -> Result<()> {
        let mut answer = String::new();
        let response = self.send(Method::POST, "/images/load?quiet=1", body).and_then(Response::ok)?;
        response.into_body().read_to_string(&mut answer)?;
        // A stream of JSON objects; what went wrong after the head was sent is told in one of them.
        for message in serde_json::Deserializer::from_str(&answer).into_iter::<Value>() {
            let Ok(message) = message else { break };
            if let Some(text) = message["errorDetail"]["message"].as_str().or_else(|| message["error"].as_str()) {
                bail!("embedded daemon response: {text}");
            }
            // An engine with containerd goes on when it cannot unpack an image: the image is there and does not run.
            if let Some(text) = message["stream"].as_str().filter(|text| text.starts_with("Error unpacking image")) {
                bail!("embedded daemon response: {}", text.trim_end());
            }
        }
        Ok(())
    }

    /// `POST /images/<id>/tag`
    pub fn tag(&self, id: &str, repository: &str, tag: &str) -> Result<()> {
        let path = format!("/images/{}/tag?repo={}&tag={}", escape(id), escape_query(repository), escape_query(tag));
        self.send(Method::POST, &path, Body::None).and_then(Response::ok).map(drop)
    }

    /// `DELETE /images/<id>`
    pub fn remove(&self, id: &str) -> Result<()> {
        self.send(Method::DELETE, &format!("/images/{}", escape(id)), Body::None).and_then(Response::ok).map(drop)
    }

    /// Whether [`Self::inspect_manifests`] tells what it says.
    pub fn tells_missing_blobs(&self) -> bool {
        let version = self.prefix.get().and_then(|prefix| prefix.as_ref().ok());
        version.and_then(|prefix| number(prefix.trim_start_matches("/v"))).is_some_and(|version| version >= (1, 48))
    }

    /// Whether images are kept by containerd, which takes no empty layers for known ones.
    pub fn uses_containerd(&self) -> bool {
        let info = self.send(Method::GET, "/info", Body::None).and_then(Response::ok).and_then(Response::json);
        let Ok(info) = info else { return false };
        let status = info["DriverStatus"].as_array();
        status.into_iter().flatten().any(|s| s[0] == "driver-type" && s[1] == "io.containerd.snapshotter.v1")
    }

    fn send(&self, method: Method, path: &str, body: Body) -> Result<Response> {
        let prefix = self.prefix.get_or_init(|| self.agree()).as_ref().map_err(Clone::clone)?;
        http::send(&self.connector, method, &format!("{prefix}{path}"), body)
    }

    /// Agrees on an API version: that of `DOCKER_API_VERSION`, else the daemon's, if it is not newer than what is known.
    fn agree(&self) -> Result<String> {
        let ping = http::send(&self.connector, Method::GET, "/_ping", Body::None)?;
        let offered = ping.headers.get("api-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let ping = ping.ok()?;
        if let Some(version) = &self.connector.host().api_version {
            return Ok(format!("/v{version}"));
        }
        let Some(offered) = number(&offered) else {
            bail!("{} is no docker daemon: it offers no API version ({})", self.connector.host().shown, ping.status);
        };
        let (major, minor): (u64, u64) = NEWEST.min(offered);
        Ok(format!("/v{major}.{minor}"))
    }
}

/// `<major>.<minor>`
fn number(text: &str) -> Option<(u64, u64)> {
    text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
}

/// Image names have few characters that a path must not have.
fn escape(name: &str) -> String {
    percent(name, b"/:@.-_~+")
}

fn escape_query(value: &str) -> String {
    percent(value, b"/:.-_~")
}

fn percent(text: &str, plain: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
