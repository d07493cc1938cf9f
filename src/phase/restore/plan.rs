//! Which metadata and which data of an earlier build come back: a decision, without any I/O.
//!
//! The rules are those of platform.md, "Layer Restoration": a layer's `<layer>.toml` comes from the previous image if the
//! buildpack can use the layer without its data, else from the cache; its data come from the cache, and only if they are
//! the data that the metadata describe.

use std::collections::BTreeSet;

use crate::api::PlatformApi;
use crate::data::layers_metadata::{BuildpackLayersMetadata, LayerMetadata};

/// What happens to one layer of one buildpack.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan<'a> {
    pub name: &'a str,
    /// What an earlier build knew, decided in this order; the last one with metadata wins.
    pub image: FromImage<'a>,
    pub cache: FromCache<'a>,
    pub data: Data<'a>,
}

/// What the previous image's label gives.
#[derive(Clone, Debug, PartialEq)]
pub enum FromImage<'a> {
    Unknown,
    NotLaunch,
    /// The buildpack has to make it again whatever its metadata say: its data must be there in the build.
    BuildWithoutCache,
    /// Its data are due from the cache, which does not have them.
    NotInCache,
    Metadata(&'a LayerMetadata),
}

/// What the cache gives besides data.
#[derive(Clone, Debug, PartialEq)]
pub enum FromCache<'a> {
    Unknown,
    NotCached,
    /// The image's metadata count for launch layers; before Platform API 0.14 also if the image does not have it.
    Launch,
    Metadata(&'a LayerMetadata),
}

/// What becomes of the layer's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Whatever is there stays.
    Keep,
    /// Extracted from the cache: the diffID.
    Restore(&'a str),
    /// The directory and the metadata go, as the cache holds other data than those that the metadata describe.
    Remove { described: &'a str, cached: &'a str },
}

impl<'a> LayerPlan<'a> {
    /// The metadata that are written to `<layer>.toml`.
    pub fn metadata(&self) -> Option<&'a LayerMetadata> {
        match (&self.image, &self.cache) {
            (_, FromCache::Metadata(m)) | (FromImage::Metadata(m), _) => Some(m),
            _ => None,
        }
    }
}

/// What is known of one buildpack when the plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub image: Option<&'a BuildpackLayersMetadata>,
    pub cache: Option<&'a BuildpackLayersMetadata>,
    /// Names of the layers that are on disk already.
    pub on_disk: &'a BTreeSet<String>,
    pub skip_layers: bool,
    pub api: PlatformApi,
}

/// The plan of one buildpack, by layer name.
pub fn plan<'a>(known: &Known<'a>) -> Vec<LayerPlan<'a>> {
    let image = known.image.map(|b| &b.layers);
    let cache = known.cache.map(|b| &b.layers);
    let names: BTreeSet<&'a str> = image.into_iter().chain(cache).flat_map(|l| l.keys()).map(String::as_str).collect();
    names
        .into_iter()
        .map(|name| {
            let in_image = image.and_then(|l| l.get(name));
            let in_cache = cache.and_then(|l| l.get(name));
            decide(name, in_image, in_cache, known)
        })
        .collect()
}

fn decide<'a>(
    name: &'a str,
    image: Option<&'a LayerMetadata>,
    cache: Option<&'a LayerMetadata>,
    known: &Known<'a>,
) -> LayerPlan<'a> {
    let mut layer = LayerPlan { name, image: FromImage::Unknown, cache: FromCache::Unknown, data: Data::Keep };
    let cached = cache.filter(|c| c.file.cache);
    if !known.skip_layers {
        layer.image = match image {
            None => FromImage::Unknown,
            Some(l) if !l.file.launch => FromImage::NotLaunch,
            Some(l) if l.file.build && !l.file.cache => FromImage::BuildWithoutCache,
            Some(l) if l.file.cache && cached.is_none() => FromImage::NotInCache,
            Some(l) => FromImage::Metadata(l),
        };
        layer.cache = match cache {
            None => FromCache::Unknown,
            Some(c) if !c.file.cache => FromCache::NotCached,
            Some(c) if c.file.launch && (image.is_some() || !known.api.restores_launch_layers_missing_in_image()) => {
                FromCache::Launch
            }
            Some(c) => FromCache::Metadata(c),
        };
    }
    if let Some(cached) = cached {
        let written = layer.metadata();
        let present = known.on_disk.contains(name) || (written.is_some() && !is_reserved(name));
        let described = written.map_or("", |m| m.sha.as_str());
        if present && described == cached.sha {
            layer.data = Data::Restore(&cached.sha);
        } else if present {
            layer.data = Data::Remove { described, cached: &cached.sha };
        }
    }
    layer
}

