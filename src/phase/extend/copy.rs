//! `COPY` and `ADD`.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Gid, Uid};

use super::context::BuildContext;
use super::unpack::{Whiteouts, unpack};
use crate::error::{Error, Result};
use crate::image::Digest;

/// A `COPY` or `ADD`, its variables expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyJob {
    pub sources: Vec<CopySource>,
    /// As written; a slash at the end matters.
    pub destination: String,
    /// User and group of what is made.
    pub owner: (u32, u32),
    pub mode: Option<u32>,
    /// `ADD`: tar archives are extracted.
    pub extract: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path of the build context.
    Path(PathBuf),
    Heredoc {
        name: String,
        content: String,
    },
    Download(Download),
}

/// A file that `ADD` got from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The last part of the URL's path.
    pub name: String,
    /// Where it lies now.
    pub file: PathBuf,
    /// Of its content.
    pub digest: Digest,
    pub modified: Option<SystemTime>,
}

impl CopyJob {
    /// Whether the destination is a directory, as far as its text and the files that are there tell.
    fn is_into_directory(&self, place: &Path) -> bool {
        match place.metadata() {
            Ok(metadata) => metadata.is_dir(),
            Err(_) => self.destination.ends_with('/') || self.destination == ".",
        }
    }

    fn place(&self, root: &Path, working_dir: &Path) -> PathBuf {
        on_disk(root, &absolute(working_dir, &self.destination))
    }

    /// # Errors
    /// Several sources and a destination that is not a directory.
    pub fn check(&self, root: &Path, working_dir: &Path) -> Result<()> {
        if self.sources.len() > 1 && !self.is_into_directory(&self.place(root, working_dir)) {
            return Err(Error::new(
                "when specifying multiple sources in a COPY command, destination must be a directory and end in '/'",
            ));
        }
        Ok(())
    }

    /// What the result depends on: modes, owners and content of the files used, not their times.
    pub fn inputs(&self, context: &BuildContext) -> Result<Vec<Vec<u8>>> {
        let mut inputs = vec![format!("{:?} {:?} {:?}", self.destination, self.owner, self.mode).into_bytes()];
        for source in &self.sources {
            match source {
                CopySource::Heredoc { name, content } => inputs.push(format!("{name}\0{content}").into_bytes()),
                CopySource::Download(file) => inputs.push(format!("{}\0{}", file.name, file.digest).into_bytes()),
                CopySource::Path(path) => {
                    inputs.push(fingerprint(context, path)?);
                    if context.on_disk(path).symlink_metadata().is_ok_and(|m| m.is_dir()) {
                        for below in context.below(path)? {
                            inputs.push(fingerprint(context, &below)?);
                        }
                    }
                }
            }
        }
        Ok(inputs)
    }

    /// Copies. Returns the paths that were made or replaced, absolute in the container.
    pub fn run(&self, context: &BuildContext, root: &Path, working_dir: &Path) -> Result<Vec<PathBuf>> {
        let place = self.place(root, working_dir);
        let into = self.is_into_directory(&place);
        let mut copier = Copier { job: self, root, context, links: HashMap::new(), written: Vec::new() };
        for source in &self.sources {
            copier.source(source, &place, into)?;
        }
        Ok(copier.written)
    }
}

/// Mode, owner and content of one file of the context.
fn fingerprint(context: &BuildContext, path: &Path) -> Result<Vec<u8>> {
    use sha2::{Digest as _, Sha256};
    let file = context.on_disk(path);
    let failed = |e: &io::Error| Error::io("read", &file, e);
    let metadata = file.symlink_metadata().map_err(|e| failed(&e))?;
    let mut hash = Sha256::new();
    hash.update(format!("{}\0{:o}\0{}\0{}\0", path.display(), metadata.mode(), metadata.uid(), metadata.gid()));
    if metadata.is_symlink() {
        hash.update(fs::read_link(&file).map_err(|e| failed(&e))?.as_os_str().as_encoded_bytes());
    } else if metadata.is_file() {
        let mut content = File::open(&file).map_err(|e| failed(&e))?;
        let mut buffer = [0; 64 << 10];
        loop {
            match content.read(&mut buffer).map_err(|e| failed(&e))? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
    }
    Ok(hash.finalize().to_vec())
}

struct Copier<'a> {
    job: &'a CopyJob,
    root: &'a Path,
    context: &'a BuildContext,
    /// Copies of files of the context that have several names.
    links: HashMap<(u64, u64), PathBuf>,
    written: Vec<PathBuf>,
}

