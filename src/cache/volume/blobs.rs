//! What became of layers in registries: `committed/.blobs`.
//!
//! A line is `<diffID> <digest> <size> <media type> <image>`. A build that makes the same layer again, for another tag or
//! after the old image has gone, neither compresses nor sends it if the registry still has the blob.

use std::collections::HashMap;
use std::path::Path;

use crate::cache::KnownBlob;
use crate::image::{DiffId, Digest, LayerBlob};

const NAME: &str = ".blobs";
/// Smaller layers are made as fast as looked for.
const WORTH_IT: u64 = 1 << 20;

/// Blobs by diffID.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownBlobs(HashMap<DiffId, KnownBlob>);

impl KnownBlobs {
    pub fn read(committed: &Path) -> Self {
        let text = std::fs::read_to_string(committed.join(NAME)).unwrap_or_default();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let diff_id = DiffId::parse(words.next()?)?;
            let digest = Digest::parse(words.next()?)?;
            let size = words.next()?.parse().ok()?;
            let media_type = words.next()?.to_owned();
            let image = words.next()?.to_owned();
            let blob = LayerBlob { diff_id: diff_id.clone(), digest, size, media_type };
            words.next().is_none().then_some((diff_id, KnownBlob { blob, image }))
        };
        Self(text.lines().filter_map(parse).collect())
    }

    pub fn get(&self, diff_id: &DiffId) -> Option<KnownBlob> {
        self.0.get(diff_id).cloned()
    }

    pub fn add(&mut self, known: &KnownBlob) {
        let KnownBlob { blob, image } = known;
        if blob.size >= WORTH_IT && ![&blob.media_type, image].into_iter().any(|word| word.contains([' ', '\n'])) {
            self.0.insert(blob.diff_id.clone(), known.clone());
        }
    }

    /// Part of what is committed; what cannot be written is not known.
    pub fn write(&self, staging: &Path) {
        if self.0.is_empty() {
            return;
        }
        let line = |known: &KnownBlob| {
            let KnownBlob { blob, image } = known;
            format!("{} {} {} {} {image}\n", blob.diff_id, blob.digest, blob.size, blob.media_type)
        };
        let mut lines: Vec<String> = self.0.values().map(line).collect();
        lines.sort();
        let _ = std::fs::write(staging.join(NAME), lines.concat());
    }
}
