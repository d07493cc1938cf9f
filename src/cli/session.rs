//! What every command gets.

use crate::api::PlatformApi;
use crate::process::Invocation;

use super::applet::Command;
use super::flags::Flags;

/// One call of one command, its command line understood and checked.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    pub invocation: &'a Invocation,
    pub command: Command,
    pub api: PlatformApi,
    pub flags: &'a Flags,
}
