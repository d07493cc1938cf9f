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

/// `<diffID> <digest> <size> <media type>`
pub(in crate::cache) fn to_words(blob: &LayerBlob) -> String {
    format!("{} {} {} {}", blob.diff_id, blob.digest, blob.size, blob.media_type)
}

/// The opposite; `None` if a word is missing or cannot be understood.
pub(in crate::cache) fn from_words<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<LayerBlob> {
    Some(LayerBlob {
        diff_id: DiffId::parse(words.next()?)?,
        digest: Digest::parse(words.next()?)?,
        size: words.next()?.parse().ok()?,
        media_type: words.next()?.to_owned(),
    })
}

/// Blobs by diffID.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownBlobs(HashMap<DiffId, KnownBlob>);

impl KnownBlobs {
    pub fn read(committed: &Path) -> Self {
        let text = std::fs::read_to_string(committed.join(NAME)).unwrap_or_default();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let blob = from_words(&mut words)?;
            let image = words.next()?.to_owned();
            words.next().is_none().then(|| (blob.diff_id.clone(), KnownBlob { blob, image }))
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
            format!("{} {image}\n", to_words(blob))
        };
        let mut lines: Vec<String> = self.0.values().map(line).collect();
        lines.sort();
        let _ = std::fs::write(staging.join(NAME), lines.concat());
    }
}
