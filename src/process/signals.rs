//! SIGTERM, SIGINT and SIGHUP: they reach the programs that run on our behalf, temporary files go, the exit code is 128 + the
//! signal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Failure};

use super::children;

/// How long children may take to end; whoever stops a container kills everything in it after ten seconds.
const CHILDREN: Duration = Duration::from_secs(8);
/// How long the phase may take to notice that its child is gone, and to clean up as it always does.
const PHASE: Duration = Duration::from_secs(1);

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static DOOMED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Starts to watch; further calls do nothing. To be called when the process has become the user it stays: a thread begins
/// here. A signal that the process was told to ignore (`nohup`, a shell's background jobs) stays ignored.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ignored = ignored();
        let watched = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|&signal| !ignored(signal));
        // Without the watch a signal ends the process on the spot, as it would any other program.
        if let Ok(signals) = Signals::new(watched) {
            let _ = thread::Builder::new().name("signals".into()).spawn(move || follow(signals));
        }
    });
}

/// The error for a phase that a signal ended.
pub fn received() -> Option<Error> {
    let signal = RECEIVED.load(Ordering::SeqCst);
    (signal != 0).then(|| Error::new(format!("ended by signal {signal}")).or_failure(Failure::Signal(signal)))
}

/// A path that must not stay behind if a signal ends the process. In all other cases its owner removes it.
#[derive(Debug)]
pub struct Doomed(PathBuf);

/// Lets `path`, a file or a directory, go if a signal comes before the result is dropped.
pub fn doom(path: &Path) -> Doomed {
    watch();
    doomed().push(path.to_owned());
    Doomed(path.to_owned())
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let mut paths = doomed();
        if let Some(at) = paths.iter().position(|path| *path == self.0) {
            paths.swap_remove(at);
        }
    }
}

fn doomed() -> MutexGuard<'static, Vec<PathBuf>> {
    DOOMED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(mut signals: Signals) {
    let Some(signal) = signals.forever().next() else { return };
    RECEIVED.store(signal, Ordering::SeqCst);
    if children::signal(signal) {
        // A second signal means that somebody is in a hurry.
        let deadline = Instant::now() + CHILDREN;
        while children::any() && Instant::now() < deadline && signals.pending().next().is_none() {
            thread::sleep(Duration::from_millis(10));
        }
        children::kill();
        // The phase ends by itself now that its program is gone; `main` sees the signal and ends the process.
        thread::sleep(PHASE);
    }
    for path in doomed().iter() {
        remove(path);
    }
    end(signal);
}

/// Other threads may still be writing: what appears while a directory is removed is removed with the next pass.
fn remove(path: &Path) {
    for _ in 0..5 {
        let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if gone.is_ok() || !path.exists() {
            return;
        }
    }
}

/// The one exit outside `main`, for `main` may be in the middle of a transfer.
fn end(signal: i32) -> ! {
    std::process::exit(Failure::Signal(signal).exit_code().into())
}

/// Which signals this process was started to ignore.
fn ignored() -> impl Fn(i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    move |signal| mask & (1 << (signal - 1)) != 0
}
