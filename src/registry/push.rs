//! Writing layers: one streaming upload while the layer is made; if it breaks, the layer is made again and sent on from where
//! the registry says it stopped.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::stream;
use hyper::body::Bytes;
use reqwest::{Body, Url};
use tokio::sync::mpsc;

use super::fault::{Fault, Kind};
use super::repository::{Repository, Started};
use super::request::Stream;
use super::runtime::{Running, Runtime};
use crate::error::{Error, Result};
use crate::image::Digest;
use crate::layers::sink::{BlobSink, Chunk};

/// Blobs up to this size are held in memory and sent in one request.
const SMALL: usize = 1 << 20;

/// Tells a slow source, which is fine, from a registry that takes nothing.
#[derive(Clone, Debug)]
pub(super) struct Silence(Arc<Mutex<(Instant, Sending)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The next piece has yet to be made.
    Waiting,
    /// The registry has a piece to take.
    Offering,
    /// All is sent, the answer is awaited.
    Ended,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Sending::Offering))))
    }

    fn note(&self, sending: Sending) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (Instant::now(), sending);
    }

    /// Ends when the registry has taken nothing for this long, or has not answered for that long at the end.
    pub(super) async fn longer_than(&self, limit: Duration, at_end: Duration) {
        loop {
            tokio::time::sleep((limit / 8).clamp(Duration::from_millis(20), Duration::from_secs(2))).await;
            let (last, sending) = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match sending {
                Sending::Offering if last.elapsed() > limit => return,
                Sending::Ended if last.elapsed() > at_end => return,
                _ => {}
            }
        }
    }
}

/// A body out of a channel.
pub(super) fn body(chunks: mpsc::Receiver<io::Result<Bytes>>, length: Option<u64>) -> Stream {
    let silence = Silence::new();
    let noted = silence.clone();
    let items = stream::unfold((chunks, noted), |(mut chunks, noted)| async move {
        noted.note(Sending::Waiting);
        let next = chunks.recv().await;
        noted.note(if next.is_some() { Sending::Offering } else { Sending::Ended });
        next.map(|chunk| (chunk, (chunks, noted)))
    });
    Stream { body: Body::wrap_stream(items), length, silence }
}

/// One layer's way into a repository, over all attempts.
#[derive(Debug)]
pub(super) struct Upload {
    pub repository: Repository,
    pub runtime: Arc<Runtime>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Url>,
    failed: Option<Fault>,
    /// The registry wants to know the size beforehand.
    needs_length: bool,
}

/// How an attempt sends its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// As they are made; digest and size are not known yet.
    Streaming,
    /// Those from `offset` on.
    Resuming { session: Url, offset: u64, size: u64 },
    /// All in one request.
    Whole { digest: Digest, size: u64 },
}

impl Upload {
    pub(super) fn new(repository: Repository, runtime: Arc<Runtime>) -> Arc<Self> {
        Arc::new(Self { repository, runtime, state: Mutex::default() })
    }

    /// Where an attempt's bytes go.
    pub(super) fn sink(self: &Arc<Self>, plan: Plan) -> UploadSink {
        let skip = if let Plan::Resuming { offset, .. } = &plan { *offset } else { 0 };
        UploadSink { upload: Arc::clone(self), plan, skip, phase: Phase::Small(Vec::new()) }
    }

    /// Why the last attempt failed, if it did and another one makes sense.
    pub(super) fn take_failure(&self) -> Option<Fault> {
        self.state().failed.take()
    }

