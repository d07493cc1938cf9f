//! Errors: what was being done, to what, and why it failed; and the documented exit codes.
//!
//! Library code returns [`Error`], a chain "act: cause". The row of the exit-code table is chosen where it is known: a
//! failing bin/build says [`Failure::BuildpackBuild`] on the spot, everything else gets its phase's row at the edge
//! (`cli`). Nothing outside `main` exits.

use std::fmt;
use std::io;
use std::path::Path;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One row of the exit-code tables (platform.md, "Exit Codes"; compatibility.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Generic,
    /// Flag syntax: unknown flag, missing value.
    FlagSyntax,
    InvalidArguments,
    PlatformApi,
    BuildpackApi,
    /// No group passed detection.
    NoGroup,
    /// No group passed detection and at least one bin/detect ended with an error.
    NoGroupWithErrors,
    Detect,
    Analyze,
    Restore,
    /// A bin/build failed.
    BuildpackBuild,
    Build,
    /// A buildpack changed another buildpack's layer (our extension).
    LayerProtection,
    Export,
    Rebase,
    Launch,
    /// A bin/generate failed.
    ExtensionGenerate,
    Generate,
    Extend,
    /// Ended by this signal.
    Signal(i32),
}

impl Failure {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Generic => 1,
            Self::FlagSyntax => 2,
            Self::InvalidArguments => 3,
            Self::PlatformApi => 11,
            Self::BuildpackApi => 12,
            Self::NoGroup => 20,
            Self::NoGroupWithErrors => 21,
            Self::Detect => 22,
            Self::Analyze => 32,
            Self::Restore => 42,
            Self::BuildpackBuild => 51,
            Self::Build => 52,
            Self::LayerProtection => 53,
            Self::Export => 62,
            Self::Rebase => 72,
            Self::Launch => 82,
            Self::ExtensionGenerate => 91,
            Self::Generate => 92,
            Self::Extend => 102,
            Self::Signal(n) => u8::try_from(128 + n).unwrap_or(255),
        }
    }
}

/// What failed, as a chain of acts from the outermost to the cause. Displays as `act: act: cause`.
#[derive(Clone, Debug)]
pub struct Error {
    message: String,
    failure: Option<Failure>,
}

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), failure: None }
    }

    /// An I/O error in the words of the reference, which tools and people know: `open /x: no such file or directory`.
    pub fn io(operation: &str, path: impl AsRef<Path>, error: &io::Error) -> Self {
        Self::new(format!("{operation} {}: {}", path.as_ref().display(), io_text(error)))
    }

    /// Says under which act the error came up: `<act>: <error>`.
    #[must_use]
    pub fn context(mut self, act: impl fmt::Display) -> Self {
        self.message = format!("{act}: {}", self.message);
        self
    }

    /// Fixes the exit code unless one was chosen closer to the cause.
    #[must_use]
    pub fn or_failure(mut self, failure: Failure) -> Self {
        self.failure.get_or_insert(failure);
        self
    }

    /// The row chosen so far.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    pub fn exit_code(&self) -> u8 {
        self.failure.unwrap_or(Failure::Generic).exit_code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(io_text(&error))
    }
}

/// `No such file or directory (os error 2)` → `no such file or directory`.
fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    // What wraps the system's error adds its own words behind it, such as the path that is named already.
    let Some((text, _)) = text.split_once(" (os error ") else { return text };
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// `.context("act")` on every result whose error can become an [`Error`].
pub trait Context<T> {
    fn context(self, act: impl fmt::Display) -> Result<T>;
    fn with_context<D: fmt::Display>(self, act: impl FnOnce() -> D) -> Result<T>;
    /// Fixes the exit code, see [`Error::or_failure`].
    fn or_failure(self, failure: Failure) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, act: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(act))
    }

    fn with_context<D: fmt::Display>(self, act: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().context(act()))
    }

    fn or_failure(self, failure: Failure) -> Result<T> {
        self.map_err(|e| e.into().or_failure(failure))
    }
}

/// An early return with a formatted [`Error`].
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return Err($crate::error::Error::new(format!($($arg)*)).into()) };
}
