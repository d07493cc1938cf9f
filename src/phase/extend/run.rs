//! Running the command of a `RUN` instruction.
//!
//! Groups and user of a child cannot be set without unsafe code, so the program calls itself under the name [`HELPER`];
//! the helper changes user and executes the command.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::users::Identity;
use crate::error::{Context, Error, Result};
use crate::process::children;

/// `argv[0]` of the helper; `uid`, `gid`, supplementary groups separated by commas and the command follow.
pub const HELPER: &str = "run-as";

/// Where programs are looked for if the image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with all that it can see.
#[derive(Debug)]
pub struct Job<'a> {
    /// The file of this program.
    pub program: &'a Path,
    pub words: &'a [String],
    pub env: &'a [(String, String)],
    pub directory: &'a Path,
    pub identity: &'a Identity,
}

impl Job<'_> {
    /// Runs the command to its end. Its output passes through. What it left running in its process group is killed.
    ///
    /// # Errors
    /// `exit status <n>` or `signal: <name>`.
    pub fn run(&self) -> Result<()> {
        let found = self.find().map_err(|e| e.context("starting command"))?;
        let Identity { uid, gid, groups, .. } = self.identity;
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        let mut command = Command::new(self.program);
        command.arg0(HELPER).args([uid.to_string(), gid.to_string(), groups.join(",")]).arg(found).args(self.words);
        command.env_clear().envs(self.env.iter().map(|(k, v)| (k, v))).current_dir(self.directory);
        let status = children::run_alone(&mut command).context("starting command")?;
        if status.success() { Ok(()) } else { Err(Error::new(ending(status)).context("waiting for process to exit")) }
    }

    fn find(&self) -> Result<PathBuf> {
        let word = self.words.first().map_or("", String::as_str);
        if word.contains('/') {
            let file = self.directory.join(word);
            return match file.metadata() {
                Ok(_) => Ok(word.into()),
                Err(e) => Err(Error::io("fork/exec", word, &e)),
            };
        }
        let path = self.env.iter().rfind(|(k, _)| k == "PATH").map_or(DEFAULT_PATH, |(_, v)| v);
        let found = path.split(':').map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(word));
        found
            .filter(|_| !word.is_empty())
            .find(|file| self.directory.join(file).metadata().is_ok_and(|m| m.is_file() && is_executable(&m)))
            .ok_or_else(|| Error::new(format!("exec: {word:?}: executable file not found in $PATH")))
    }
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

/// In the words of Go's `os/exec`, which people search for.
fn ending(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else { return format!("exit status {}", status.code().unwrap_or_default()) };
    let name = match Signal::try_from(signal) {
        Ok(Signal::SIGHUP) => "hangup",
        Ok(Signal::SIGINT) => "interrupt",
        Ok(Signal::SIGQUIT) => "quit",
        Ok(Signal::SIGABRT) => "aborted",
        Ok(Signal::SIGKILL) => "killed",
        Ok(Signal::SIGSEGV) => "segmentation fault",
        Ok(Signal::SIGPIPE) => "broken pipe",
        Ok(Signal::SIGTERM) => "terminated",
        Ok(other) => other.as_str(),
        Err(_) => return format!("signal: signal {signal}"),
    };
    format!("signal: {name}")
}

/// The helper: becomes the user and executes the command. Returns only if that fails.
pub fn helper(arguments: &[OsString]) -> Result<Infallible> {
    let [uid, gid, groups, file, words @ ..] = arguments else {
        return Err(Error::new("run-as: too few arguments"));
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| Error::new(format!("run-as: {text:?} is not a number")));
    let text = |argument: &OsStr| argument.to_string_lossy().into_owned();
    let groups = text(groups);
    let groups = groups.split(',').filter(|g| !g.is_empty()).map(|g| number(g).map(Gid::from_raw));
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let (uid, gid) = (Uid::from_raw(number(&text(uid))?), Gid::from_raw(number(&text(gid))?));
    // A user namespace may forbid it; then there are no other groups to lose.
    let grouped = match setgroups(&groups) {
        Err(nix::Error::EPERM) => Ok(()),
        other => other,
    };
    let changed = grouped.and_then(|()| setgid(gid)).and_then(|()| setuid(uid));
    changed.map_err(|e| Error::io("change to user", uid.to_string(), &io::Error::from(e)))?;
    let (name, rest) = words.split_first().map_or((file, words), |(name, rest)| (name, rest));
    let error = Command::new(file).arg0(name).args(rest).exec();
    Err(Error::io("fork/exec", file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(words: &[&str], path: &str) -> String {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let env = [("PATH".to_owned(), path.to_owned())];
        let identity = Identity { uid: 0, gid: 0, groups: vec![], home: "/".into() };
        let job = Job { program: Path::new("/x"), words: &words, env: &env, directory: Path::new("/"), identity: &identity };
        job.find().map_or_else(|e| e.to_string(), |p| p.display().to_string())
    }

    #[test]
    fn programs_are_looked_up_in_the_path_of_the_image() {
        assert_eq!(find(&["sh"], "/nowhere:/bin"), "/bin/sh");
        assert_eq!(find(&["/bin/sh"], ""), "/bin/sh");
        assert_eq!(find(&["no-such"], "/bin"), "exec: \"no-such\": executable file not found in $PATH");
        assert_eq!(find(&["passwd"], "/etc"), "exec: \"passwd\": executable file not found in $PATH");
        assert_eq!(find(&["/bin/no-such-shell"], ""), "fork/exec /bin/no-such-shell: no such file or directory");
        assert_eq!(find(&[], "/bin"), "exec: \"\": executable file not found in $PATH");
    }

    #[test]
    fn endings() {
        for (raw, want) in
            [(3 << 8, "exit status 3"), (9, "signal: killed"), (15, "signal: terminated"), (34, "signal: signal 34")]
        {
            assert_eq!(ending(ExitStatus::from_raw(raw)), want);
        }
    }

    #[test]
    fn the_helper_says_what_is_wrong() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(helper(&words(&["1", "1"])).unwrap_err().to_string(), "run-as: too few arguments");
        assert_eq!(helper(&words(&["x", "1", "", "/bin/sh"])).unwrap_err().to_string(), "run-as: \"x\" is not a number");
    }
}