    /// What to do after a failure, now that digest and size are known.
    pub(super) async fn plan(&self, digest: &Digest, size: u64) -> Result<Plan, Fault> {
        let (session, needs_length) = {
            let mut state = self.state();
            (state.session.take(), state.needs_length)
        };
        if let Some(session) = session {
            if !needs_length
                && let Some((offset, session)) = self.repository.upload_offset(&session).await?
                && (1..size).contains(&offset)
            {
                return Ok(Plan::Resuming { session, offset, size });
            }
            self.repository.cancel_upload(session).await;
        }
        Ok(Plan::Whole { digest: digest.clone(), size })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Keeps a failure for another attempt, or says that there is no use in one.
    fn failed(&self, fault: Fault) -> Result<()> {
        let wants_length = fault.status.is_some_and(|s| matches!(s.as_u16(), 400 | 405 | 411 | 413 | 415 | 501));
        if wants_length {
            self.state().needs_length = true;
        }
        if fault.status.is_some_and(|s| s.as_u16() == 411) {
            self.repository.transport.learn_wants_length(&self.repository.registry);
        }
        let fault = fault.doubtful();
        if !fault.kind.is_transient() {
            return Err(fault.into());
        }
        self.state().failed = Some(fault);
        Ok(())
    }

    /// Whether the registry is known to take nothing whose length it does not know; then this attempt is only for digest and
    /// size.
    fn wants_length(&self) -> bool {
        let repository = &self.repository;
        if !repository.transport.wants_length(&repository.registry) {
            return false;
        }
        let fault = Fault {
            act: format!("send blob of {}", repository.image),
            request: String::new(),
            status: None,
            detail: "the registry wants to know the length".to_owned(),
            attempts: 1,
            credentials: String::new(),
            kind: Kind::Doubtful,
            retry_after: None,
        };
        let mut state = self.state();
        (state.failed, state.needs_length) = (Some(fault), true);
        true
    }

    fn start(self: &Arc<Self>, plan: &Plan) -> (mpsc::Sender<io::Result<Bytes>>, Running<Result<(), Fault>>) {
        // Four pieces of at most a few MiB: that is the back-pressure.
        let (send, chunks) = mpsc::channel(4);
        let (upload, plan) = (Arc::clone(self), plan.clone());
        (send, self.runtime.spawn(async move { upload.send(plan, chunks).await }))
    }

    async fn send(&self, plan: Plan, chunks: mpsc::Receiver<io::Result<Bytes>>) -> Result<(), Fault> {
        let repository = &self.repository;
        match plan {
            Plan::Streaming => {
                let Started::Session(session) = repository.start_upload(None).await? else { return Ok(()) };
                self.state().session = Some(session.clone());
                let next = repository.patch(session, body(chunks, None), None).await?;
                self.state().session = Some(next);
            }
            Plan::Resuming { session, offset, size } => {
                self.state().session = Some(session.clone());
                let next = repository.patch(session, body(chunks, Some(size - offset)), Some((offset, size))).await?;
                self.state().session = Some(next);
            }
            Plan::Whole { digest, size } => {
                let Started::Session(session) = repository.start_upload(None).await? else { return Ok(()) };
                repository.put_stream(session, &digest, body(chunks, Some(size))).await?;
            }
        }
        Ok(())
    }
}

/// Takes in the bytes of one attempt. After a failure that another attempt may mend, the rest is only counted, so that the
/// layer is made to its end and its digest becomes known.
pub(super) struct UploadSink {
    upload: Arc<Upload>,
    plan: Plan,
    /// Bytes that the registry has already.
    skip: u64,
    phase: Phase,
}

enum Phase {
    /// So little that it may fit into one request.
    Small(Vec<u8>),
    Sending(mpsc::Sender<io::Result<Bytes>>, Running<Result<(), Fault>>),
    Failed,
    Done,
}

impl UploadSink {
    fn send(&mut self, bytes: Bytes) -> Result<()> {
        let Phase::Sending(send, _) = &self.phase else { return Ok(()) };
        if send.blocking_send(Ok(bytes)).is_ok() {
            return Ok(());
        }
        let Phase::Sending(_, running) = std::mem::replace(&mut self.phase, Phase::Failed) else { return Ok(()) };
        match running.wait()? {
            Err(fault) => self.upload.failed(fault),
            Ok(()) => {
                Err(Error::new(format!("send blob of {}: the registry did not wait for its end", self.upload.repository.image)))
            }
        }
    }
}

impl BlobSink for UploadSink {
    fn write(&mut self, mut chunk: Chunk) -> Result<()> {
        let over = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        self.skip -= over as u64;
        chunk.skip(over);
        if chunk.is_empty() {
            return Ok(());
        }
        if let Phase::Small(held) = &mut self.phase {
            if self.plan == Plan::Streaming && held.len() + chunk.len() <= SMALL {
                held.extend_from_slice(&chunk);
                return Ok(());
            }
            let held = std::mem::take(held);
            if self.plan == Plan::Streaming && self.upload.wants_length() {
                self.phase = Phase::Failed;
                return Ok(());
            }
            let (send, running) = self.upload.start(&self.plan);
            self.phase = Phase::Sending(send, running);
            if !held.is_empty() {
                self.send(held.into())?;
            }
        }
        self.send(Bytes::from_owner(chunk))
    }

