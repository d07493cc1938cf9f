//! The one thread on which sockets are driven; everything outside is blocking.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Context, Error, Result};

/// A `current_thread` runtime on a thread of its own. Ends with its last owner.
#[derive(Debug)]
pub(super) struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    pub(super) fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("start network runtime")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(stopped);
            })
            .context("start network thread")?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a future to its end while this thread waits.
    pub(super) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.spawn(future).wait()
    }

    /// Starts a future; the result is picked up later.
    pub(super) fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Running<T> {
        let (send, result) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = send.send(future.await);
        });
        Running { result }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// A future on its way.
#[derive(Debug)]
pub(super) struct Running<T> {
    result: mpsc::Receiver<T>,
}

impl<T> Running<T> {
    pub(super) fn wait(self) -> Result<T> {
        self.result.recv().map_err(|_| Error::new("network task ended without a result"))
    }
}