impl Copier<'_> {
    fn source(&mut self, source: &CopySource, place: &Path, into: bool) -> Result<()> {
        let path = match source {
            CopySource::Heredoc { name, content } => {
                let target = if into { place.join(name) } else { place.to_owned() };
                return self.act("write", &target, |copier| copier.text(&target, content));
            }
            CopySource::Download(file) => {
                let target = if into { place.join(&file.name) } else { place.to_owned() };
                return self.act("write", &target, |copier| copier.download(file, &target));
            }
            CopySource::Path(path) => path,
        };
        let file = self.context.on_disk(path);
        let metadata = file.symlink_metadata().map_err(|e| Error::io("lstat", &file, &e))?;
        if metadata.is_dir() {
            return self.directory(path, place);
        }
        if self.context.excludes(path) {
            return Ok(());
        }
        if self.job.extract
            && metadata.is_file()
            && let Some(tar) = open_tar(&file)?
        {
            let prefix = Path::new("/").join(place.strip_prefix(self.root).unwrap_or(place));
            let written =
                unpack(tar, self.root, &prefix, Whiteouts::Keep).map_err(|e| e.context(format!("extract {}", file.display())))?;
            self.written.push(prefix);
            self.written.extend(written);
            return Ok(());
        }
        let target = if into { place.join(path.file_name().unwrap_or_default()) } else { place.to_owned() };
        self.act("copy to", &target, |copier| copier.file(&file, &metadata, &target))
    }

    fn act(&mut self, act: &str, target: &Path, write: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<()> {
        let failed = |e: io::Error| Error::io(act, target, &e);
        self.make_parents(target, self.job.owner).map_err(failed)?;
        write(self).map_err(failed)?;
        self.note(target);
        Ok(())
    }

    /// The content of a directory, not the directory.
    fn directory(&mut self, path: &Path, place: &Path) -> Result<()> {
        let owner = self.job.owner;
        let failed = |e: io::Error| Error::io("mkdir", place, &e);
        self.make_parents(place, (0, 0)).map_err(failed)?;
        if !place.is_dir() {
            make_directory(place, owner, 0o755).map_err(failed)?;
        }
        self.note(place);
        for below in self.context.below(path)? {
            let file = self.context.on_disk(&below);
            let metadata = file.symlink_metadata().map_err(|e| Error::io("lstat", &file, &e))?;
            let target = place.join(below.strip_prefix(path).unwrap_or(&below));
            let made = match metadata.is_dir() {
                true => make_directory(&target, owner, self.job.mode.unwrap_or(metadata.mode() & 0o7777)),
                false => self.file(&file, &metadata, &target),
            };
            made.map_err(|e| Error::io("copy to", &target, &e))?;
            self.note(&target);
        }
        Ok(())
    }

    fn file(&mut self, file: &Path, metadata: &Metadata, target: &Path) -> io::Result<()> {
        if metadata.is_symlink() {
            remove_file(target)?;
            return std::os::unix::fs::symlink(fs::read_link(file)?, target);
        }
        if metadata.file_type().is_socket() {
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(io::Error::other(format!("{} is neither file, directory nor link", file.display())));
        }
        let key = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1
            && let Some(first) = self.links.get(&key)
        {
            remove_file(target)?;
            return fs::hard_link(first, target);
        }
        let (target, mut out) = create(target)?;
        io::copy(&mut File::open(file)?, &mut out)?;
        self.finish(&out, metadata.mode() & 0o7777)?;
        out.set_modified(metadata.modified()?)?;
        if metadata.nlink() > 1 {
            self.links.insert(key, target);
        }
        Ok(())
    }

    /// Readable by the owner alone, as Docker has it.
    fn download(&mut self, file: &Download, target: &Path) -> io::Result<()> {
        let (_, mut out) = create(target)?;
        io::copy(&mut File::open(&file.file)?, &mut out)?;
        self.finish(&out, 0o600)?;
        file.modified.map_or(Ok(()), |time| out.set_modified(time))
    }

    fn text(&mut self, target: &Path, content: &str) -> io::Result<()> {
        let (_, mut out) = create(target)?;
        out.write_all(content.as_bytes())?;
        self.finish(&out, 0o644)
    }

    fn finish(&self, out: &File, mode: u32) -> io::Result<()> {
        let (uid, gid) = self.job.owner;
        std::os::unix::fs::fchown(out, Some(uid), Some(gid))?;
        out.set_permissions(fs::Permissions::from_mode(self.job.mode.unwrap_or(mode)))
    }

    /// Missing directories above the target.
    fn make_parents(&self, target: &Path, owner: (u32, u32)) -> io::Result<()> {
        let missing: Vec<&Path> = target.ancestors().skip(1).take_while(|p| p.metadata().is_err()).collect();
        missing.into_iter().rev().try_for_each(|directory| make_directory(directory, owner, 0o755))
    }

    fn note(&mut self, file: &Path) {
        self.written.push(Path::new("/").join(file.strip_prefix(self.root).unwrap_or(file)));
    }
}

