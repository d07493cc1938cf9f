//! The requests of the distribution specification about one repository.

use std::sync::Arc;

use hyper::body::Bytes;
use reqwest::header::{ACCEPT, CONTENT_RANGE, HeaderName, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tracing::warn;

use super::answer::location;
use super::fault::{Fault, Kind};
use super::mirrors::Mirror;
use super::request::{Place, Request, Stream, Target};
use super::retry::Patience;
use super::token::Scope;
use super::transport::Transport;
use crate::image::manifest::MediaFamily;
use crate::image::{Digest, ImageReference};

/// A repository of a registry, and the image in it that messages are about.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    pub transport: Arc<Transport>,
    pub registry: String,
    pub name: String,
    pub image: String,
}

/// A manifest, config or token: something small that was read whole.
#[derive(Debug)]
pub(super) struct Small {
    pub bytes: Bytes,
    pub content_type: String,
    pub digest: Digest,
    /// It came from the registry itself, not from a mirror.
    pub from_origin: bool,
}

/// An upload that was asked for.
#[derive(Debug)]
pub(super) enum Started {
    /// The blob is there now.
    Mounted,
    /// It is to be sent here.
    Session(Url),
}

/// No manifest or config is larger than this.
const SMALL: usize = 64 << 20;

impl Repository {
    pub(super) fn of(transport: &Arc<Transport>, reference: &ImageReference, image: &str) -> Self {
        Self {
            transport: Arc::clone(transport),
            registry: reference.registry.clone(),
            name: reference.repository.clone(),
            image: image.to_owned(),
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.registry == other.registry && self.name == other.name
    }

    /// Reads a manifest by tag or digest.
    pub(super) async fn manifest(&self, identifier: &str) -> Result<Small, Fault> {
        let types =
            [MediaFamily::Docker.manifest(), MediaFamily::Oci.manifest(), MediaFamily::Docker.index(), MediaFamily::Oci.index()];
        let accept = vec![(ACCEPT, types.join(", "))];
        self.small("read manifest", &format!("manifests/{identifier}"), accept, Digest::parse(identifier)).await
    }

    /// Reads a config.
    pub(super) async fn config(&self, digest: &Digest) -> Result<Small, Fault> {
        self.small("read config", &format!("blobs/{digest}"), Vec::new(), Some(digest.clone())).await
    }

    /// The status of asking whether a manifest is there.
    pub(super) async fn head_manifest(&self, identifier: &str) -> Result<StatusCode, Fault> {
        let types =
            [MediaFamily::Docker.manifest(), MediaFamily::Oci.manifest(), MediaFamily::Docker.index(), MediaFamily::Oci.index()];
        let mut request = self.request("look for manifest", Method::HEAD, &format!("manifests/{identifier}"));
        request.headers.push((ACCEPT, types.join(", ")));
        self.head(request).await
    }

    /// Whether the repository has a blob.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, Fault> {
        let request = self.request("look for blob", Method::HEAD, &format!("blobs/{digest}"));
        Ok(self.head(request).await?.is_success())
    }

    async fn head(&self, mut request: Request) -> Result<StatusCode, Fault> {
        request.accept = &[404];
        for mirror in self.mirrors() {
            if let Ok(response) = self.ask_mirror(&request, mirror).await
                && response.status().is_success()
            {
                return Ok(response.status());
            }
        }
        Ok(self.transport.send(&request).await?.status())
    }

    /// One attempt at reading a blob from `offset` on: from a mirror, or from the registry if `None`. The answer is 200 or 206.
    pub(super) async fn open_blob(&self, digest: &Digest, offset: u64, mirror: Option<&Mirror>) -> Result<Response, Fault> {
        let mut request = self.request("read blob", Method::GET, &format!("blobs/{digest}"));
        if offset > 0 {
            request.headers.push((RANGE, format!("bytes={offset}-")));
        }
        match mirror {
            Some(mirror) => self.ask_mirror(&request, mirror).await,
            None => self.transport.attempt(&request, None).await,
        }
    }

    /// Other places to read from, those that cannot be reached left out.
    pub(super) fn mirrors(&self) -> Vec<&Mirror> {
        let mirrors = self.transport.options.mirrors.of(&self.registry);
        mirrors.filter(|mirror| !self.transport.is_dead(&mirror.host)).collect()
    }

