//! Layers of instructions that ran before (`/kaniko/cache`). A cache never fails an extension.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

use super::blob::{Blob, BlobContent};
use crate::error::{Context, Error, Result};
use crate::image::{DiffId, Digest};

/// Younger entries are never deleted; two weeks, what platforms get if they say nothing.
const KEPT: Duration = Duration::from_secs(14 * 86400);

/// Blobs younger than this may belong to an entry that is being written.
const BLOB_GRACE: Duration = Duration::from_secs(3600);

/// `layers/<key>.json` says which of `layers/blobs/<digest>` an instruction made.
#[derive(Debug)]
pub struct LayerCache {
    directory: PathBuf,
    /// How long entries are good.
    ttl: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Nanoseconds since 1970.
    created: u64,
    diff_id: String,
    digest: String,
    size: u64,
}

impl Record {
    fn age(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.created))
    }
}

impl LayerCache {
    pub fn open(directory: &Path, ttl: Duration) -> Result<Self> {
        let cache = Self { directory: directory.join("layers"), ttl };
        let blobs = cache.blobs();
        fs::create_dir_all(&blobs).map_err(|e| Error::io("mkdir", &blobs, &e))?;
        Ok(cache)
    }

    /// Where new blobs are made.
    pub fn blobs(&self) -> PathBuf {
        self.directory.join("blobs")
    }

    /// The layer, if there is one, it is not too old and its blob is whole.
    pub fn find(&self, key: &Key) -> Option<Blob> {
        let path = self.record(key);
        let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        if record.age() > self.ttl {
            debug!("Cached layer {} is too old", key.hex());
            return None;
        }
        let (diff_id, digest) = (DiffId::parse(&record.diff_id)?, Digest::parse(&record.digest)?);
        let blob = self.blobs().join(digest.hex());
        match sha256_of(&blob) {
            Ok(hash) if hash == digest => Some(Blob { diff_id, digest, size: record.size, content: BlobContent::File(blob) }),
            Ok(_) => {
                warn!("Cached layer {} is damaged", blob.display());
                None
            }
            Err(_) => None,
        }
    }

    /// Remembers what an instruction made.
    pub fn store(&self, key: &Key, blob: &Blob) {
        if let Err(error) = self.try_store(key, blob) {
            warn!("Failed to cache layer: {error}");
        }
    }

    fn try_store(&self, key: &Key, blob: &Blob) -> Result<()> {
        let kept = self.blobs().join(blob.digest.hex());
        if let BlobContent::Memory(bytes) = &blob.content {
            write_whole(&kept, bytes)?;
        }
        let record =
            Record { created: now(), diff_id: blob.diff_id.to_string(), digest: blob.digest.to_string(), size: blob.size };
        let json = serde_json::to_vec(&record).map_err(|e| Error::new(e.to_string())).context("encode cache record")?;
        write_whole(&self.record(key), &json)
    }

    /// Deletes entries that are too old, and blobs that no entry names. Other extenders, with a longer time to live, may
    /// be at work in the same directory; and a blob stands there for a moment before its entry does.
    pub fn prune(&self) {
        let mut used = HashSet::new();
        for path in files(&self.directory, "json") {
            match fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()) {
                Some(record) if record.age() <= self.ttl.max(KEPT) => drop(used.insert(record.digest)),
                _ => drop(fs::remove_file(&path)),
            }
        }
        for path in files(&self.blobs(), "") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
            if !used.contains(&format!("sha256:{name}")) && age.is_some_and(|age| age > BLOB_GRACE) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn record(&self, key: &Key) -> PathBuf {
        self.directory.join(format!("{}.json", key.hex()))
    }
}

/// What an instruction's result depends on: everything before it and its own inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    pub fn start(base: &[u8]) -> Self {
        Self(Sha256::digest(base).into())
    }

    /// The key after another instruction.
    #[must_use]
    pub fn then(&self, inputs: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        for input in inputs {
            hash.update((input.len() as u64).to_be_bytes());
            hash.update(input);
        }
        Self(hash.finalize().into())
    }

    fn hex(&self) -> String {
        Digest::from_sha256(&self.0).hex().to_owned()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path());
    entries.filter(|p| p.is_file() && p.extension().unwrap_or_default() == extension).collect()
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: &io::Error| Error::io("write", path, e);
    let mut file =
        tempfile::Builder::new().prefix(".new-").tempfile_in(path.parent().unwrap_or(Path::new("/"))).map_err(|e| failed(&e))?;
    io::Write::write_all(&mut file, bytes).map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

pub fn sha256_of(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha256(&hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &Path, ttl: Duration) -> LayerCache {
        LayerCache::open(dir, ttl).unwrap()
    }

    #[test]
    fn finds_what_was_stored_until_it_is_too_old_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let day = cache(dir.path(), Duration::from_secs(86400));
        let (a, b) = (Key::start(b"base").then(&[b"a"]), Key::start(b"base").then(&[b"b"]));
        let blob = Blob::create(&day.blobs(), |tar| Ok(tar.write_all(b"x")?)).unwrap();
        day.store(&a, &blob);
        day.store(&b, &Blob::empty().unwrap());
        assert_eq!(day.find(&a), Some(blob.clone()));
        assert_eq!(day.find(&b).unwrap().diff_id, Blob::empty().unwrap().diff_id);
        assert_eq!(day.find(&Key::start(b"base")), None);
        assert_eq!(cache(dir.path(), Duration::from_nanos(1)).find(&a), None);

        day.prune();
        assert!(day.find(&a).is_some());
        let BlobContent::File(path) = &blob.content else { panic!("blob in memory") };
        fs::write(path, "damaged").unwrap();
        assert_eq!(day.find(&a), None);

        let young = cache(dir.path(), Duration::ZERO);
        young.prune();
        assert_eq!(files(&day.directory, "json").len(), 2, "another extender may want them");
        for path in files(&day.directory, "json") {
            let mut record: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            record.created -= 2 * KEPT.as_nanos() as u64;
            fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        }
        fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - 2 * BLOB_GRACE).unwrap();
        young.prune();
        assert!(files(&day.directory, "json").is_empty());
        assert!(!path.exists());
        assert_eq!(fs::read_dir(day.blobs()).unwrap().count(), 1, "young blobs stay");
    }

    #[test]
    fn keys_tell_inputs_apart() {
        let key = Key::start(b"base");
        assert_ne!(key.then(&[b"ab", b"c"]), key.then(&[b"a", b"bc"]));
        assert_ne!(key.then(&[]), key.then(&[b""]));
        assert_eq!(key.then(&[b"a"]), key.then(&[b"a"]));
    }
}
