//! Programs that run on our behalf: buildpacks and extensions.
//!
//! A phase ends when the program that it started has ended, even if a process that the program left behind still holds its
//! streams. A signal to the phase reaches the program and all it started: each program leads a process group of its own.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::error::{Error, Result};

use super::signals;

/// The running programs, by the ID of their process groups.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Runs a program that shares our stdout and stderr, unless `command` says otherwise, and reads nothing.
///
/// # Errors
/// The program cannot be started (`fork/exec <program>: …`, `chdir <directory>: …`), or a signal ended this phase meanwhile
/// ([`crate::error::Failure::Signal`]).
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    wait(start(command)?)
}

/// As [`run`]; what the program left running in its process group is killed.
pub fn run_alone(command: &mut Command) -> Result<ExitStatus> {
    wait_and(start(command)?, |group| {
        // The usual answer is that nobody is left.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    })
}

/// Runs a program and gives what it wrote to stdout and stderr, in the order in which it did, until it ended.
///
/// # Errors
/// As [`run`].
pub fn capture(command: &mut Command) -> Result<(ExitStatus, Vec<u8>)> {
    let (output, ours) = io::pipe()?;
    command.stdout(ours.try_clone()?).stderr(ours);
    let started = start(command);
    // The command keeps what it was given; the pipe must not stay open for it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = started?;
    let (ended, end) = io::pipe()?;
    thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            let status = wait(child);
            drop(end);
            status
        });
        let text = read_until(output, &ended);
        let status = waiter.join().unwrap_or_else(|_| Err(Error::new("waiting for a program panicked")));
        Ok((status?, text?))
    })
}

/// Reads `output` until its end, or until `ended` has ended and all that was written before is read.
fn read_until(mut output: PipeReader, ended: &PipeReader) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let mut wanted = [PollFd::new(&output, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        match poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let [readable, over] = wanted.map(|fd| !fd.revents().is_empty());
        if over {
            // Processes left behind may go on writing for ever: only what is there now belongs to the program.
            let left = rustix::io::ioctl_fionread(output.as_fd()).map_err(io::Error::from)?;
            output.take(left).read_to_end(&mut text)?;
            return Ok(text);
        }
        if readable {
            match output.read(&mut buffer)? {
                0 => return Ok(text),
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

fn start(command: &mut Command) -> Result<Child> {
    signals::watch();
    // A missing directory would pass for a missing program.
    if let Some(directory) = command.get_current_dir() {
        std::fs::metadata(directory).map_err(|error| Error::io("chdir", directory, &error))?;
    }
    // The lock is held meanwhile, so that a signal either finds the program or keeps it from starting.
    let mut running = running();
    if let Some(error) = signals::received() {
        return Err(error);
    }
    let child = command.stdin(Stdio::null()).process_group(0).spawn();
    let child = child.map_err(|error| Error::io("fork/exec", command.get_program(), &error))?;
    running.push(group(&child));
    Ok(child)
}

fn wait(child: Child) -> Result<ExitStatus> {
    wait_and(child, |_| ())
}

/// Calls `before_reaping` with the process group when the program has ended and while its ID is still taken.
fn wait_and(mut child: Child, before_reaping: impl FnOnce(i32)) -> Result<ExitStatus> {
    let group = group(&child);
    // The ID stays taken until the program is off the list: a signal must never reach a stranger.
    if let Some(pid) = rustix::process::Pid::from_raw(group) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    }
    before_reaping(group);
    running().retain(|&other| other != group);
    let status = child.wait()?;
    signals::received().map_or(Ok(status), Err)
}

fn group(child: &Child) -> i32 {
    // A process ID fits, the kernel's type is an i32.
    child.id().cast_signed()
}

fn running() -> MutexGuard<'static, Vec<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether any program runs.
pub(super) fn any() -> bool {
    !running().is_empty()
}

/// Sends a signal to all programs; false if there are none.
pub(super) fn signal(number: i32) -> bool {
    let running = running();
    let Ok(signal) = Signal::try_from(number) else { return false };
    for &group in running.iter() {
        // It may have ended meanwhile.
        let _ = killpg(Pid::from_raw(group), signal);
    }
    !running.is_empty()
}

/// Ends all programs at once.
pub(super) fn kill() {
    signal(Signal::SIGKILL as i32);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_come_in_order() {
        let (status, text) = capture(&mut shell("echo a; echo b >&2; echo c; exit 3")).unwrap();
        assert_eq!((status.code(), text.as_slice()), (Some(3), &b"a\nb\nc\n"[..]));
    }

    #[test]
    fn a_program_ends_when_it_ends_whoever_still_holds_its_streams() {
        let begin = Instant::now();
        let (status, text) = capture(&mut shell("(sleep 20; echo late) & echo soon")).unwrap();
        assert!(status.success());
        assert_eq!(text, b"soon\n");
        let status = run(shell("sleep 20 >/dev/null & exit 0").stdout(Stdio::null())).unwrap();
        assert!(status.success());
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn nothing_is_left_behind_if_nothing_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("(sleep 0.3; touch {0}/late) & touch {0}/soon", dir.path().display());
        assert!(run_alone(&mut shell(&script)).unwrap().success());
        std::thread::sleep(Duration::from_millis(600));
        assert!(dir.path().join("soon").exists() && !dir.path().join("late").exists());
    }

    #[test]
    fn a_process_left_behind_that_never_stops_writing_is_not_waited_for() {
        let (status, _) = capture(&mut shell("yes & sleep 0.1")).unwrap();
        assert!(status.success());
    }

    #[test]
    fn more_than_a_pipe_holds_is_read() {
        let (_, text) = capture(&mut shell("head -c 300000 /dev/zero")).unwrap();
        assert_eq!(text.len(), 300_000);
    }

    #[test]
    fn programs_read_nothing_and_are_off_the_list_afterwards() {
        let (_, text) =
            capture(&mut shell("cat; ps -o pgid= -p $$ 2>/dev/null | tr -d ' ' | grep -x $$ >/dev/null; echo end")).unwrap();
        assert_eq!(text, b"end\n");
    }

    #[test]
    fn a_program_or_directory_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.to_string(), "fork/exec /no/such/program: no such file or directory");
        let error = run(Command::new("/bin/true").current_dir("/no/such")).unwrap_err();
        assert_eq!(error.to_string(), "chdir /no/such: no such file or directory");
    }
}
