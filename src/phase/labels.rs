//! Labels of images that the phases read and write (platform.md, "Labels").

/// What an app image was made of, for the next build and for rebases.
pub const LIFECYCLE_METADATA: &str = "io.buildpacks.lifecycle.metadata";
/// Buildpacks, processes and launcher of an app image, for people and platforms.
pub const BUILD_METADATA: &str = "io.buildpacks.build.metadata";
/// Where the source of an app image came from.
pub const PROJECT_METADATA: &str = "io.buildpacks.project.metadata";
/// Execution environment of an app image, since Platform API 0.15.
pub const EXEC_ENV: &str = "io.buildpacks.exec-env";

/// Says that the text of a label could not be understood.
pub fn cannot_read(label: &str) -> String {
    format!("failed to unmarshal context of label '{label}'")
}
