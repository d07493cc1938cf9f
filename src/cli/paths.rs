//! Paths as text, in Go's terms.

use std::path::Path;

/// `filepath.Abs`: below `cwd` unless absolute, `.`, `..` and doubled slashes resolved without looking at the disk.
pub fn absolute(cwd: &Path, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", cwd.display()) };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_without_the_disk() {
        let cwd = Path::new("/a/b");
        let cases =
            [("/x", "/x"), ("x", "/a/b/x"), ("../x/./y//z/", "/a/x/y/z"), ("/../x", "/x"), (".", "/a/b"), ("../../..", "/")];
        for (path, wanted) in cases {
            assert_eq!(absolute(cwd, path), wanted);
        }
    }
}
