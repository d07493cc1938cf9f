//! Makes what is released from binaries that are already built: the lifecycle archive and the lifecycle image.
//!
//! `.ci/package` builds the binaries and calls this. The same input always gives the same bytes.

mod archive;
mod image;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lifecycle::cli::VERSION;
use lifecycle::error::{Context, Error, Result};

/// What is packaged, from where, for which processor.
struct Options {
    /// Holds `lifecycle` and `launcher` for the target.
    binaries: PathBuf,
    /// Rust target triple of the binaries.
    target: String,
    out: PathBuf,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        match args.collect::<Vec<_>>().as_slice() {
            [binaries, target, out] => Ok(Self { binaries: binaries.into(), target: target.clone(), out: out.into() }),
            _ => Err(Error::new("usage: package BINARIES TARGET OUT")),
        }
    }

    /// The processor as the OCI image specification names it, and as file names of releases do.
    fn architecture(&self) -> Result<(&'static str, &'static str)> {
        match self.target.split('-').next() {
            Some("x86_64") => Ok(("amd64", "x86-64")),
            Some("aarch64") => Ok(("arm64", "arm64")),
            _ => Err(Error::new(format!("no package for the target {}", self.target))),
        }
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| package(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("package: {error}");
            ExitCode::FAILURE
        }
    }
}

fn package(options: &Options) -> Result<()> {
    let (architecture, file_name) = options.architecture()?;
    std::fs::create_dir_all(&options.out).map_err(|e| Error::io("mkdir", &options.out, &e))?;
    let entries = archive::entries(&options.binaries, &options.target)?;

    let archive = options.out.join(format!("lifecycle-v{VERSION}+linux.{file_name}.tgz"));
    archive::write(&archive, &entries).with_context(|| format!("write {}", archive.display()))?;
    checksum(&archive)?;

    let image = options.out.join(format!("lifecycle-v{VERSION}+linux.{file_name}.image.tar"));
    image::write(&image, &entries, architecture).with_context(|| format!("write {}", image.display()))?;
    checksum(&image)
}

/// `<file>.sha256` beside the file, as `sha256sum --check` reads it.
fn checksum(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).map_err(|e| Error::io("read", file, &e))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let path = file.with_file_name(format!("{name}.sha256"));
    std::fs::write(&path, format!("{}  {name}\n", sbom::sha256(&bytes))).map_err(|e| Error::io("write", &path, &e))?;
    println!("{} ({} bytes)", file.display(), bytes.len());
    Ok(())
}
