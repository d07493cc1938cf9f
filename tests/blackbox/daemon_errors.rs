//! `-daemon` when something is wrong with the daemon: what is said, and the exit codes (platform.md, "Outputs").

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;

use crate::daemon::{Fixture, fixture};
use crate::engine::Kind;
use crate::support::{Run, UID, skipped_without_root};

/// A phase that is told of the daemon.
fn phase<'a>(fixture: &'a Fixture, name: &str) -> Run<'a> {
    let run = fixture.sandbox.phase(name).env("DOCKER_HOST", &fixture.host());
    let launcher = fixture.sandbox.path("cnb/launcher");
    let args = |run: Run<'a>, args: &[&str]| run.args(args);
    match name {
        "analyzer" => args(run, &["-daemon", "-run-image", "example.com/run", "example.com/app"]),
        "restorer" => args(run, &["-daemon"]),
        "exporter" => args(run.args(["-daemon", "-launcher"]).args([launcher]), &["example.com/app"]),
        "creator" => {
            args(run.args(["-daemon", "-launcher"]).args([launcher]), &["-run-image", "example.com/run", "example.com/app"])
        }
        "rebaser" => args(run, &["-daemon", "-force", "-run-image", "example.com/run", "example.com/app"]),
        _ => run,
    }
}

/// Everything before the export.
fn build(fixture: &Fixture) {
    for name in ["analyzer", "detector", "restorer", "builder"] {
        phase(fixture, name).run().success();
    }
}

#[test]
fn a_daemon_that_is_not_there() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    build(&fixture);
    let socket = fixture.sandbox.path("docker.sock");
    fs::remove_file(&socket).expect("remove the socket");
    for (name, code) in [("analyzer", 32), ("creator", 32), ("exporter", 1), ("rebaser", 72)] {
        phase(&fixture, name).run().code(code).says("failed to connect to the docker API at unix://[ROOT]/docker.sock");
    }
    // Nobody listens. One of root's is opened before anything else is done.
    drop(UnixListener::bind(&socket).expect("make a socket"));
    for name in ["analyzer", "restorer", "creator", "exporter", "rebaser"] {
        phase(&fixture, name).run().code(1).says("dial unix [ROOT]/docker.sock: connect: connection refused");
    }
    chown(&socket, Some(1), Some(1)).expect("chown");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("chmod");
    for (name, code) in [("analyzer", 32), ("creator", 32), ("exporter", 1), ("rebaser", 72)] {
        let outcome = phase(&fixture, name).run().code(code);
        outcome.says("Cannot connect to the Docker daemon at unix://[ROOT]/docker.sock. Is the docker daemon running?");
    }
}

#[test]
fn a_socket_that_may_not_be_opened() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    build(&fixture);
    for name in ["analyzer", "restorer", "creator", "exporter", "rebaser"] {
        phase(&fixture, name).user(UID).run().code(1).says("dial unix [ROOT]/docker.sock: connect: permission denied");
    }
    chown(fixture.sandbox.path("docker.sock"), Some(1), Some(1)).expect("chown");
    for (name, code) in [("analyzer", 32), ("creator", 32), ("exporter", 1), ("rebaser", 72)] {
        let outcome = phase(&fixture, name).user(UID).run().code(code);
        outcome.says("permission denied while trying to connect to the docker API at unix://[ROOT]/docker.sock");
    }
}

/// An engine tells of it in the status, in the stream of an answer that began well, or, with containerd, in passing.
#[test]
fn a_load_that_is_refused() {
    if skipped_without_root() {
        return;
    }
    for kind in [Kind::GraphDriver, Kind::Containerd] {
        let fixture = fixture(kind);
        build(&fixture);
        for (status, message) in [
            ("500 Internal Server Error", "write /var/lib/docker/tmp/layer: no space left on device"),
            ("200 OK", "Error processing tar file(exit status 1): write /data: no space left on device"),
            ("403 Forbidden", "authorization denied by plugin"),
        ] {
            *fixture.engine.refusal.lock().expect("refusal") = Some((status, message));
            let outcome = phase(&fixture, "exporter").run();
            outcome.code(62).says("loading image \"example.com/app\"").says(message);
            assert!(fixture.engine.image("example.com/app:latest").is_none(), "{message}");
            assert!(!fixture.sandbox.exists("layers/report.toml"), "{message}");
        }
        *fixture.engine.refusal.lock().expect("refusal") = None;
        phase(&fixture, "exporter").run().success();
        fixture.check();
    }
}

#[test]
fn an_image_that_cannot_be_unpacked() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::Containerd);
    build(&fixture);
    fixture.engine.store().full = true;
    let outcome = phase(&fixture, "exporter").run();
    outcome.code(62).says("Error unpacking image").says("no space left on device");
    assert!(fixture.engine.image("example.com/app:latest").is_none());
    assert_eq!(fixture.engine.store().images(), 1, "only the run image stays");
}

#[test]
fn a_run_image_that_is_gone() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    build(&fixture);
    let id = fixture.engine.image("example.com/run:latest").expect("the run image").0;
    fixture.engine.remove("example.com/run:latest");
    // analyzed.toml has its ID.
    phase(&fixture, "exporter").run().code(62).says(&format!("run image '{id}' cannot be had: it does not exist"));
    phase(&fixture, "creator").run().code(62).says("example.com/run");
}

#[test]
fn a_previous_image_that_is_gone_is_named_if_a_layer_is_missing() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::GraphDriver);
    fixture.create(&[]);
    fixture.forget_layers();
    let host = fixture.host();
    let phase = |name: &str| fixture.sandbox.phase(name).env("DOCKER_HOST", &host);
    phase("analyzer").args(["-daemon", "-run-image", "example.com/run", "example.com/app"]).run().success();
    phase("detector").run().success();
    phase("restorer").args(["-daemon"]).run().success();
    phase("builder").run().success();
    fixture.engine.remove("example.com/app:latest");
    let launcher = fixture.sandbox.path("cnb/launcher");
    let exporter = phase("exporter").args(["-daemon", "-launcher"]).args([launcher]).args(["example.com/app"]);
    exporter.run().code(62).says("a/one:big");
    assert!(fixture.engine.image("example.com/app:latest").is_none());
}
