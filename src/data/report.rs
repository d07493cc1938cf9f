//! `report.toml` (platform.md, "report.toml").

use super::launch_toml::BomEntry;
use super::run::RunImageForExport;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Legacy BOM of the build, below Platform API 0.9; `None` for a rebase report, which has no `[build]` table.
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
    pub manifest_size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedRunImage {
    pub reference: String,
    pub top_layer: String,
    pub export: RunImageForExport,
}
