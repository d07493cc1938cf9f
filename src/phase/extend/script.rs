//! The words that a `RUN` executes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempPath;

use crate::dockerfile::{Command, Instruction};
use crate::error::{Error, Result};

/// A command, and the file that a script with an interpreter line needs; it goes away with this value.
#[derive(Debug)]
pub struct Script {
    words: Vec<String>,
    _file: Option<TempPath>,
}

impl Script {
    /// A lone here-document is the script itself, one with `#!` runs as a file made in `scratch`; with other text in front
    /// the shell gets all of it.
    pub fn new(command: &Command, instruction: &Instruction, shell: &[String], scratch: &Path) -> Result<Self> {
        let text = match command {
            Command::Exec(words) => return Ok(Self { words: words.clone(), _file: None }),
            Command::Shell(text) => text,
        };
        let line = match instruction.heredocs.as_slice() {
            [] => text.clone(),
            [only] if is_lone(text) => {
                let content = only.content();
                if content.starts_with("#!") {
                    return Self::file(&content, &only.name, scratch);
                }
                content
            }
            several => several.iter().fold(text.clone(), |line, h| format!("{line}\n{}{}", h.body, h.name)),
        };
        let words = if line.trim().is_empty() { Vec::new() } else { shell.iter().cloned().chain([line]).collect() };
        Ok(Self { words, _file: None })
    }

    fn file(content: &str, name: &str, scratch: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("write script", scratch, &e);
        let mut file = tempfile::Builder::new().prefix(name).tempfile_in(scratch).map_err(failed)?;
        file.write_all(content.as_bytes()).map_err(failed)?;
        // Closed before it is executed: the kernel runs no file that is open for writing.
        let path = file.into_temp_path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(Self { words: vec![path.display().to_string()], _file: Some(path) })
    }

    /// Program and arguments; none if there is nothing to do.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

fn is_lone(text: &str) -> bool {
    text.starts_with("<<") && !text["<<".len()..].contains("<<") && text.split_whitespace().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Dockerfile, Kind};

    fn words(text: &str) -> Vec<String> {
        let file = Dockerfile::parse(&format!("FROM x\n{text}")).unwrap();
        let instruction = &file.stages[0].instructions[0];
        let Kind::Run(command) = &instruction.kind else { panic!("no RUN") };
        let scratch = tempfile::tempdir().unwrap();
        let shell = ["/bin/sh", "-c"].map(str::to_owned);
        let script = Script::new(command, instruction, &shell, scratch.path()).unwrap();
        if script._file.is_some() {
            let content = fs::read_to_string(&script.words()[0]).unwrap();
            drop(script);
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
            return vec!["file".to_owned(), content];
        }
        script.words().to_vec()
    }

    #[test]
    fn forms() {
        for (text, want) in [
            ("RUN", vec![]),
            ("RUN a  b", vec!["/bin/sh", "-c", "a  b"]),
            ("RUN [\"a\", \"b\"]", vec!["a", "b"]),
            ("RUN <<EOT\nfor i in 1; do\n\techo $i\ndone\nEOT", vec!["/bin/sh", "-c", "for i in 1; do\n\techo $i\ndone\n"]),
            ("RUN <<-'EOT'\n\techo $i\n\tEOT", vec!["/bin/sh", "-c", "echo $i\n"]),
            ("RUN cat <<EOT >/x && y\n$i\nEOT", vec!["/bin/sh", "-c", "cat <<EOT >/x && y\n$i\nEOT"]),
            ("RUN <<EOT\n#!/bin/awk -f\nx\nEOT", vec!["file", "#!/bin/awk -f\nx\n"]),
        ] {
            assert_eq!(words(text), want, "{text}");
        }
    }
}
