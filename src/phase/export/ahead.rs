//! Layers of buildpacks that are done enter the image while the next buildpack builds.
//!
//! One thread with little priority hashes them, compresses what the previous image has not, and hands it to the store. What it
//! found is kept as a [`Fingerprints`] entry, so the exporter checks it before use: a layer that a later buildpack has touched
//! is read again. A blob that was sent for nothing is in no manifest.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::debug;

use crate::error::{Error, Result};
use crate::image::{DiffId, ImageWriter, LayerBlob};
use crate::layers::fingerprint::{Fingerprints, Known};
use crate::layers::source::LayerSource;
use crate::layers::workers::{self, Pool};

/// Gives way to compilers and package managers.
const NICENESS: i32 = 10;
/// How long a build that failed waits for a layer that is being sent, to leave nothing behind.
const PARTING: Duration = Duration::from_secs(3);

/// What takes in the layers of the image.
pub enum Intake {
    New(Box<dyn ImageWriter>),
    /// It has some already.
    Begun(Ahead),
}

impl Intake {
    pub fn writer(&self) -> &dyn ImageWriter {
        match self {
            Self::New(writer) => writer.as_ref(),
            Self::Begun(ahead) => ahead.writer(),
        }
    }

    pub fn ahead(&self) -> Option<&Ahead> {
        match self {
            Self::New(_) => None,
            Self::Begun(ahead) => Some(ahead),
        }
    }

    pub fn into_writer(self) -> Result<Box<dyn ImageWriter>> {
        match self {
            Self::New(writer) => Ok(writer),
            Self::Begun(ahead) => ahead.into_writer(),
        }
    }
}

/// A layer that its buildpack has finished.
#[derive(Clone, Debug)]
pub struct FinishedLayer {
    pub path: PathBuf,
    pub uid: u64,
    pub gid: u64,
    /// What the previous image and the cache have in its place. If it turns out to be one of these, the rest is the exporter's.
    pub known: Vec<DiffId>,
    /// It belongs into the image.
    pub launch: bool,
}

/// What is made while buildpacks run. Dropping it gives up what is not finished.
pub struct Ahead {
    writer: Arc<Box<dyn ImageWriter>>,
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<FinishedLayer>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    fingerprints: Arc<Fingerprints>,
    /// Buildpacks still run.
    building: Arc<AtomicBool>,
    given_up: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The layer that is being made.
    running: Option<PathBuf>,
    blobs: HashMap<DiffId, LayerBlob>,
    ended: bool,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ahead")
    }
}

