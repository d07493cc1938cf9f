//! Programs that know credentials: `docker-credential-<name> get`.

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Credentials;
use crate::bail;
use crate::error::{Context, Error, Result};

/// One program, and the environment it is started with.
#[derive(Clone)]
pub(super) struct Helper {
    program: String,
    env: Vec<(OsString, OsString)>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    pub(super) fn new(name: &str, env: &[(OsString, OsString)]) -> Self {
        Self { program: format!("docker-credential-{name}"), env: env.to_vec() }
    }

    pub(super) fn name(&self) -> String {
        self.program.clone()
    }

    fn start(&self, server: &str) -> Result<Child> {
        let mut child = Command::new(&self.program)
            .arg("get")
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", self.program))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input tells so by its exit status.
            let _ = stdin.write_all(server.as_bytes());
        }
        Ok(child)
    }

    fn read(&self, child: &mut Child, ok: bool) -> Result<Option<Credentials>> {
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // Not to the end of the pipe: a background process of the helper may hold it open.
            rustix::io::ioctl_fionbio(&stdout, true).map_err(std::io::Error::from).context("read from pipe")?;
            match stdout.take(64 << 10).read_to_end(&mut output) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => {
                    return Err(e).with_context(|| format!("read from {}", self.program));
                }
                _ => {}
            }
        }
        if !ok {
            // What it printed may hold a secret.
            let text = String::from_utf8_lossy(&output).to_ascii_lowercase();
            if text.contains("credentials not found") || text.contains("no credentials") {
                return Ok(None);
            }
            bail!("{} failed", self.program);
        }
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|_| Error::new(format!("{} printed no credentials", self.program)))?;
        Ok(match (answer.username.as_str(), answer.secret) {
            ("", secret) if secret.is_empty() => None,
            ("<token>", token) => Some(Credentials::Identity(token)),
            (_, password) => Some(Credentials::Basic { user: answer.username, password }),
        })
    }
}

/// Asks all at once and waits for each until the time is over. No threads: this runs before the process changes its user.
pub(super) fn ask_all(helpers: &[(Helper, String)], limit: Duration) -> Vec<Result<Option<Credentials>>> {
    let end = Instant::now() + limit;
    let children: Vec<Result<Child>> = helpers.iter().map(|(helper, server)| helper.start(server)).collect();
    children
        .into_iter()
        .zip(helpers)
        .map(|(child, (helper, _))| {
            let mut child = child?;
            loop {
                if let Some(status) = child.try_wait().with_context(|| format!("wait for {}", helper.program))? {
                    return helper.read(&mut child, status.success());
                }
                if Instant::now() >= end {
                    let _ = child.kill();
                    let _ = child.wait();
                    bail!("{} did not answer within {} s", helper.program, limit.as_secs());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        })
        .collect()
}
