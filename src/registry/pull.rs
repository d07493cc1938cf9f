//! Reading blobs: a stream that is verified as it passes and goes on where it broke.

use std::io::{self, Read};
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::warn;

use super::answer::describe;
use super::fault::{Fault, Kind};
use super::repository::Repository;
use super::retry::Patience;
use super::runtime::Runtime;
use crate::image::Digest;

/// The pieces of a body. Silence is an error.
#[derive(Debug)]
pub(super) struct Chunks {
    response: Response,
    silence: Duration,
}

impl Chunks {
    pub(super) fn new(response: Response, patience: Duration) -> Self {
        Self { response, silence: Duration::from_secs(60).min(patience) }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match tokio::time::timeout(self.silence, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err("no progress".to_owned()),
        }
    }
}

/// A blob, read by a thread while it arrives. Its last read fails if the content is not what its digest says.
#[derive(Debug)]
pub(super) struct BlobReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BlobReader {
    pub(super) fn open(runtime: &Runtime, repository: Repository, digest: Digest) -> Self {
        // A few pieces ahead of the reader, no more.
        let (send, chunks) = mpsc::channel(8);
        drop(runtime.spawn(async move {
            if let Err(fault) = download(&repository, &digest, &send).await {
                let _ = send.send(Err(io::Error::other(fault.to_string()))).await;
            }
        }));
        Self { chunks, current: Bytes::new() }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Passes a whole blob on, resuming where a connection broke. Ends early if nobody listens any more.
pub(super) async fn download(
    repository: &Repository,
    digest: &Digest,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Fault> {
    let mut patience = Patience::new(repository.transport.options.patience);
    let mut progress = Progress { hash: Sha256::new(), offset: 0 };
    let mut mirrors = repository.mirrors().into_iter();
    let mut mirror = mirrors.next();
    loop {
        let before = progress.offset;
        let answer = match repository.open_blob(digest, before, mirror).await {
            Ok(response) => pass_on(repository, response, digest, &mut progress, to).await,
            Err(fault) => Err(fault),
        };
        let Err(fault) = answer else { return Ok(()) };
        if mirror.is_some() {
            warn!("Reading on from another place: {fault}");
            mirror = mirrors.next();
            continue;
        }
        if progress.offset > before {
            patience.progress();
        }
        repository.transport.pause(&mut patience, fault).await?;
    }
}

struct Progress {
    hash: Sha256,
    offset: u64,
}

async fn pass_on(
    repository: &Repository,
    response: Response,
    digest: &Digest,
    progress: &mut Progress,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Fault> {
    let url = response.url().clone();
    let failed = |detail: String, kind| {
        let act = format!("read blob of {}", repository.image);
        let request = format!("GET {}", super::answer::without_query(&url));
        Fault { act, request, status: None, detail, attempts: 1, credentials: String::new(), kind, retry_after: None }
    };
    // A registry without ranges starts from the beginning.
    let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { progress.offset };
    let mut chunks = Chunks::new(response, repository.transport.options.patience);
    while let Some(mut chunk) = chunks.next().await.map_err(|detail| failed(detail, Kind::Connection))? {
        let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        let _ = chunk.split_to(over);
        skip -= over as u64;
        if chunk.is_empty() {
            continue;
        }
        progress.hash.update(&chunk);
        progress.offset += chunk.len() as u64;
        if to.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
    }
    let found = Digest::from_sha256(&progress.hash.clone().finalize().into());
    if found == *digest {
        return Ok(());
    }
    // Bytes that were passed on cannot be called back.
    Err(failed(format!("its content is {found}, expected {digest}"), Kind::Permanent))
}
