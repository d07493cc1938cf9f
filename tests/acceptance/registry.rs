//! Debian's `docker-registry` on a loopback port, anonymous or with basic authentication.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; ended and removed on drop.
pub struct Registry {
    pub host: String,
    child: Child,
    dir: tempfile::TempDir,
}

pub const USER: &str = "cnb";
pub const PASSWORD: &str = "a-planted-secret";

impl Registry {
    pub fn anonymous() -> Self {
        Self::start("")
    }

    /// Asks for [`USER`] and [`PASSWORD`].
    pub fn with_basic_auth() -> Self {
        Self::start("auth: {htpasswd: {realm: test, path: DIR/htpasswd}}\n")
    }

    fn start(auth: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().to_str().expect("UTF-8");
        // The port is free now; nobody else takes one between this line and the next but by chance.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {path}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{host}'}}\n{}",
            auth.replace("DIR", path)
        );
        fs::write(dir.path().join("config.yml"), config).expect("write config");
        let htpasswd = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output().expect("htpasswd is installed");
        fs::write(dir.path().join("htpasswd"), htpasswd.stdout).expect("write htpasswd");
        let child = Command::new("docker-registry")
            .args(["serve", &format!("{path}/config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let start = Instant::now();
        while TcpStream::connect(&host).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { host, child, dir }
    }

    /// The name of an image in this registry.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// A copy of a local image under this registry's name.
    pub fn push(&self, local: &str, name: &str) -> String {
        let image = self.image(name);
        super::docker::docker(&["tag", local, &image]);
        let config = self.docker_config();
        super::docker::docker(&["--config", &config, "push", &image]);
        super::docker::docker(&["rmi", &image]);
        image
    }

    pub fn pull(&self, name: &str) -> String {
        let image = self.image(name);
        let config = self.docker_config();
        super::docker::docker(&["--config", &config, "pull", &image]);
        image
    }

    /// A directory with a docker config.json that has the credentials, readable by root only.
    pub fn docker_config(&self) -> String {
        use base64::Engine;
        use std::os::unix::fs::PermissionsExt;
        let dir = self.dir.path().join("docker-config");
        fs::create_dir_all(&dir).expect("create directory");
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let json = serde_json::json!({ "auths": { &self.host: { "auth": auth } } });
        fs::write(dir.join("config.json"), json.to_string()).expect("write config");
        fs::set_permissions(dir.join("config.json"), fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("chmod");
        dir.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What was pulled from here, or only named so.
        let images = super::docker::docker_output(&["images", "--format={{.Repository}}:{{.Tag}}"]);
        let prefix = format!("{}/", self.host);
        for image in String::from_utf8_lossy(&images.stdout).lines().filter(|image| image.starts_with(&prefix)) {
            super::docker::docker_output(&["rmi", "-f", image]);
        }
    }
}
