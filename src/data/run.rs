//! `run.toml` and `stack.toml` (platform.md).

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunToml {
    pub images: Vec<RunImageForExport>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackToml {
    pub run_image: RunImageForExport,
}

/// A run image and where else it can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunImageForExport {
    pub image: String,
    pub mirrors: Vec<String>,
}
