//! HTTP with the daemon: one connection and one short-lived thread per request, bodies streamed both ways in bounded memory.

use std::convert::Infallible;
use std::io::{self, Read};
use std::sync::Arc;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};

use super::connect::Connector;
use crate::error::{Context, Error, Result};

/// What a request carries.
#[derive(Debug)]
pub enum Body {
    None,
    /// A tar that is written while it is sent.
    Stream(mpsc::Receiver<Bytes>),
}

/// Chunks that may wait between sender and socket.
const QUEUE: usize = 4;

/// The sending end of a streamed body. Dropping it ends the body.
#[derive(Debug)]
pub struct BodyWriter {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
    hung_up: bool,
}

const CHUNK: usize = 256 << 10;

impl BodyWriter {
    pub fn pair() -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, buffer: Vec::with_capacity(CHUNK), hung_up: false }, Body::Stream(receiver))
    }

    /// Whether writing ended because the daemon did not want more. Its answer tells why.
    pub fn hung_up(&self) -> bool {
        self.hung_up
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
            if self.sender.blocking_send(chunk.into()).is_err() {
                self.hung_up = true;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    body: BodyReader,
}

/// The body as it arrives. Dropped early, it closes the connection.
#[derive(Debug)]
pub struct BodyReader {
    chunks: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.current.len());
        out[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

impl Response {
    /// Refuses statuses other than 2xx, with the daemon's own words.
    pub fn ok(self) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.into_error()) }
    }

    pub fn into_error(mut self) -> Error {
        let status = self.status;
        let mut text = String::new();
        // A cut answer says more than none.
        let _ = self.body.by_ref().take(64 << 10).read_to_string(&mut text);
        let message =
            serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|json| json["message"].as_str().map(str::to_owned));
        let text = message.unwrap_or_else(|| text.trim().to_owned());
        let text = if text.is_empty() { status.to_string() } else { text };
        Error::new(format!("Error response from daemon: {text}"))
    }

    pub fn json(mut self) -> Result<serde_json::Value> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::new(format!("parse the daemon's answer: {e}")))
    }

    pub fn into_body(self) -> BodyReader {
        self.body
    }
}

/// Sends a request and waits for the head of the response.
///
/// # Errors
/// No connection; the daemon hung up.
pub fn send(connector: &Arc<Connector>, method: Method, path: &str, body: Body) -> Result<Response> {
    let span = tracing::debug_span!("docker", method = method.as_str(), path, status = tracing::field::Empty).entered();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "docker")
        .header(header::USER_AGENT, concat!("lifecycle/", env!("CARGO_PKG_VERSION")));
    let request = match body {
        Body::None => request.body(UnsyncBoxBody::new(Empty::<Bytes>::new())),
        Body::Stream(mut receiver) => {
            let frames = stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|chunk| chunk.map(|c| Ok(Frame::data(c)))));
            request.header(header::CONTENT_TYPE, "application/x-tar").body(UnsyncBoxBody::new(StreamBody::new(frames)))
        }
    };
    let request = request.map_err(|e| Error::new(format!("{path}: {e}")))?;
    let (head, answer) = oneshot::channel();
    let connector = Arc::clone(connector);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().context("start network runtime")?;
    std::thread::Builder::new()
        .name("docker".to_owned())
        .spawn(move || runtime.block_on(exchange(&connector, request, head)))
        .context("start network thread")?;
    let response = answer.blocking_recv().map_err(|_| Error::new("the docker daemon's connection was lost"))??;
    span.record("status", response.status.as_u16());
    Ok(response)
}

type Sent = Request<UnsyncBoxBody<Bytes, Infallible>>;

async fn exchange(connector: &Connector, request: Sent, head: oneshot::Sender<Result<Response>>) {
    let response = match respond(connector, request).await {
        Ok(response) => response,
        Err(error) => {
            let _ = head.send(Err(error));
            return;
        }
    };
    let (parts, mut body) = response.into_parts();
    let (chunks, reader) = mpsc::channel(QUEUE);
    let body_reader = BodyReader { chunks: reader, current: Bytes::new() };
    if head.send(Ok(Response { status: parts.status, headers: parts.headers, body: body_reader })).is_err() {
        return;
    }
    while let Some(frame) = body.frame().await {
        let chunk = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_trailers)) => continue,
            Err(error) => Err(format!("the docker daemon's answer was cut short: {error}")),
        };
        // Nobody reads on: the rest is not wanted.
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn respond(connector: &Connector, request: Sent) -> Result<hyper::Response<hyper::body::Incoming>> {
    let shown = &connector.host().shown;
    let lost = |error: hyper::Error| {
        let text = chain(&error);
        Error::new(format!("error during request to {shown}: {text}{}", connector.hint(&text)))
    };
    let stream = connector.connect().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // Ends with the runtime.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(lost)
}

/// The error with its causes, which hyper does not show.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
