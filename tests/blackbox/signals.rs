//! Signals and what programs leave behind: a phase ends with its program, and takes it along when it is told to end.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Run, Sandbox, skipped_without_root, spawn};

/// `build` runs as bin/build; it says that it has started by the file `app/started`.
fn sandbox(build: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run_image();
    sandbox.buildpack("a/one", "exit 0", build);
    sandbox.order(&[&["a/one"]]);
    sandbox.write("layers/group.toml", "[[group]]\nid = \"a/one\"\nversion = \"1.0\"\napi = \"0.12\"\n");
    sandbox.write("layers/plan.toml", "");
    sandbox.own("layers");
    sandbox
}

fn start(run: &Run<'_>) -> Child {
    spawn(run.command().stdout(Stdio::null()).stderr(Stdio::null()))
}

fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("send signal");
}

fn ends_within(child: &mut Child, limit: Duration) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        assert!(begin.elapsed() < limit, "does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Less than what programs are given to end after the first signal.
const SOON: Duration = Duration::from_secs(6);
/// For what must end at all: less than the programs sleep.
const EVER: Duration = Duration::from_secs(30);

#[test]
fn a_signal_reaches_the_buildpack_and_is_the_exit_code() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sandbox = sandbox("trap 'echo caught > caught; exit 3' TERM INT\necho > started\nwhile :; do sleep 0.1; done");
        let run = sandbox.phase("builder");
        let mut builder = start(&run);
        wait_for(&sandbox.path("app/started"));
        send(&builder, signal);
        let status = ends_within(&mut builder, EVER);
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        assert_eq!(sandbox.read("app/caught"), "caught\n");
    }
}

#[test]
fn a_buildpack_that_does_not_listen_is_ended_by_a_second_signal() {
    let sandbox = sandbox("trap '' TERM\necho $$ > pid\necho > started\nwhile :; do sleep 1; done");
    let run = sandbox.phase("builder");
    let mut builder = start(&run);
    wait_for(&sandbox.path("app/started"));
    send(&builder, Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    send(&builder, Signal::TERM);
    assert_eq!(ends_within(&mut builder, SOON).code(), Some(143));
    let pid = sandbox.read("app/pid");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the buildpack still runs");
}

#[test]
fn a_detector_ends_with_its_programs() {
    let sandbox = sandbox("exit 0");
    sandbox.buildpack("a/one", "echo > started; sleep 60", "exit 0");
    let run = sandbox.phase("detector");
    let mut detector = start(&run);
    wait_for(&sandbox.path("app/started"));
    send(&detector, Signal::TERM);
    assert_eq!(ends_within(&mut detector, EVER).code(), Some(143));
    assert!(!sandbox.exists("layers/analyzed.toml"));
}

/// A cache or an image half written must not stay, nor anything in the directory for temporary files.
#[test]
fn an_interrupted_build_leaves_nothing_behind() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox("echo > started; sleep 60");
    let run = sandbox.creator().args(["-cache-dir"]).args([sandbox.path("cache")]).args(["example.com/app"]);
    let mut creator = start(&run);
    wait_for(&sandbox.path("app/started"));
    send(&creator, Signal::TERM);
    assert_eq!(ends_within(&mut creator, EVER).code(), Some(143));
    let names =
        |dir: &str| -> Vec<_> { fs::read_dir(sandbox.path(dir)).expect("read").map(|e| e.expect("read").file_name()).collect() };
    assert_eq!(names("tmp"), Vec::<std::ffi::OsString>::new());
    assert_eq!(names("layout"), ["example.com"]);
    assert!(!sandbox.exists("layout/example.com/app"));
}

/// A registry that does not answer is waited for long, but not by somebody who has lost his patience.
#[test]
fn a_signal_ends_a_phase_that_waits_for_a_registry() {
    if skipped_without_root() {
        return;
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let image = format!("{}/app", silent.local_addr().expect("address"));
    let sandbox = sandbox("exit 0");
    let run = sandbox.phase("analyzer").args(["-run-image", &image, &image]);
    let mut analyzer = start(&run);
    // It waits for the answer to a request now.
    let _connection = silent.accept().expect("accept");
    std::thread::sleep(Duration::from_millis(100));
    send(&analyzer, Signal::TERM);
    assert_eq!(ends_within(&mut analyzer, EVER).code(), Some(143));
}

/// A tool of a buildpack may start a daemon that keeps the streams open.
#[test]
fn processes_left_behind_are_not_waited_for() {
    let sandbox = sandbox("sleep 60 & exit 0");
    let run = sandbox.phase("builder");
    let mut builder = spawn(run.command().stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(ends_within(&mut builder, EVER).code(), Some(0));
    sandbox.buildpack("a/one", "sleep 60 & exit 0", "exit 0");
    let run = sandbox.phase("detector");
    let mut detector = start(&run);
    assert_eq!(ends_within(&mut detector, EVER).code(), Some(0));
}
