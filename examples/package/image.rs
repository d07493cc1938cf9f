//! The lifecycle image, made by the program's own image code, as one archive that is both an OCI layout and what
//! `docker load` reads.

use std::path::Path;

use lifecycle::api::{ApiVersion, BuildpackApi, PlatformApi};
use lifecycle::cli::VERSION;
use lifecycle::error::{Error, Result};
use lifecycle::image::layout::LayoutStore;
use lifecycle::image::{ImageDraft, ImageStore, MediaFamily, Platform};
use lifecycle::layers::compression::Compression;
use lifecycle::layers::source::LayerSource;
use serde_json::{Value, json};

use crate::archive::{self, Entry};

const NAME: &str = "buildpacksio/lifecycle";

/// Writes the image. Its last layer is the one that holds /cnb/lifecycle: platforms copy it from there.
pub fn write(path: &Path, entries: &[Entry], architecture: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let base = layer(scratch.path(), "base", |tar| {
        // Platforms start phases as the user `root`, by name.
        archive::directory(tar, "etc", 0o755)?;
        archive::file(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
        archive::file(
            tar,
            "etc/passwd",
            b"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
            0o644,
        )?;
        archive::directory(tar, "layers", 0o755)?;
        archive::directory(tar, "root", 0o700)?;
        archive::directory(tar, "tmp", 0o1777)
    })?;
    let lifecycle = layer(scratch.path(), "lifecycle", |tar| {
        archive::directory(tar, "cnb", 0o755)?;
        archive::directory(tar, "cnb/lifecycle", 0o755)?;
        archive::file(tar, "cnb/lifecycle.toml", archive::descriptor().as_bytes(), 0o644)?;
        archive::append(tar, "cnb/lifecycle/", entries)
    })?;

    let layout = scratch.path().join("layout");
    let platform = Platform::new("linux", architecture, "");
    let writer = LayoutStore::new(&layout, platform, Compression::Gzip(9)).writer(&[NAME.to_owned()], None)?;
    let mut draft = ImageDraft::empty("linux", architecture, MediaFamily::Oci);
    draft.keep_history = true;
    draft.add_layer(writer.add_layer(&base, None)?, "Directories of the lifecycle image");
    draft.add_layer(writer.add_layer(&lifecycle, None)?, "Cloud Native Buildpacks lifecycle");
    draft.set_label("io.buildpacks.lifecycle.version", VERSION);
    draft.set_label("io.buildpacks.lifecycle.apis", &apis_label().to_string());
    draft.set_label("io.buildpacks.builder.metadata", &builder_label().to_string());
    draft.set_env("PATH", "/cnb/lifecycle");
    draft.set_working_dir("/layers");
    writer.commit(&draft)?;
    docker_archive(path, &find_layout(&layout)?)
}

fn layer(scratch: &Path, name: &str, fill: impl FnOnce(&mut tar::Builder<Vec<u8>>) -> Result<()>) -> Result<LayerSource> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar)?;
    let path = scratch.join(name).with_extension("tar");
    std::fs::write(&path, tar.into_inner()?)?;
    Ok(LayerSource::Tar { path })
}

fn texts(versions: &[ApiVersion]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}

/// `io.buildpacks.lifecycle.apis`: platforms intersect it with what a builder supports.
fn apis_label() -> Value {
    json!({
        "buildpack": { "deprecated": [], "supported": texts(BuildpackApi::SUPPORTED) },
        "platform": { "deprecated": [], "supported": texts(PlatformApi::SUPPORTED) },
    })
}

/// `io.buildpacks.builder.metadata`, for platforms that read nothing else.
fn builder_label() -> Value {
    json!({
        "lifecycle": { "version": VERSION },
        "api": { "buildpack": texts(BuildpackApi::SUPPORTED)[0], "platform": texts(PlatformApi::SUPPORTED)[0] },
    })
}

/// The directory below `root` that holds the layout's index.
fn find_layout(root: &Path) -> Result<std::path::PathBuf> {
    let mut dir = root.to_owned();
    while !dir.join("index.json").exists() {
        let below = std::fs::read_dir(&dir)?.filter_map(std::io::Result::ok).map(|e| e.path()).find(|p| p.is_dir());
        dir = below.ok_or_else(|| Error::new("the layout has no index.json"))?;
    }
    Ok(dir)
}

/// A tar of the layout with the `manifest.json` that `docker load` of every version reads.
fn docker_archive(path: &Path, layout: &Path) -> Result<()> {
    let mut tar = tar::Builder::new(Vec::new());
    let blob_path = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap_or_default().replace(':', "/"));
    let json = |name: &str| -> Result<Value> {
        serde_json::from_slice(&std::fs::read(layout.join(name))?).map_err(|e| Error::new(e.to_string()))
    };
    let mut index = json("index.json")?;
    let manifest_path = blob_path(&index["manifests"][0]["digest"]);
    let manifest = json(&manifest_path)?;
    let layers: Vec<String> = manifest["layers"].as_array().into_iter().flatten().map(|l| blob_path(&l["digest"])).collect();
    let config = blob_path(&manifest["config"]["digest"]);

    index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
    archive::file(&mut tar, "oci-layout", &std::fs::read(layout.join("oci-layout"))?, 0o644)?;
    archive::file(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    let docker = json!([{ "Config": config, "RepoTags": [format!("{NAME}:{VERSION}")], "Layers": layers }]);
    archive::file(&mut tar, "manifest.json", docker.to_string().as_bytes(), 0o644)?;
    let mut blobs: Vec<String> = layers.into_iter().chain([config, manifest_path]).collect();
    blobs.sort();
    blobs.dedup();
    archive::directory(&mut tar, "blobs", 0o755)?;
    archive::directory(&mut tar, "blobs/sha256", 0o755)?;
    for blob in blobs {
        archive::file(&mut tar, &blob, &std::fs::read(layout.join(&blob))?, 0o644)?;
    }
    Ok(std::fs::write(path, tar.into_inner()?)?)
}
