//! The build context: which files `COPY` and `ADD` can see.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::layers::glob;

/// A directory with its `.dockerignore`.
#[derive(Debug)]
pub struct BuildContext {
    directory: PathBuf,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    parts: Vec<Vec<u8>>,
    /// `!`: what it matches is not excluded after all.
    include: bool,
}

impl BuildContext {
    pub fn open(directory: &Path) -> Result<Self> {
        let file = directory.join(".dockerignore");
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io("open", &file, &e)),
        };
        Ok(Self { directory: directory.to_owned(), patterns: patterns(&text) })
    }

    /// Where a path of the context is on disk.
    pub fn on_disk(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Whether `.dockerignore` excludes the path. The last pattern that matches it or a directory above it decides.
    pub fn excludes(&self, path: &Path) -> bool {
        let parts: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            if excluded == pattern.include && (1..=parts.len()).any(|n| matches(&pattern.parts, &parts[..n])) {
                excluded = !pattern.include;
            }
        }
        excluded
    }

    /// Paths of the context that a source names, wildcards resolved, sorted. A source without wildcards must exist.
    pub fn resolve(&self, source: &str) -> Result<Vec<PathBuf>> {
        let source = normalize(source);
        let text = source.as_os_str().as_bytes();
        if !text.iter().any(|c| b"*?[".contains(c)) {
            let file = self.on_disk(&source);
            file.symlink_metadata()
                .map_err(|e| Error::io("lstat", &file, &e).context(format!("failed to get fileinfo for {}", file.display())))?;
            return Ok(vec![source]);
        }
        let mut found = Vec::new();
        self.wildcard(Path::new(""), &source.iter().map(OsStrExt::as_bytes).collect::<Vec<_>>(), &mut found)?;
        found.retain(|path| !self.excludes(path));
        found.sort_unstable();
        Ok(found)
    }

    fn wildcard(&self, directory: &Path, parts: &[&[u8]], found: &mut Vec<PathBuf>) -> Result<()> {
        let [part, rest @ ..] = parts else { return Ok(()) };
        for name in self.names(directory)? {
            let hit = glob::matches(part, name.as_os_str().as_bytes());
            if !hit.map_err(|e| Error::new(format!("{e}: {}", String::from_utf8_lossy(part))))? {
                continue;
            }
            let path = directory.join(&name);
            if rest.is_empty() {
                found.push(path);
            } else if self.on_disk(&path).is_dir() {
                self.wildcard(&path, rest, found)?;
            }
        }
        Ok(())
    }

    /// All that is below a directory of the context and not excluded; directories before their content, sorted.
    pub fn below(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in self.names(directory)? {
            let path = directory.join(name);
            let is_directory = self.on_disk(&path).symlink_metadata().is_ok_and(|m| m.is_dir());
            if !is_directory {
                if !self.excludes(&path) {
                    found.push(path);
                }
                continue;
            }
            // A pattern with `!` may bring back what is in an excluded directory.
            let inside = self.below(&path)?;
            if !self.excludes(&path) || !inside.is_empty() {
                found.push(path);
                found.extend(inside);
            }
        }
        Ok(found)
    }

    fn names(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let on_disk = self.on_disk(directory);
        let failed = |e: io::Error| Error::io("open", &on_disk, &e);
        let entries = fs::read_dir(&on_disk).map_err(failed)?;
        let mut names = entries.map(|e| Ok(e.map_err(failed)?.file_name().into())).collect::<Result<Vec<PathBuf>>>()?;
        names.sort_unstable();
        Ok(names)
    }
}

/// Relative to the context's root, which `..` does not leave.
pub fn normalize(path: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

fn patterns(text: &str) -> Vec<Pattern> {
    let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#')).map(str::trim);
    lines
        .filter_map(|line| {
            let (include, line) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let path = normalize(line);
            let parts: Vec<Vec<u8>> = path.iter().map(|part| part.as_bytes().to_vec()).collect();
            (!parts.is_empty()).then_some(Pattern { parts, include })
        })
        .collect()
}

/// `**` stands for any number of directories.
fn matches(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == b"**" => {
            (rest.is_empty() && !path.is_empty()) || (0..=path.len()).any(|skip| matches(rest, &path[skip..]))
        }
        ([first, rest @ ..], [name, below @ ..]) => glob::matches(first, name) == Ok(true) && matches(rest, below),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(ignore: &str, path: &str) -> bool {
        BuildContext { directory: PathBuf::new(), patterns: patterns(ignore) }.excludes(Path::new(path))
    }

    #[test]
    fn dockerignore() {
        let ignore = "# comment\n*.skip\nignored/\n!keep.skip\n/deep/**/x\n  **/tmp  \n\ndocs/*\n!docs/a.md\n";
        for (path, want) in [
            ("a.skip", true),
            ("keep.skip", false),
            ("dir/b.skip", false),
            ("ignored", true),
            ("ignored/x/y", true),
            ("deep/x", true),
            ("deep/a/b/x/c", true),
            ("other/x", false),
            ("tmp", true),
            ("a/b/tmp/c", true),
            ("docs/b.md", true),
            ("docs/a.md", false),
            ("docs", false),
        ] {
            assert_eq!(excluded(ignore, path), want, "{path}");
        }
        assert!(excluded("*\n", ".dockerignore"));
    }

    #[test]
    fn sources() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dir/sub")).unwrap();
        for name in ["one.txt", "two.txt", "x.skip", "dir/c.txt", "dir/sub/deep", "dir/sub/y"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::write(dir.path().join(".dockerignore"), "*.skip\ndir/sub\n!dir/sub/y").unwrap();
        let context = BuildContext::open(dir.path()).unwrap();
        let names = |paths: Vec<PathBuf>| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        for (source, want) in [
            ("*.txt", vec!["one.txt", "two.txt"]),
            ("/dir/*.txt", vec!["dir/c.txt"]),
            ("*.skip", vec![]),
            ("x.skip", vec!["x.skip"]),
            ("../../one.txt", vec!["one.txt"]),
            (".", vec![""]),
        ] {
            assert_eq!(names(context.resolve(source).unwrap()), want, "{source}");
        }
        assert!(context.resolve("nothing").unwrap_err().to_string().ends_with("nothing: no such file or directory"));
        assert_eq!(names(context.below(Path::new("dir")).unwrap()), ["dir/c.txt", "dir/sub", "dir/sub/y"]);
    }
}
