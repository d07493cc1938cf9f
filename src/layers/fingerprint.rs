//! What is unchanged is not read: the state of a layer's files, as the system tells it without opening them, stands for the
//! diffID that an earlier look into them has given.
//!
//! A fingerprint is a hash over device, inode, size, mode, owner, times of modification and change of every entry, and over
//! what the layer's tar has of the directories above. Times of modification can be set by anybody, times of change by nobody,
//! and nothing can change without one. They tick, however: two changes within a tick look the same. So a fingerprint counts
//! only if all its times are safely older than the moment at which it was first taken, and if it is the same after the files
//! were read as it was before. Everything that cannot be proved in this way is read.
//!
//! They are kept in `.fingerprints` in the cache directory, which buildpacks of separate phases do not see. One line is
//! `<diffID> <hash>`. Whoever drops the file (the reference leaves it alone) loses time, nothing else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tracing::debug;

use super::extract::Extracted;
use super::source::LayerSource;
use super::tar::watch::{Print, Skeleton, TICK, Trace, Watch};
use crate::error::Result;
use crate::image::DiffId;

const FILE: &str = ".fingerprints";

/// Smaller layers are read as fast as looked up.
const WORTH_BYTES: u64 = 1 << 20;
const WORTH_ENTRIES: u64 = 100;

type Hash = [u8; 32];

/// Fingerprints of the layers of this build and the one before.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// `None`: they end with the process.
    file: Option<PathBuf>,
    known: Mutex<HashMap<Hash, DiffId>>,
    /// Of this build; these are saved.
    current: Mutex<HashMap<Hash, DiffId>>,
    /// Layers that were read; they are looked at once more before they are saved.
    read: Mutex<Vec<(LayerSource, Print, DiffId)>>,
    /// Layers that were extracted, with the skeletons of their tars.
    restored: Mutex<Vec<(LayerSource, DiffId, Hash)>>,
}

impl Fingerprints {
    /// Those that are kept in the cache directory.
    pub fn load(cache_dir: &Path) -> Self {
        let file = cache_dir.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let parse = |line: &str| {
            let (diff_id, hash) = line.split_once(' ')?;
            Some((from_hex(hash)?, DiffId::parse(diff_id)?))
        };
        let known = text.lines().filter_map(parse).collect();
        Self { file: Some(file), known: Mutex::new(known), ..Self::default() }
    }

    /// The diffID of a layer whose files are as they were when it was hashed.
    pub fn lookup(&self, source: &LayerSource) -> Option<DiffId> {
        if lock(&self.known).is_empty() || !is_directory(source) {
            return None;
        }
        let (print, _) = look(source).ok()?;
        let hash = key(source, &print);
        let diff_id = lock(&self.known).get(&hash).cloned()?;
        debug!("Layer {diff_id} is unchanged on disk");
        lock(&self.current).insert(hash, diff_id.clone());
        Some(diff_id)
    }

    /// The diffID, from the fingerprint if there is one, else from the files.
    pub fn diff_id(&self, source: &LayerSource) -> Result<DiffId> {
        if let Some(diff_id) = self.lookup(source) {
            return Ok(diff_id);
        }
        let traced = self.trace(source);
        let diff_id = traced.source.diff_id()?;
        traced.is(&diff_id);
        Ok(diff_id)
    }

    /// What is known of a layer that was finished a moment ago. `None`: it is so small, or still so much in motion, that a later
    /// [`Self::lookup`] is not worth it.
    pub fn look_ahead(&self, source: &LayerSource) -> Option<Known> {
        std::thread::sleep(TICK);
        let (print, _) = look(source).ok().filter(|(print, _)| is_worth_it(print) && print.unsettled().is_zero())?;
        Some(Known(lock(&self.known).get(&key(source, &print)).cloned()))
    }

    /// Reads a layer that was finished a moment ago and notes its diffID for a later [`Self::lookup`], which is the proof that
    /// nothing has changed since. Errors are left to whoever needs the layer.
    pub fn read_ahead<T>(
        &self,
        source: &LayerSource,
        read: impl FnOnce(&LayerSource) -> Result<T>,
        diff_id: impl FnOnce(&T) -> &DiffId,
    ) -> Option<T> {
        let traced = self.trace(source);
        let found = read(&traced.source).inspect_err(|error| debug!("Cannot make a layer ahead: {error}")).ok()?;
        let print = lock(&traced.print).take().filter(|print| print.unsettled().is_zero())?;
        lock(&self.known).insert(key(source, &print), diff_id(&found).clone());
        Some(found)
    }

