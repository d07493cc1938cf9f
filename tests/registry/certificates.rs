//! Certificates for tests, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

pub fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("/usr/bin/openssl").args(args).current_dir(dir).output().expect("run openssl");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate that is its own CA, as `openssl req -x509` makes it: certificate and key.
pub fn self_signed(dir: &Path, name: &str, alternative: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
    let subject = format!("subjectAltName={alternative}");
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", &subject];
    openssl(dir, &[&request[..], &["-keyout", &key, "-out", &certificate]].concat());
    (dir.join(certificate), dir.join(key))
}

/// A CA, and a certificate for this machine that it signed: CA, certificate, key.
pub fn signed_by_ca(dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let (ca, _) = self_signed(dir, "ca", "DNS:ca.example");
    std::fs::write(dir.join("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("write");
    openssl(dir, &["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"]);
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    openssl(dir, &[&sign[..], &["-extfile", "extensions", "-out", "server.pem"]].concat());
    (ca, dir.join("server.pem"), dir.join("server.key"))
}
