//! `-daemon` with a real Docker Engine behind TLS. Other tests with a real engine are the acceptance tests'.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Fixture, fixture, run_image};
use crate::engine::Kind;
use crate::support::{Run, sha256, skipped_without_root, spawn, tar_of};

/// A dockerd of this test's own, which wants certificates from those who connect by TCP.
struct Dockerd {
    dir: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl Dockerd {
    /// `None` where it cannot run, which is said.
    fn start() -> Option<Self> {
        if skipped_without_root() {
            return None;
        }
        if ["dockerd", "docker", "openssl"].iter().any(|program| Command::new(program).arg("--version").output().is_err()) {
            eprintln!("SKIP: dockerd, docker or openssl is not installed: TLS is not tried with a real engine");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("lifecycle-dockerd.").tempdir().expect("create directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        certificates(dir.path());
        // Free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let mut command = Command::new("dockerd");
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["-H", &format!("unix://{}", path("sock")), "-H", &format!("tcp://127.0.0.1:{port}"), "--tlsverify"]);
        command.args(["--tlscacert", &path("ca.pem"), "--tlscert", &path("server.pem"), "--tlskey", &path("server.key")]);
        let log = fs::File::create(path("log")).expect("create log");
        let process = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));
        let mut dockerd = Self { dir, process, port };
        let start = Instant::now();
        while dockerd.docker(&["version"]).is_err() {
            let ended = dockerd.process.try_wait().expect("wait");
            if ended.is_some() || start.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(dockerd.dir.path().join("log")).unwrap_or_default();
                eprintln!("SKIP: dockerd does not start here, TLS is not tried with a real engine:\n{log}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(dockerd)
    }

    /// The docker command line on the local socket.
    fn docker(&self, args: &[&str]) -> Result<String, String> {
        let socket = format!("unix://{}", self.dir.path().join("sock").display());
        let mut command = Command::new("docker");
        command.args(["--host", &socket]).args(args).env_remove("DOCKER_HOST").env_remove("DOCKER_TLS_VERIFY");
        let output = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .wait_with_output()
            .expect("run docker");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A phase that finds the engine by TCP, with the certificates in a directory.
    fn phase<'a>(&self, fixture: &'a Fixture, name: &str, certificates: &Path) -> Run<'a> {
        let launcher = fixture.sandbox.path("cnb/launcher");
        let run = fixture.sandbox.phase(name).env("DOCKER_HOST", &format!("tcp://127.0.0.1:{}", self.port));
        let run = run.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", certificates.to_str().expect("UTF-8"));
        let run_image: &[&str] = if name == "creator" { &["-run-image", "example.com/run"] } else { &[] };
        run.args(["-daemon", "-launcher"]).args([launcher]).args(run_image).args(["example.com/app"])
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It ends its containerd, too.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// A CA, a certificate of the server, and one of a client in `client`; `stranger` has no certificate of its own, and
/// `other` trusts somebody else.
fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(dir).output().expect("run openssl");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for name in ["ca", "other-ca"] {
        let (pem, file, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        openssl(&[&["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &file, "-out", &pem], &key[..]].concat());
    }
    for (name, extensions) in
        [("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"), ("client", "extendedKeyUsage=clientAuth\n")]
    {
        let file = |end: &str| format!("{name}.{end}");
        fs::write(dir.join(file("ext")), extensions).expect("write");
        let request = ["req", "-subj", "/CN=test", "-keyout", &file("key"), "-out", &file("csr")];
        openssl(&[&request[..], &key].concat());
        let sign = ["x509", "-req", "-in", &file("csr"), "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        openssl(&[&sign[..], &["-extfile", &file("ext"), "-out", &file("pem")]].concat());
    }
    for (directory, files) in [
        ("client-dir", &[("ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client.key", "key.pem")][..]),
        ("stranger", &[("ca.pem", "ca.pem")]),
        ("other", &[("other-ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client.key", "key.pem")]),
    ] {
        fs::create_dir(dir.join(directory)).expect("create directory");
        for (from, to) in files {
            fs::copy(dir.join(from), dir.join(directory).join(to)).expect("copy");
        }
    }
}

#[test]
fn tls_with_certificates_on_both_sides() {
    let Some(dockerd) = Dockerd::start() else { return };
    let fixture = fixture(Kind::GraphDriver);
    let image = run_image(1);
    let archive = dockerd.dir.path().join("run.tar");
    let (config, layer) = (sha256(&image.config), sha256(&image.layers[0]));
    let manifest = serde_json::json!([{
        "Config": format!("{config}.json"), "RepoTags": ["example.com/run:latest"], "Layers": [format!("{layer}.tar")],
    }]);
    let files = [
        (format!("{config}.json"), image.config.clone()),
        (format!("{layer}.tar"), image.layers[0].to_vec()),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ];
    fs::write(&archive, tar_of(files)).expect("write archive");
    dockerd.docker(&["load", "-i", archive.to_str().expect("UTF-8")]).expect("load the run image");

    let path = |name: &str| dockerd.dir.path().join(name);
    dockerd.phase(&fixture, "creator", &path("client-dir")).run().success().quiet().says("*** Images (");
    let id = |name: &str| dockerd.docker(&["inspect", "--format={{.Id}}", name]);
    let first = id("example.com/app").expect("the app image");
    dockerd.docker(&["rmi", "example.com/app"]).expect("remove the image");
    dockerd.phase(&fixture, "exporter", &path("client-dir")).run().success().quiet();
    assert_eq!(id("example.com/app"), Ok(first), "the exporter alone makes the same image");

    // Who has no certificate is told so by the engine; whom we do not know is not spoken to.
    for (certificates, says) in
        [("stranger", "there is no cert.pem in DOCKER_CERT_PATH"), ("other", "invalid peer certificate: UnknownIssuer")]
    {
        for (phase, code) in [("creator", 32), ("exporter", 1)] {
            let outcome = dockerd.phase(&fixture, phase, &path(certificates)).run();
            outcome.code(code).says(&format!("tcp://127.0.0.1:{}", dockerd.port)).says(says);
        }
    }
    let plain = dockerd.phase(&fixture, "creator", &path("stranger")).unset("DOCKER_CERT_PATH").unset("DOCKER_TLS_VERIFY");
    plain.run().code(32).says("Client sent an HTTP request to an HTTPS server");
}
