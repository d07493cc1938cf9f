//! Why the kernel does not start a program that is there.
//!
//! In small images "no such file or directory" mostly means what runs the program: the interpreter that a script names, or
//! the loader that a program is linked to. Neither is in the kernel's answer.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// `ENOEXEC`, which has no [`ErrorKind`].
const EXEC_FORMAT: i32 = 8;

/// The error of the kernel, and what it means for this program.
pub(super) fn explain(program: &Path, error: io::Error) -> Error {
    let mut why = String::new();
    if error.kind() == ErrorKind::NotFound {
        why = missing_runner(program).unwrap_or_default();
    } else if error.raw_os_error() == Some(EXEC_FORMAT) {
        why = format!(": {program:?} is no program for this processor and no script that names its interpreter");
    }
    Error::new(format!("{}{why}", Error::from(error)))
}

/// The first runner that is not there: that of a script may itself be a linked program whose loader is missing.
fn missing_runner(program: &Path) -> Option<String> {
    let mut program = program.to_owned();
    // As many interpreters as the kernel follows.
    for _ in 0..5 {
        let runner = runner(&program)?;
        if fs::metadata(&runner).is_err() {
            return Some(format!(": {program:?} needs {runner:?}, which the image does not have"));
        }
        program = runner;
    }
    None
}

/// The interpreter in the first line of a script, or the loader of a dynamically linked program.
fn runner(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(program).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let name = match head.strip_prefix(b"#!") {
        Some(line) => line.trim_ascii_start().split(|b| matches!(b, b' ' | b'\t' | b'\n')).next()?,
        None => loader(&head)?,
    };
    (!name.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// What the program header `PT_INTERP` of a 64-bit little-endian ELF file holds.
fn loader(elf: &[u8]) -> Option<&[u8]> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        bytes.iter().rev().try_fold(0usize, |n, b| n.checked_mul(256)?.checked_add(usize::from(*b)))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (headers, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let header = (0..count).map_while(|n| headers.checked_add(n * size)).find(|at| number(*at, 4) == Some(3))?;
    let (start, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
    elf.get(start..start.checked_add(length)?)?.split(|b| *b == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_linked_programs_name_what_runs_them() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("program");
        for (content, wanted) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! \t/usr/bin/env node\n", Some("/usr/bin/env")),
            ("#!/bin/sh\r\n", Some("/bin/sh\r")),
            ("#!\n", None),
            ("echo\n", None),
            ("\x7fELF\x02\x01", None),
            ("", None),
        ] {
            fs::write(&path, content).expect("write");
            assert_eq!(runner(&path), wanted.map(PathBuf::from), "{content:?}");
        }
    }

    /// What the kernel said comes first, as tools know it.
    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("script"), "#!/no/such/interpreter -x\n").expect("write");
        fs::write(path("outer"), format!("#!{}\n", path("script").display())).expect("write");
        fs::write(path("text"), "echo\n").expect("write");
        let said = |name: &str, errno: i32| explain(&path(name), io::Error::from_raw_os_error(errno)).to_string();
        let needs = format!(": {:?} needs \"/no/such/interpreter\", which the image does not have", path("script"));
        for name in ["script", "outer"] {
            assert_eq!(said(name, 2), format!("no such file or directory{needs}"));
        }
        assert_eq!(said("text", 2), "no such file or directory");
        assert_eq!(said("script", 13), "permission denied");
        assert!(said("text", EXEC_FORMAT).starts_with("exec format error: \"/"), "{}", said("text", EXEC_FORMAT));
    }

    /// Every byte of the header that the search reads may be wrong.
    #[test]
    fn a_damaged_program_has_no_loader() {
        let mut elf = vec![0; 200];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56], elf[64], elf[72], elf[96]) = (64, 56, 1, 3, 120, 10);
        elf[120..130].copy_from_slice(b"/lib/ld.so");
        assert_eq!(loader(&elf), Some(&b"/lib/ld.so"[..]));
        for at in 32..elf.len() {
            let mut damaged = elf.clone();
            damaged[at] = 0xff;
            let found = loader(&damaged);
            assert!(found.is_none_or(|name| name.len() <= damaged.len()), "byte {at}");
        }
        assert_eq!(loader(&elf[..125]), None);
    }
}
