//! `report.toml` (platform.md, "report.toml").

use std::path::Path;

use super::launch_toml::BomEntry;
use super::node::{Fields, Node};
use super::run::RunImageForExport;
use super::toml_out;
use crate::error::{Context, Result};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Legacy BOM of the build, below Platform API 0.9. An empty list is not written, as `None` is not: a rebase report.
    pub build_bom: Option<Vec<BomEntry>>,
    pub image: ImageReport,
    /// `CNB_REPORT_RUN_IMAGE` (extensions.md).
    pub run_image: Option<ReportedRunImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageReport {
    pub tags: Vec<String>,
    pub image_id: String,
    pub digest: String,
    /// In bytes.
    pub manifest_size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedRunImage {
    pub reference: String,
    pub top_layer: String,
    pub export: RunImageForExport,
}

impl Report {
    fn to_fields(&self) -> Fields {
        let bom = self.build_bom.as_deref().unwrap_or_default();
        let build = Fields::new().with_nonempty("bom", Node::list(bom.iter().map(BomEntry::to_fields)));
        Fields::new()
            .with_nonempty("build", build)
            .with("image", self.image.to_fields())
            .with("run-image", self.run_image.as_ref().map(ReportedRunImage::to_fields))
    }

    /// No line but that of the image's digest contains the word: platforms look for it with grep.
    pub fn to_toml(&self) -> Result<String> {
        toml_out::to_string(&self.to_fields())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        toml_out::write(path, &self.to_fields()).context("failed to write report file")
    }
}

impl ImageReport {
    fn to_fields(&self) -> Fields {
        Fields::new()
            .with("tags", Node::list_or_null(&self.tags))
            .with_nonempty("image-id", &self.image_id)
            .with_nonempty("digest", &self.digest)
            .with_nonempty("manifest-size", i64::try_from(self.manifest_size).unwrap_or(i64::MAX))
    }
}

impl ReportedRunImage {
    fn to_fields(&self) -> Fields {
        self.export.to_fields().with("reference", &self.reference).with("top-layer", &self.top_layer)
    }
}
