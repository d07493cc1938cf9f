//! A helper process that opens a root-owned socket for a program that has dropped its privileges.
//!
//! A daemon closes connections that are idle for long, and one connection carries one transfer at a time. So the program
//! must be able to open new ones, as a user who may not. The helper is this same program, started before the privileges
//! are dropped; it does nothing but connect to one socket and hand over the descriptor, and ends with the program.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::error::{Context, Error, Result};

/// `argv[0]` of the helper.
pub const APPLET: &str = "docker-socket-helper";

/// Asks the helper.
#[derive(Debug)]
pub struct SocketHelper {
    channel: Mutex<UnixStream>,
}

impl SocketHelper {
    /// Starts the helper for this socket.
    pub fn start(exe: &Path, socket: &Path) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("create socket pair")?;
        let mut command = Command::new(exe);
        command.arg0(APPLET).arg(socket).env_clear().current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        // It ends when its end of the pair is closed; there is nothing to wait for.
        command.spawn().map_err(|e| Error::io("exec", exe, &e)).context("start docker socket helper")?;
        Ok(Self { channel: Mutex::new(ours) })
    }

    /// A new connection to the socket.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let channel = self.channel.lock().map_err(|_| std::io::Error::other("docker socket helper is in use"))?;
        std::io::Write::write_all(&mut &*channel, b"c")?;
        let mut answer = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(channel.as_fd(), &mut [IoSliceMut::new(&mut answer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes != answer.len() {
            return Err(std::io::Error::other("docker socket helper has ended"));
        }
        let errno = i32::from_ne_bytes(answer);
        if errno != 0 {
            return Err(std::io::Error::from_raw_os_error(errno));
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fd.map(UnixStream::from).ok_or_else(|| std::io::Error::other("docker socket helper sent no descriptor"))
    }
}

/// The helper's side: serves standard input until it is closed.
pub fn serve(arguments: &[std::ffi::OsString]) -> Result<()> {
    let socket = PathBuf::from(arguments.get(1).map_or(OsStr::new(""), |a| a.as_os_str()));
    let channel = std::io::stdin();
    let mut request = [0];
    while channel.lock().read(&mut request)? == 1 {
        let connected = UnixStream::connect(&socket);
        let errno = connected.as_ref().map_or_else(|e| e.raw_os_error().unwrap_or(libc_eio()), |_| 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = connected.iter().map(AsFd::as_fd).collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(channel.as_fd(), &[IoSlice::new(&errno.to_ne_bytes())], &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(std::io::Error::from)?;
    }
    Ok(())
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}
