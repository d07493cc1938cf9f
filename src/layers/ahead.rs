//! Layers of buildpacks that are done are hashed while the next buildpack builds.
//!
//! What is found is kept as a [`super::fingerprint`], so the exporter checks it before use: if a later buildpack has touched
//! such a layer, it is read again.

use std::sync::mpsc;

use super::fingerprint::Fingerprints;
use super::source::LayerSource;

/// Gives way to compilers and package managers.
const NICENESS: i32 = 10;

/// Runs `work`. It passes on the layers that are finished; they are hashed on a thread of their own, in the order they come.
/// What is still waiting when `work` ends is left to the exporter. On one core, or without a place for fingerprints, nothing
/// is done ahead.
pub fn hash_ahead<T>(fingerprints: Option<&Fingerprints>, work: impl FnOnce(&dyn Fn(LayerSource)) -> T) -> T {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(fingerprints) = fingerprints.filter(|_| cores > 1) else { return work(&|_| {}) };
    let (finished, queue) = mpsc::channel::<Option<LayerSource>>();
    let (ended, stop) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // On Linux the priority is that of the calling thread.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            while let Ok(Some(source)) = queue.recv() {
                if stop.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    break;
                }
                fingerprints.hash_ahead(&source);
            }
        });
        let result = work(&|source| {
            let _ = finished.send(Some(source));
        });
        drop(ended);
        let _ = finished.send(None);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_hashed_ahead_is_not_read_by_the_exporter() {
        let temp = tempfile::tempdir().unwrap();
        let layer = temp.path().join("layer");
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join("f"), vec![1; 2 << 20]).unwrap();
        let source = LayerSource::Directory { path: layer.clone(), uid: 1, gid: 1 };
        let fingerprints = Fingerprints::load(temp.path());
        let slow = || std::thread::sleep(Duration::from_millis(1500));
        hash_ahead(Some(&fingerprints), |finished| {
            finished(source.clone());
            slow();
        });
        if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            assert_eq!(fingerprints.lookup(&source), Some(source.diff_id().unwrap()));
        }
        // A later buildpack changes it.
        std::fs::write(layer.join("f"), vec![2; 2 << 20]).unwrap();
        assert_eq!(fingerprints.lookup(&source), None);
    }

    #[test]
    fn works_without_fingerprints() {
        let source = LayerSource::ProcessTypes { types: Vec::new() };
        assert_eq!(hash_ahead(None, |finished| (finished(source), 7).1), 7);
    }
}