/// A path as an instruction writes it, made absolute, without `.` and `..`.
pub fn absolute(working_dir: &Path, path: &str) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in working_dir.join(path).components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

/// Makes a directory, or gives one that is there this owner and mode.
pub fn make_directory(path: &Path, (uid, gid): (u32, u32), mode: u32) -> io::Result<()> {
    if !path.is_dir() {
        remove_file(path)?;
        fs::create_dir(path)?;
    }
    rustix::fs::chownat(CWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::empty())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A new file in the place of the old one; where a link stands its target is replaced.
fn create(target: &Path) -> io::Result<(PathBuf, File)> {
    let mut target = target.to_owned();
    for _ in 0..40 {
        match fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(Path::new("/")).join(link),
            Err(_) => {
                remove_file(&target)?;
                return File::create_new(&target).map(|file| (target, file));
            }
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The plain tar in a file: tar itself, gzip or zstd. `None` if the file is no archive.
fn open_tar(file: &Path) -> Result<Option<Box<dyn Read>>> {
    let failed = |e: &io::Error| Error::io("open", file, e);
    let open = || -> io::Result<Box<dyn Read>> {
        let mut start = Vec::new();
        File::open(file)?.take(6).read_to_end(&mut start)?;
        let plain = File::open(file)?;
        Ok(match start.as_slice() {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(plain)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(plain)?),
            // Docker extracts them. Copied as they are they would be missed much later.
            [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                return Err(io::Error::other("bzip2 and xz archives cannot be extracted, use gzip or zstd"));
            }
            _ => Box::new(plain),
        })
    };
    let mut block = Vec::new();
    let readable = open().map_err(|e| failed(&e))?.take(512).read_to_end(&mut block).is_ok();
    let is_tar = readable && block.len() == 512 && {
        let header = tar::Header::from_byte_slice(&block);
        header.cksum().is_ok_and(|sum| u64::from(sum) == checksum(&block))
    };
    if is_tar { open().map(Some).map_err(|e| failed(&e)) } else { Ok(None) }
}

/// Of a header block; the field itself counts as spaces.
fn checksum(block: &[u8]) -> u64 {
    let bytes = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    bytes.map(u64::from).sum()
}

fn on_disk(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Fixture {
        context: tempfile::TempDir,
        root: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let (context, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let c = context.path();
            fs::create_dir_all(c.join("dir/sub")).unwrap();
            fs::set_permissions(c.join("dir/sub"), fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(c.join("one"), "one").unwrap();
            fs::write(c.join("dir/sub/deep"), "deep").unwrap();
            symlink("deep", c.join("dir/sub/link")).unwrap();
            fs::hard_link(c.join("one"), c.join("dir/hard")).unwrap();
            fs::hard_link(c.join("one"), c.join("dir/hard2")).unwrap();
            Self { context, root }
        }

        fn copy(&self, sources: &[&str], destination: &str, extract: bool) -> Result<Vec<String>> {
            let job = CopyJob {
                sources: sources.iter().map(|s| CopySource::Path(PathBuf::from(s))).collect(),
                destination: destination.to_owned(),
                owner: (7, 8),
                mode: None,
                extract,
            };
            let context = BuildContext::open(self.context.path()).unwrap();
            job.check(self.root.path(), Path::new("/w"))?;
            let written = job.run(&context, self.root.path(), Path::new("/w"))?;
            Ok(written.iter().map(|p| p.display().to_string()).collect())
        }

        /// Mode and owner.
        fn stat(&self, name: &str) -> (u32, u32, u32) {
            let m = self.root.path().join(name).symlink_metadata().unwrap();
            (m.mode() & 0o7777, m.uid(), m.gid())
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.root.path().join(name)).unwrap()
        }
    }

    #[test]
    fn files() {
        let f = Fixture::new();
        assert_eq!(f.copy(&["one"], "/a/b/c", false).unwrap(), ["/a/b/c"]);
        assert_eq!((f.stat("a"), f.stat("a/b"), f.stat("a/b/c")), ((0o755, 7, 8), (0o755, 7, 8), (0o644, 7, 8)));
        assert_eq!(f.copy(&["one"], "/a/b", false).unwrap(), ["/a/b/one"]);
        assert_eq!(f.copy(&["one"], "sub/", false).unwrap(), ["/w/sub/one"]);
        let times = |path: PathBuf| path.metadata().unwrap().modified().unwrap();
        assert_eq!(times(f.root.path().join("a/b/c")), times(f.context.path().join("one")));
        let error = f.copy(&["one", "dir"], "/x", false).unwrap_err().to_string();
        assert!(error.starts_with("when specifying multiple sources"), "{error}");
        assert_eq!(f.copy(&["one", "dir/sub/deep"], "/x/", false).unwrap(), ["/x/one", "/x/deep"]);
    }

    #[test]
    fn directories() {
        let f = Fixture::new();
        let written = f.copy(&["dir"], "/p/q", false).unwrap();
        assert_eq!(written, ["/p/q", "/p/q/hard", "/p/q/hard2", "/p/q/sub", "/p/q/sub/deep", "/p/q/sub/link"]);
        assert_eq!((f.stat("p"), f.stat("p/q"), f.stat("p/q/sub")), ((0o755, 0, 0), (0o755, 7, 8), (0o700, 7, 8)));
        assert_eq!(f.stat("p/q/sub/link").1, 0);
        let inode = |name: &str| f.root.path().join(name).metadata().unwrap().ino();
        assert_eq!(inode("p/q/hard"), inode("p/q/hard2"));
    }

    #[test]
    fn links_at_the_destination_are_followed() {
        let f = Fixture::new();
        fs::write(f.root.path().join("keep"), "old").unwrap();
        symlink("keep", f.root.path().join("link")).unwrap();
        assert_eq!(f.copy(&["one"], "/link", false).unwrap(), ["/link"]);
        assert_eq!(f.read("keep"), "one");
        f.copy(&["dir/sub/link"], "/copied-link", false).unwrap();
        assert_eq!(fs::read_link(f.root.path().join("copied-link")).unwrap(), Path::new("deep"));
    }

    #[test]
    fn archives() {
        let f = Fixture::new();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        header.set_mode(0o640);
        header.set_uid(11);
        header.set_gid(12);
        header.set_mtime(1);
        builder.append_data(&mut header, "in/file", &b"in"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        fs::write(f.context.path().join("a.tar"), &tar).unwrap();
        let gz = File::create(f.context.path().join("b.tgz")).unwrap();
        flate2::write::GzEncoder::new(gz, flate2::Compression::fast()).write_all(&tar).unwrap();
        fs::write(f.context.path().join("fake.tar"), "not a tar").unwrap();
        fs::write(f.context.path().join("c.tar.xz"), b"\xfd7zXZ\0rest").unwrap();
        assert!(f.copy(&["c.tar.xz"], "/c", true).unwrap_err().to_string().contains("use gzip or zstd"));
        assert_eq!(f.copy(&["a.tar"], "/plain", true).unwrap(), ["/plain", "/plain/in/file"]);
        assert_eq!(f.stat("plain/in/file"), (0o640, 11, 12));
        f.copy(&["b.tgz"], "/packed/", true).unwrap();
        assert_eq!(f.read("packed/in/file"), "in");
        assert_eq!(f.copy(&["fake.tar"], "/fake", true).unwrap(), ["/fake"]);
        assert_eq!(f.copy(&["a.tar"], "/copied", false).unwrap(), ["/copied"]);
    }

    #[test]
    fn downloads_are_named_by_their_url_and_readable_by_their_owner() {
        let f = Fixture::new();
        let file = f.context.path().join("one");
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let download = Download { name: "a.tar".into(), file, digest: Digest::of(b"one"), modified: Some(time) };
        let job = CopyJob {
            sources: vec![CopySource::Download(download)],
            destination: "/d/".into(),
            owner: (7, 8),
            mode: None,
            extract: true,
        };
        let context = BuildContext::open(f.context.path()).unwrap();
        assert_eq!(job.run(&context, f.root.path(), Path::new("/")).unwrap(), [PathBuf::from("/d/a.tar")]);
        assert_eq!((f.stat("d/a.tar"), f.read("d/a.tar").as_str()), ((0o600, 7, 8), "one"));
        assert_eq!(f.root.path().join("d/a.tar").metadata().unwrap().modified().unwrap(), time);
    }

    #[test]
    fn times_are_no_input_but_modes_are() {
        let f = Fixture::new();
        let inputs = || {
            let job = CopyJob {
                sources: vec![CopySource::Path("one".into()), CopySource::Path("dir".into())],
                destination: "/x/".into(),
                owner: (0, 0),
                mode: None,
                extract: false,
            };
            job.inputs(&BuildContext::open(f.context.path()).unwrap()).unwrap()
        };
        let first = inputs();
        let deep = f.context.path().join("dir/sub/deep");
        fs::write(&deep, "deep").unwrap();
        assert_eq!(inputs(), first);
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(inputs(), first);
    }
}