    /// To be read in place of `source`; then its diffID is known and will be remembered.
    pub fn trace(&self, source: &LayerSource) -> Traced<'_> {
        let print = Arc::default();
        let traced = match is_directory(source) {
            true => LayerSource::Traced { source: Box::new(source.clone()), print: Arc::clone(&print) },
            false => source.clone(),
        };
        Traced { owner: self, original: source.clone(), source: traced, print }
    }

    /// A layer that was just extracted from the tar with this diffID. It counts, once [`Self::save`] has looked at it, if the
    /// tar that would be made of it has the same headers as the one it came from, hashed as `skeleton`.
    pub fn restored(&self, source: &LayerSource, diff_id: &DiffId, extracted: &Extracted) {
        if extracted.bytes >= WORTH_BYTES {
            lock(&self.restored).push((source.clone(), diff_id.clone(), extracted.skeleton));
        }
    }

    /// Looks at restored layers when the clock has gone past their last change.
    fn look_at_restored(&self) {
        let restored = std::mem::take(&mut *lock(&self.restored));
        if restored.is_empty() {
            return;
        }
        std::thread::sleep(TICK);
        for (source, diff_id, skeleton) in restored {
            if let Ok((print, found)) = look(&source)
                && found == skeleton
                && print.unsettled().is_zero()
            {
                let hash = key(&source, &print);
                lock(&self.known).insert(hash, diff_id.clone());
                lock(&self.current).insert(hash, diff_id);
            }
        }
    }

    /// Writes what this build knows. A file that cannot be written costs the next build time.
    pub fn save(&self) {
        self.look_at_restored();
        let Some(file) = &self.file else { return };
        for (source, before, diff_id) in std::mem::take(&mut *lock(&self.read)) {
            if before.unsettled().is_zero()
                && let Ok((after, _)) = look(&source)
                && after.hash == before.hash
            {
                lock(&self.current).insert(key(&source, &before), diff_id);
            }
        }
        let current = lock(&self.current);
        if current.is_empty() {
            return;
        }
        let mut lines: Vec<String> = current.iter().map(|(hash, diff_id)| format!("{diff_id} {}\n", to_hex(hash))).collect();
        lines.sort();
        let new = file.with_extension("new");
        let written = std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, file));
        if let Err(error) = written {
            debug!("Cannot write {}: {error}", file.display());
        }
    }
}

/// The diffID of a layer, if it was hashed before and is as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known(pub Option<DiffId>);

/// A layer that is about to be read, see [`Fingerprints::trace`].
#[derive(Debug)]
pub struct Traced<'a> {
    owner: &'a Fingerprints,
    original: LayerSource,
    pub source: LayerSource,
    print: Arc<Mutex<Option<Print>>>,
}

impl Traced<'_> {
    /// It was read and has this diffID.
    pub fn is(self, diff_id: &DiffId) {
        if let Some(print) = lock(&self.print).take().filter(is_worth_it) {
            lock(&self.owner.read).push((self.original, print, diff_id.clone()));
        }
    }
}

/// Reads layers, with what fingerprints there are.
#[derive(Clone, Copy, Debug)]
pub struct LayerReader<'a>(pub Option<&'a Fingerprints>);

impl LayerReader<'_> {
    /// See [`Fingerprints::lookup`].
    pub fn lookup(self, source: &LayerSource) -> Option<DiffId> {
        self.0?.lookup(source)
    }

    /// See [`Fingerprints::diff_id`].
    pub fn diff_id(self, source: &LayerSource) -> Result<DiffId> {
        match self.0 {
            Some(fingerprints) => fingerprints.diff_id(source),
            None => source.diff_id(),
        }
    }

    /// Lets `read` read the layer for its own purpose; its fingerprint is remembered with the diffID that `read` found.
    pub fn read<T>(
        self,
        source: &LayerSource,
        read: impl FnOnce(&LayerSource) -> Result<T>,
        diff_id: impl FnOnce(&T) -> &DiffId,
    ) -> Result<T> {
        let Some(fingerprints) = self.0 else { return read(source) };
        let traced = fingerprints.trace(source);
        let result = read(&traced.source)?;
        traced.is(diff_id(&result));
        Ok(result)
    }
}

fn is_directory(source: &LayerSource) -> bool {
    matches!(source, LayerSource::Directory { .. } | LayerSource::App { .. })
}

fn is_worth_it(print: &Print) -> bool {
    print.bytes >= WORTH_BYTES || print.entries >= WORTH_ENTRIES
}

/// The state of the files, and the hash of the tar's headers.
fn look(source: &LayerSource) -> Result<(Print, Hash)> {
    let mut watch = Watch { trace: Some(Trace::new()), skip_content: true };
    let mut skeleton = Skeleton::new();
    source.produce_watched(&mut skeleton, &mut watch)?;
    Ok((watch.trace.unwrap_or_default().finish(), skeleton.finish()))
}

/// What else the tar depends on.
fn key(source: &LayerSource, print: &Print) -> Hash {
    let (kind, uid, gid) = match source {
        LayerSource::Directory { uid, gid, .. } => (1, *uid, *gid),
        LayerSource::App { uid, gid, .. } => (2, *uid, *gid),
        _ => (0, 0, 0),
    };
    let mut hash = Sha256::new();
    for number in [kind, uid, gid] {
        hash.update(number.to_le_bytes());
    }
    hash.update(print.hash);
    hash.finalize().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, i) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[i..i + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests;
