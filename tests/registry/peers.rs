//! Debian's `docker-registry`, started on a free port of this machine.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; ended and removed on drop.
pub struct DockerRegistry {
    child: Child,
    _dir: tempfile::TempDir,
    pub host: String,
}

/// What is special about a registry.
#[derive(Default)]
pub struct Setup {
    /// Users as `htpasswd` lines.
    pub htpasswd: Option<String>,
    /// Certificate and key, PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Lines below `auth:`.
    pub auth: Option<String>,
}

/// Says why and returns true if there is no such program.
pub fn skipped_without(program: &str) -> bool {
    let found = Path::new("/usr/bin").join(program).exists();
    if !found {
        eprintln!("SKIP: needs {program}");
    }
    !found
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

impl DockerRegistry {
    pub fn start(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.path().join("data").display()
        );
        if let Some((certificate, key)) = &setup.tls {
            let _ = write!(config, "  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        }
        if let Some(lines) = &setup.htpasswd {
            fs::write(dir.path().join("htpasswd"), lines).expect("write htpasswd");
            let _ = write!(config, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", dir.path().join("htpasswd").display());
        }
        if let Some(lines) = &setup.auth {
            let _ = write!(config, "auth:\n{lines}");
        }
        fs::write(dir.path().join("config.yml"), config).expect("write config");
        let child = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        let registry = Self { child, _dir: dir, host: format!("127.0.0.1:{port}") };
        let started = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "docker-registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
