//! The launch cache: plain tars of an app image's layers, kept for a docker daemon, which gives layers back only with the
//! whole image (platform.md, "exporter", `-launch-cache`). On disk it is a volume cache without metadata.
//!
//! What it holds is verified as it is read: a damaged file is a missing layer, never a wrong image.
//!
//! A file of our own, `committed/.loaded`, says under which digests the daemon keeps the layers of the image, if it told.

use std::io::Read;
use std::path::Path;

use super::volume::blobs::{from_words, to_words};
use super::volume::{VolumeCache, VolumeStage, VolumeWriter};
use super::{Cache, StagedLayer};
use crate::error::Result;
use crate::image::{DiffId, LayerBlob};

const LOADED: &str = ".loaded";

/// The image that was loaded into the daemon when the launch cache was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// As the daemon calls it.
    pub id: String,
    pub layers: Vec<LayerBlob>,
}

impl LoadedImage {
    /// A line with the ID, then `<diffID> <digest> <size> <media type>` of each layer.
    fn to_text(&self) -> String {
        let line = |layer: &LayerBlob| format!("{}\n", to_words(layer));
        format!("{}\n{}", self.id, self.layers.iter().map(line).collect::<String>())
    }

    /// `None`: something in it cannot be understood, so nothing of it counts.
    fn parse(text: &str) -> Option<Self> {
        // A file that was cut may end within a media type.
        let (id, lines) = text.strip_suffix('\n')?.split_once('\n')?;
        let layer = |line: &str| {
            let mut words = line.split(' ');
            from_words(&mut words).filter(|_| words.next().is_none())
        };
        Some(Self { id: id.to_owned(), layers: lines.lines().map(layer).collect::<Option<_>>()? })
    }
}

#[derive(Clone, Debug)]
pub struct LaunchCache(VolumeCache);

impl LaunchCache {
    /// # Errors
    /// If there is no such directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let cache = VolumeCache::open(dir)?;
        cache.tidy();
        Ok(Self(cache))
    }

    /// Whether it has a file for this layer; only reading it tells whether it is whole.
    pub fn has(&self, diff_id: &DiffId) -> bool {
        self.0.has_layer(diff_id)
    }

    /// Of the layer's tar, bytes.
    pub fn size(&self, diff_id: &DiffId) -> Option<u64> {
        self.0.layer_size(diff_id)
    }

    /// The layer's plain tar; a wrong byte ends in an error of the reader.
    pub fn read(&self, diff_id: &DiffId) -> Result<Box<dyn Read + Send>> {
        self.0.read_layer(diff_id)
    }

    pub fn last_loaded(&self) -> Option<LoadedImage> {
        self.0.read_note(LOADED).and_then(|text| LoadedImage::parse(&text))
    }

    /// Starts the launch cache of the image that is being saved.
    pub fn writer(&self) -> Result<LaunchCacheWriter> {
        self.0.start().map(LaunchCacheWriter)
    }
}

/// The launch cache in the making. Dropped without commit, the old one stays.
#[derive(Debug)]
pub struct LaunchCacheWriter(VolumeWriter);

impl LaunchCacheWriter {
    /// Takes in a layer's tar as it passes.
    pub fn stage(&self) -> Result<VolumeStage> {
        self.0.stage_layer()
    }

    /// Keeps a layer that was staged.
    pub fn keep(&self, staged: VolumeStage, diff_id: &DiffId) -> Result<()> {
        Box::new(staged).keep(diff_id)
    }

    /// Takes over a layer of the old state after checking that it is whole.
    pub fn reuse(&self, diff_id: &DiffId) -> Result<()> {
        self.0.take_over(diff_id)
    }

    /// Writes down the image for the next build; what cannot be written is not known.
    pub fn remember(&self, image: &LoadedImage) {
        self.0.write_note(LOADED, &image.to_text());
    }

    pub fn commit(self) -> Result<()> {
        self.0.finish(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn the_loaded_image_comes_back() {
        let temp = tempfile::tempdir().unwrap();
        let cache = LaunchCache::open(temp.path()).unwrap();
        assert_eq!(cache.last_loaded(), None);
        let blob = |hex: &str| LayerBlob {
            diff_id: DiffId::parse(&format!("sha256:{}", hex.repeat(64))).unwrap(),
            digest: Digest::of(hex.as_bytes()),
            size: 7,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        };
        let image = LoadedImage { id: "sha256:x".to_owned(), layers: vec![blob("a"), blob("b")] };
        let writer = cache.writer().unwrap();
        writer.remember(&image);
        writer.commit().unwrap();
        assert_eq!(cache.last_loaded(), Some(image.clone()));
        // The next state of the cache is another image's.
        cache.writer().unwrap().commit().unwrap();
        assert_eq!(cache.last_loaded(), None);
        let text = image.to_text();
        for damaged in ["", "sha256:x", &text[..text.len() - 5], &text.replace(" 7 ", " -7 ")] {
            assert_eq!(LoadedImage::parse(damaged), None, "{damaged}");
        }
    }
}