/// `<name>.toml` is another document than a layer's metadata.
fn is_reserved(name: &str) -> bool {
    matches!(name, "store" | "launch" | "build")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiVersion;

    const IMAGE_SHA: &str = "sha256:image";
    const CACHE_SHA: &str = "sha256:cache";

    fn api(minor: u64) -> PlatformApi {
        PlatformApi::supported(ApiVersion::new(0, minor)).unwrap()
    }

    /// Flags as letters: `l`aunch, `b`uild, `c`ache; `-` is a layer without flags, `` no layer.
    fn buildpack(flags: &str, sha: &str) -> Option<BuildpackLayersMetadata> {
        if flags.is_empty() {
            return None;
        }
        let mut layer = LayerMetadata { sha: sha.into(), ..LayerMetadata::default() };
        layer.file.launch = flags.contains('l');
        layer.file.build = flags.contains('b');
        layer.file.cache = flags.contains('c');
        Some(BuildpackLayersMetadata { layers: [("x".to_owned(), layer)].into(), ..BuildpackLayersMetadata::default() })
    }

    struct Case<'a> {
        image: &'a str,
        cache: &'a str,
        on_disk: bool,
        same: bool,
        skip: bool,
        minor: u64,
    }

    /// `image|cache|none` for the metadata and `keep|restore|remove` for the data.
    fn outcome(case: &Case) -> (&'static str, &'static str) {
        let image_sha = if case.same { CACHE_SHA } else { IMAGE_SHA };
        let (image, cache) = (buildpack(case.image, image_sha), buildpack(case.cache, CACHE_SHA));
        let on_disk = case.on_disk.then(|| "x".to_owned()).into_iter().collect();
        let known = Known {
            image: image.as_ref(),
            cache: cache.as_ref(),
            on_disk: &on_disk,
            skip_layers: case.skip,
            api: api(case.minor),
        };
        let plans = plan(&known);
        let layer = &plans[0];
        let metadata = match (&layer.image, &layer.cache) {
            (_, FromCache::Metadata(_)) => "cache",
            (FromImage::Metadata(_), _) => "image",
            _ => "none",
        };
        let data = match &layer.data {
            Data::Keep => "keep",
            Data::Restore(sha) => {
                assert_eq!(*sha, CACHE_SHA);
                "restore"
            }
            Data::Remove { .. } => "remove",
        };
        (metadata, data)
    }

    /// The whole table for the same content in image and cache. One row per flags of the image, one column per flags of
    /// the cache; rows and columns as in the comment. Two values: before 0.14, since 0.14.
    #[test]
    fn type_table() {
        const CACHE: [&str; 7] = ["", "c", "lc", "bc", "lbc", "l", "b"];
        const N: &str = "none keep";
        const I: &str = "image keep";
        const R: &str = "image restore";
        const C: &str = "cache restore";
        #[rustfmt::skip]
        const TABLE: [(&str, [&str; 7]); 8] = [
            //         ""  c  lc          bc lbc         l  b
            ("",     [ "", C, "*",        C, "*",        N, N]),
            ("-",    [ N,  C, N,          C, N,          N, N]),
            ("l",    [ I,  C, R,          C, R,          I, I]),
            ("lb",   [ N,  C, N,          C, N,          N, N]),
            ("lc",   [ N,  C, R,          C, R,          N, N]),
            ("lbc",  [ N,  C, R,          C, R,          N, N]),
            ("b",    [ N,  C, N,          C, N,          N, N]),
            ("bc",   [ N,  C, N,          C, N,          N, N]),
        ];
        for minor in 7..=15 {
            for (image, row) in TABLE {
                for (cache, wanted) in CACHE.iter().zip(row) {
                    if wanted.is_empty() {
                        continue;
                    }
                    // 0.14: a launch layer of the cache that the image lacks is restored from the cache.
                    let wanted = match wanted {
                        "*" if minor >= 14 => C,
                        "*" => N,
                        other => other,
                    };
                    let case = Case { image, cache, on_disk: false, same: true, skip: false, minor };
                    let (metadata, data) = outcome(&case);
                    assert_eq!(format!("{metadata} {data}"), wanted, "image {image:?}, cache {cache:?}, API 0.{minor}");
                }
            }
        }
    }

    #[test]
    fn other_content_in_the_image_removes_the_layer() {
        for (image, cache) in [("l", "lc"), ("lc", "lc"), ("lbc", "lbc")] {
            let case = Case { image, cache, on_disk: false, same: false, skip: false, minor: 15 };
            assert_eq!(outcome(&case), ("image", "remove"), "{image} {cache}");
        }
        // The cache's metadata win, and fit.
        let case = Case { image: "l", cache: "c", on_disk: false, same: false, skip: false, minor: 15 };
        assert_eq!(outcome(&case), ("cache", "restore"));
        // Without cache there is nothing to compare with.
        let case = Case { image: "l", cache: "", on_disk: true, same: false, skip: false, minor: 15 };
        assert_eq!(outcome(&case), ("image", "keep"));
    }

    #[test]
    fn cached_layers_on_disk_that_are_not_described_are_removed() {
        for minor in [7, 13] {
            let case = Case { image: "", cache: "lc", on_disk: true, same: true, skip: false, minor };
            assert_eq!(outcome(&case), ("none", "remove"));
        }
        let case = Case { image: "", cache: "l", on_disk: true, same: true, skip: false, minor: 15 };
        assert_eq!(outcome(&case), ("none", "keep"));
    }

    #[test]
    fn skip_layers_writes_nothing_and_removes_what_the_cache_would_have_had() {
        for image in ["", "l", "lc"] {
            let case = Case { image, cache: "c", on_disk: true, same: true, skip: true, minor: 15 };
            assert_eq!(outcome(&case), ("none", "remove"));
            let case = Case { image, cache: "c", on_disk: false, same: true, skip: true, minor: 15 };
            assert_eq!(outcome(&case), ("none", "keep"));
        }
    }

    #[test]
    fn documents_that_are_no_layers_get_no_data() {
        let mut cache = buildpack("c", CACHE_SHA).unwrap();
        let layer = cache.layers.remove("x").unwrap();
        cache.layers.insert("launch".into(), layer);
        let on_disk = BTreeSet::new();
        let known = Known { image: None, cache: Some(&cache), on_disk: &on_disk, skip_layers: false, api: PlatformApi::latest() };
        assert_eq!(plan(&known)[0].data, Data::Keep);
    }
}