    /// Asks a mirror once; a failure is told, for the registry is asked next.
    async fn ask_mirror(&self, request: &Request, mirror: &Mirror) -> Result<Response, Fault> {
        let mut request = request.clone();
        request.place = Place { host: mirror.host.clone(), https: Some(mirror.https) };
        for scope in &mut request.scopes {
            scope.repository = format!("{}{}", mirror.prefix, scope.repository);
        }
        if let Target::Path(path) = &mut request.target
            && let Some(rest) = path.strip_prefix(&format!("/v2/{}/", self.name))
        {
            *path = format!("/v2/{}{}/{rest}", mirror.prefix, self.name);
        }
        let answer = self.transport.attempt(&request, None).await;
        if let Err(fault) = &answer {
            if matches!(fault.kind, Kind::Unreachable | Kind::Permanent) && fault.status.is_none() {
                self.transport.learn_dead(&mirror.host);
            }
            warn!("Mirror {} cannot be used, asking {}: {fault}", mirror.host, self.registry);
        }
        answer
    }

    async fn small(
        &self,
        act: &str,
        path: &str,
        headers: Vec<(HeaderName, String)>,
        want: Option<Digest>,
    ) -> Result<Small, Fault> {
        let mut request = self.request(act, Method::GET, path);
        request.headers = headers;
        for mirror in self.mirrors() {
            if let Ok(response) = self.ask_mirror(&request, mirror).await {
                match self.whole(&request, response, want.as_ref(), false).await {
                    Ok((small, true)) => return Ok(small),
                    Ok((_, false)) => warn!("Mirror {} sent other bytes than it says, asking {}", mirror.host, self.registry),
                    Err(fault) => warn!("Mirror {} cannot be used, asking {}: {fault}", mirror.host, self.registry),
                }
            }
        }
        let mut patience = Patience::new(self.transport.options.patience);
        let mut doubted: Option<Digest> = None;
        loop {
            let answer = match self.transport.attempt(&request, None).await {
                Ok(response) => self.whole(&request, response, want.as_ref(), true).await,
                Err(fault) => Err(fault),
            };
            let fault = match answer {
                Ok((small, true)) => return Ok(small),
                // Some registries tell a wrong digest: the same bytes twice are right.
                Ok((small, false)) if doubted.as_ref() == Some(&small.digest) => return Ok(small),
                Ok((small, false)) => {
                    let detail = format!("its content is {}, which is not what the registry says", small.digest);
                    doubted = Some(small.digest);
                    request.fault_at(path.to_owned(), detail, Kind::Doubtful)
                }
                Err(fault) => fault,
            };
            self.transport.pause(&mut patience, fault).await?;
        }
    }

