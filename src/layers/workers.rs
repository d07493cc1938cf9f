//! The threads that compress, shared by all layers.
//!
//! As many as there are cores, started when the first layer comes. Who submits a chunk gets a place where the result
//! will be; results of different chunks come in any order.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::compression::Compression;
use super::pack::Packer;
use crate::error::{Error, Result};

struct Job {
    chunk: Vec<u8>,
    compression: Compression,
    done: Sender<Packed>,
}

/// A chunk and what became of it.
pub struct Packed {
    /// Its memory may be used again.
    pub chunk: Vec<u8>,
    pub result: Result<Vec<u8>>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("chunk", &self.chunk.len()).finish_non_exhaustive()
    }
}

/// Where a result will be.
#[derive(Debug)]
pub struct Pending(Receiver<Packed>);

impl Pending {
    pub fn wait(self) -> Packed {
        self.0
            .recv()
            .unwrap_or_else(|_| Packed { chunk: Vec::new(), result: Err(Error::new("a thread that compresses ended early")) })
    }

    pub fn is_ready(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Threads that compress.
pub struct Pool {
    threads: usize,
    queue: Option<Sender<Job>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Pool {
    /// With so many threads, which have the priority of the calling one; with fewer than two, who submits compresses himself.
    pub fn new(threads: usize) -> Self {
        if threads < 2 {
            return Self { threads: 1, queue: None };
        }
        let (queue, jobs) = bounded::<Job>(threads);
        let mut started = 0;
        for _ in 0..threads {
            let jobs = jobs.clone();
            let work = move || jobs.iter().for_each(Job::run);
            started += usize::from(std::thread::Builder::new().name("compress".into()).spawn(work).is_ok());
        }
        Self { threads: started.max(1), queue: (started > 0).then_some(queue) }
    }

    /// The one of this process, with a thread for each core.
    pub fn shared() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new(count()))
    }

    /// Chunks that can be compressed at the same time.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Compresses on another thread; on this one if there is no other or it is to stay here.
    pub fn submit(&self, chunk: Vec<u8>, compression: Compression) -> Pending {
        let (done, place) = bounded(1);
        let job = Job { chunk, compression, done };
        match self.queue.as_ref().filter(|_| !stays_here()) {
            Some(queue) => {
                if let Err(rejected) = queue.send(job) {
                    rejected.into_inner().run();
                }
            }
            None => job.run(),
        }
        Pending(place)
    }
}

/// What this thread submits to any pool is compressed on it as long as `flag` is true.
pub fn stay_here_while(flag: Arc<AtomicBool>) {
    STAYS.set(Some(flag));
}

fn stays_here() -> bool {
    STAYS.with_borrow(|stays| stays.as_ref().is_some_and(|stays| stays.load(Ordering::Relaxed)))
}

/// Cores that compress.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// More would wait for the disk and the network.
const MOST: usize = 16;

thread_local! {
    static STAYS: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
    static PACKER: RefCell<Option<Packer>> = const { RefCell::new(None) };
}

impl Job {
    fn run(self) {
        let result = PACKER.with_borrow_mut(|kept| {
            let mut packer = match kept.take().filter(|p| p.compression() == self.compression) {
                Some(packer) => packer,
                None => Packer::new(self.compression)?,
            };
            let result = packer.pack(&self.chunk);
            *kept = Some(packer);
            result
        });
        // Nobody waits any more: the layer failed elsewhere.
        let _ = self.done.send(Packed { chunk: self.chunk, result });
    }
}