    fn finish(mut self: Box<Self>, digest: &Digest, _size: u64) -> Result<()> {
        let upload = Arc::clone(&self.upload);
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Small(bytes) => {
                let (repository, digest) = (upload.repository.clone(), digest.clone());
                upload.runtime.run(async move { repository.put_small(&digest, bytes.into()).await })??;
            }
            Phase::Sending(send, running) => {
                drop(send);
                if let Err(fault) = running.wait()? {
                    return upload.failed(fault);
                }
                let session = upload.state().session.clone();
                if let (Some(session), false) = (session, matches!(self.plan, Plan::Whole { .. })) {
                    let (repository, digest) = (upload.repository.clone(), digest.clone());
                    let done = upload.runtime.run(async move { repository.finish_upload(session, &digest, None).await })?;
                    if let Err(fault) = done {
                        return upload.failed(fault);
                    }
                }
            }
            Phase::Failed | Phase::Done => {}
        }
        Ok(())
    }
}

impl Drop for UploadSink {
    fn drop(&mut self) {
        let Phase::Sending(send, running) = std::mem::replace(&mut self.phase, Phase::Done) else { return };
        // The layer could not be made: break the body off, so that its beginning is not taken for the whole.
        let _ = send.try_send(Err(io::Error::other("layer is incomplete")));
        drop((send, running));
        let session = self.upload.state().session.take();
        if let Some(session) = session {
            let repository = self.upload.repository.clone();
            let cancel = async move { tokio::time::timeout(Duration::from_secs(2), repository.cancel_upload(session)).await };
            let _ = self.upload.runtime.run(cancel);
        }
    }
}

/// Copies a blob from another registry, or from a repository that it could not be mounted from.
pub(super) async fn copy(
    from: &Repository,
    to: &Repository,
    digest: &Digest,
    size: u64,
    session: Option<Url>,
) -> Result<(), Fault> {
    let mut patience = super::retry::Patience::new(to.transport.options.patience);
    let mut session = session;
    loop {
        let target = match session.take() {
            Some(session) => session,
            None => match to.start_upload(None).await? {
                Started::Session(session) => session,
                Started::Mounted => return Ok(()),
            },
        };
        let (send, chunks) = mpsc::channel(4);
        let source = async {
            let read = super::pull::download(from, digest, &send).await;
            if let Err(fault) = &read {
                let _ = send.send(Err(io::Error::other(fault.to_string()))).await;
            }
            drop(send);
            read
        };
        let (read, written) = tokio::join!(source, to.put_stream(target, digest, body(chunks, Some(size))));
        // What could not be read is the cause, what could not be written its consequence.
        read?;
        let Err(fault) = written else { return Ok(()) };
        to.transport.pause(&mut patience, fault.doubtful()).await?;
        if to.has_blob(digest).await? {
            return Ok(());
        }
    }
}

impl Fault {
    /// An upload that is refused may have been lost, broken on the way or cut: worth a few more attempts from the start.
    pub(super) fn doubtful(self) -> Self {
        let lost = self.status.is_some_and(|s| matches!(s.as_u16(), 400 | 404 | 405 | 411 | 413 | 415 | 416 | 501));
        if lost { Self { kind: Kind::Doubtful, ..self } } else { self }
    }
}