    /// The body, checked against its digest, and whether it is what the registry says it is (asked for by tag).
    async fn whole(
        &self,
        request: &Request,
        response: Response,
        want: Option<&Digest>,
        from_origin: bool,
    ) -> Result<(Small, bool), Fault> {
        let url = response.url().clone();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let content_type = header("content-type").unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
        let told = header("docker-content-digest").and_then(Digest::parse);
        let mut reader = super::pull::Chunks::new(response, self.transport.options.patience);
        let mut bytes = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(detail) => return Err(request.fault(&url, detail, Kind::Connection)),
            }
            if bytes.len() > SMALL {
                return Err(request.fault(&url, format!("more than {SMALL} bytes"), Kind::Permanent));
            }
        }
        let digest = Digest::of(&bytes);
        if want.is_some_and(|want| *want != digest) {
            return Err(request.fault(&url, format!("its content is {digest}"), Kind::Doubtful));
        }
        let as_told = want.is_some() || told.is_none_or(|told| told == digest);
        Ok((Small { bytes: bytes.into(), content_type, digest, from_origin }, as_told))
    }

    /// Asks for an upload. With `mount`, the registry may take the blob from that repository of its own instead.
    pub(super) async fn start_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Started, Fault> {
        let Some((digest, from)) = mount else { return self.start_plain().await };
        let path = format!("blobs/uploads/?mount={digest}&from={}", escape(from));
        let mut request = self.request("mount blob", Method::POST, &path);
        request.scopes = vec![Scope::push(&self.name)];
        if from != self.name {
            request.scopes.push(Scope::pull(from));
        }
        match self.transport.send(&request).await {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(Started::Mounted),
            Ok(response) => session(&request, &response),
            // A registry without mounts, or that keeps the other repository from us: send the bytes.
            Err(fault) if matches!(fault.kind, Kind::Denied | Kind::NotFound | Kind::Permanent) && fault.status.is_some() => {
                self.start_plain().await
            }
            Err(fault) => Err(fault),
        }
    }

    async fn start_plain(&self) -> Result<Started, Fault> {
        let request =
            self.upload_request("start upload", Method::POST, Target::Path(format!("/v2/{}/blobs/uploads/", self.name)));
        let response = self.transport.send(&request).await?;
        session(&request, &response)
    }

    /// Gives an upload up. Failure does not matter: registries throw old uploads away.
    pub(super) async fn cancel_upload(&self, session: Url) {
        let request = self.upload_request("cancel upload", Method::DELETE, Target::Url(session));
        let _ = self.transport.attempt(&request, None).await;
    }

    /// Sends a blob, of a size that is not known, in one piece; returns where the upload goes on.
    pub(super) async fn patch(&self, session: Url, stream: Stream, range: Option<(u64, u64)>) -> Result<Url, Fault> {
        let mut request = self.upload_request("send blob", Method::PATCH, Target::Url(session.clone()));
        if let Some((from, size)) = range {
            request.headers.push((CONTENT_RANGE, format!("{from}-{}", size - 1)));
        }
        let response = self.transport.attempt(&request, Some(stream)).await?;
        Ok(location(&response).unwrap_or(session))
    }

    /// Sends a blob whole and ends the upload.
    pub(super) async fn put_stream(&self, session: Url, digest: &Digest, stream: Stream) -> Result<(), Fault> {
        let request = self.upload_request("send blob", Method::PUT, Target::Url(with_digest(session, digest)));
        self.transport.attempt(&request, Some(stream)).await.map(drop)
    }

    /// Ends an upload whose bytes were sent, or are sent with this request. One attempt.
    pub(super) async fn finish_upload(&self, session: Url, digest: &Digest, bytes: Option<Bytes>) -> Result<(), Fault> {
        let mut request = self.upload_request("finish upload", Method::PUT, Target::Url(with_digest(session, digest)));
        request.body = bytes.map(|bytes| (bytes, "application/octet-stream"));
        self.transport.attempt(&request, None).await.map(drop)
    }

    /// How much of an upload has arrived, and where it goes on. `None`: the registry no longer knows it.
    pub(super) async fn upload_offset(&self, session: &Url) -> Result<Option<(u64, Url)>, Fault> {
        let mut request = self.upload_request("ask for upload", Method::GET, Target::Url(session.clone()));
        request.accept = &[400, 404, 405, 416];
        let response = self.transport.send(&request).await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let range = response.headers().get(RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let end = range.trim_start_matches("bytes=").split_once('-').and_then(|(_, end)| end.parse::<u64>().ok());
        // `0-0` is what registries say before the first byte.
        let offset = end.map_or(0, |end| if end == 0 { 0 } else { end + 1 });
        Ok(Some((offset, location(&response).unwrap_or_else(|| session.clone()))))
    }

    /// Sends a blob that is in memory: one request to start, which may find that the blob is there, one to send.
    pub(super) async fn put_small(&self, digest: &Digest, bytes: Bytes) -> Result<(), Fault> {
        let mut patience = Patience::new(self.transport.options.patience);
        loop {
            let fault = match self.start_upload(Some((digest, &self.name))).await? {
                Started::Mounted => return Ok(()),
                Started::Session(session) => match self.finish_upload(session, digest, Some(bytes.clone())).await {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault.doubtful(),
                },
            };
            self.transport.pause(&mut patience, fault).await?;
            // What looks like a failure may have arrived.
            if self.has_blob(digest).await? {
                return Ok(());
            }
        }
    }

    pub(super) async fn put_manifest(&self, identifier: &str, media_type: &'static str, bytes: &Bytes) -> Result<(), Fault> {
        let path = Target::Path(format!("/v2/{}/manifests/{identifier}", self.name));
        let mut request = self.upload_request("write manifest", Method::PUT, path);
        request.body = Some((bytes.clone(), media_type));
        self.transport.send(&request).await.map(drop)
    }

    /// Deletes a manifest by digest. One that is not there is fine.
    pub(super) async fn delete_manifest(&self, digest: &Digest) -> Result<(), Fault> {
        let path = Target::Path(format!("/v2/{}/manifests/{digest}", self.name));
        let mut request = self.upload_request("delete manifest", Method::DELETE, path);
        request.accept = &[404];
        self.transport.send(&request).await.map(drop)
    }

    fn request(&self, act: &str, method: Method, path: &str) -> Request {
        Request {
            act: format!("{act} of {}", self.image),
            place: Place::registry(&self.registry),
            method,
            target: Target::Path(format!("/v2/{}/{path}", self.name)),
            scopes: vec![Scope::pull(&self.name)],
            headers: Vec::new(),
            body: None,
            accept: &[],
        }
    }

    fn upload_request(&self, act: &str, method: Method, target: Target) -> Request {
        let request = self.request(act, method, "");
        Request { target, scopes: vec![Scope::push(&self.name)], ..request }
    }
}

fn session(request: &Request, response: &Response) -> Result<Started, Fault> {
    match location(response) {
        Some(url) => Ok(Started::Session(url)),
        None => Err(request.fault(response.url(), "the answer names no location for the upload".to_owned(), Kind::Permanent)),
    }
}

fn with_digest(mut session: Url, digest: &Digest) -> Url {
    session.query_pairs_mut().append_pair("digest", digest.as_str());
    session
}

/// Repository names need no more than this in a query.
fn escape(text: &str) -> String {
    text.replace('/', "%2F")
}