impl Ahead {
    /// `None` on one core, where it would only slow the buildpacks down. The layers go to `writer`, which
    /// [`Self::into_writer`] gives back.
    pub fn start(writer: Box<dyn ImageWriter>, fingerprints: Arc<Fingerprints>) -> Option<Self> {
        if workers::count() < 2 {
            return None;
        }
        let writer = Arc::new(writer);
        let shared = Arc::new(Shared {
            fingerprints,
            building: Arc::new(AtomicBool::new(true)),
            given_up: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (queue, inbox) = mpsc::channel();
        let (own_writer, own_shared) = (Arc::clone(&writer), Arc::clone(&shared));
        let work = move || {
            // On Linux the priority is that of the calling thread.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            workers::stay_here_while(Arc::clone(&own_shared.building));
            for layer in inbox {
                own_shared.make(own_writer.as_ref().as_ref(), &layer);
            }
            drop(own_writer);
            own_shared.lock().ended = true;
            own_shared.changed.notify_all();
        };
        let thread = std::thread::Builder::new().name("ahead".into()).spawn(work).ok()?;
        Some(Self { writer, shared, queue: Some(queue), thread: Some(thread) })
    }

    /// Puts a layer in the queue.
    pub fn add(&self, layer: FinishedLayer) {
        if (layer.launch || !layer.known.is_empty())
            && let Some(queue) = &self.queue
        {
            let _ = queue.send(layer);
        }
    }

    /// The buildpacks are done: no further layer is begun, the one that is being made gets all cores.
    pub fn build_is_over(&mut self) {
        // Threads inherit the priority of the one that starts them.
        Pool::shared();
        let state = self.shared.lock();
        self.shared.building.store(false, Ordering::Relaxed);
        drop(state);
        self.queue = None;
    }

    pub fn writer(&self) -> &dyn ImageWriter {
        self.writer.as_ref().as_ref()
    }

    pub fn fingerprints(&self) -> &Fingerprints {
        &self.shared.fingerprints
    }

    /// Returns when the layer is not being made any more.
    pub fn wait_for(&self, source: &LayerSource) {
        let LayerSource::Directory { path, .. } = source else { return };
        let is_running = |state: &mut State| state.running.as_deref() == Some(path.as_path());
        drop(self.shared.changed.wait_while(self.shared.lock(), is_running));
    }

    /// The blob that was made of the layer with this diffID.
    pub fn blob(&self, diff_id: &DiffId) -> Option<LayerBlob> {
        self.shared.lock().blobs.get(diff_id).cloned()
    }

    /// Waits for the end of what was begun.
    ///
    /// # Errors
    /// The thread ended without letting go of the writer.
    pub fn into_writer(mut self) -> Result<Box<dyn ImageWriter>> {
        self.queue = None;
        let _ = self.thread.take().map(JoinHandle::join);
        // The other owner was the thread.
        let writer = Arc::clone(&self.writer);
        drop(self);
        Arc::into_inner(writer).ok_or_else(|| Error::new("layers are still being made"))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.given_up.store(true, Ordering::Relaxed);
        self.queue = None;
        if self.thread.is_some() {
            // A registry that does not answer holds nobody up.
            drop(self.shared.changed.wait_timeout_while(self.shared.lock(), PARTING, |state| !state.ended));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, writer: &dyn ImageWriter, layer: &FinishedLayer) {
        let mut state = self.lock();
        if !self.building.load(Ordering::Relaxed) || self.given_up.load(Ordering::Relaxed) {
            return;
        }
        state.running = Some(layer.path.clone());
        drop(state);
        let blob = self.blob(writer, layer);
        let mut state = self.lock();
        state.running = None;
        state.blobs.extend(blob.map(|blob| (blob.diff_id.clone(), blob)));
        drop(state);
        self.changed.notify_all();
    }

    /// Whatever goes wrong here, the exporter meets again and tells.
    fn blob(&self, writer: &dyn ImageWriter, layer: &FinishedLayer) -> Option<LayerBlob> {
        let source = LayerSource::Directory { path: layer.path.clone(), uid: layer.uid, gid: layer.gid };
        let Known(hashed) = self.fingerprints.look_ahead(&source)?;
        if !layer.known.is_empty() {
            let diff_id = match hashed {
                Some(diff_id) => diff_id,
                None => self.fingerprints.read_ahead(&source, LayerSource::diff_id, |diff_id| diff_id)?,
            };
            if layer.known.contains(&diff_id) || !layer.launch {
                return None;
            }
        }
        let mut watch = Watcher { given_up: &self.given_up, path: &layer.path };
        let add = |source: &LayerSource| writer.add_layer(source, Some(&mut watch));
        let blob = self.fingerprints.read_ahead(&source, add, |blob| &blob.diff_id)?;
        debug!("Layer {} was made while buildpacks ran", blob.diff_id);
        Some(blob)
    }
}

/// Sees all bytes of a layer pass, and stops them when nobody wants the layer any more.
struct Watcher<'a> {
    given_up: &'a AtomicBool,
    path: &'a Path,
}

impl Write for Watcher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.given_up.load(Ordering::Relaxed) {
            true => Err(io::Error::other(format!("{} is not needed any more", self.path.display()))),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
