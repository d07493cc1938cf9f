//! What a person sees: all messages of the program go to stdout, without timestamps or targets.
//!
//! Code logs with `tracing`'s macros; the text of an event's message is one line. Fields other than the message are not
//! shown (they are for traces). Spans pass through untouched, so another layer can turn them into a trace.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// From what level on messages are shown (`-log-level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    /// Shows nothing: no message of this program is worse than an error.
    Fatal,
}

impl Level {
    /// In any case; `warning` is `warn`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            _ => return None,
        })
    }

    fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Self::Debug,
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static COLORS: AtomicBool = AtomicBool::new(true);

thread_local! {
    static CAPTURED: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// Starts printing messages; once per process, before the first message.
pub fn start(colors: bool) {
    COLORS.store(colors, Ordering::Relaxed);
    // Tests run several commands in one process; the first subscriber stays.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Console));
}

/// What the command line asks for.
pub fn configure(level: Level, colors: bool) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    COLORS.store(colors, Ordering::Relaxed);
}

/// True if messages of this level are shown.
pub fn shows(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

/// The header of a phase within `creator`: `===> ANALYZING`.
pub fn phase(name: &str) {
    tracing::info!("{}", painted("36", &format!("===> {name}")));
}

/// A message that is not printed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub level: Level,
    pub message: String,
}

impl Entry {
    /// Prints the message if its level is shown.
    pub fn print(&self) {
        if shows(self.level) {
            self.print_always();
        }
    }

    /// Prints the message whatever its level: what happened before a failure is shown then.
    pub fn print_always(&self) {
        let mut text = match self.level {
            Level::Warn => painted("33;1", "Warning: "),
            Level::Error => painted("31;1", "ERROR: "),
            _ => String::new(),
        };
        text.push_str(&self.message);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // A reader that went away is no reason to stop a build.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// Runs `work` and keeps what this thread logs meanwhile, whatever its level, instead of printing it: modules that are
/// detected in parallel show their messages in order, and debug messages only if the group failed.
pub fn capture<R>(work: impl FnOnce() -> R) -> (R, Vec<Entry>) {
    struct Restore(Option<Vec<Entry>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CAPTURED.set(self.0.take());
        }
    }
    let restore = Restore(CAPTURED.replace(Some(Vec::new())));
    let result = work();
    let entries = CAPTURED.take().unwrap_or_default();
    drop(restore);
    (result, entries)
}

fn painted(code: &str, text: &str) -> String {
    if COLORS.load(Ordering::Relaxed) { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Prints this crate's events; the crates below it have their own idea of what is worth a message.
struct Console;

impl<S: Subscriber> Layer<S> for Console {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target().starts_with("lifecycle") { Interest::always() } else { Interest::never() }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = Level::of(*event.metadata().level());
        let captures = CAPTURED.with_borrow(Option::is_some);
        if !captures && !shows(level) {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let entry = Entry { level, message: message.0 };
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(entries) => entries.push(entry),
            None => entry.print(),
        });
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_reference() {
        assert_eq!(Level::parse("WARNING"), Some(Level::Warn));
        assert_eq!(Level::parse("fatal"), Some(Level::Fatal));
        for bad in ["", "trace", "verbose", " info"] {
            assert_eq!(Level::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn captures_what_one_thread_logs_and_nothing_of_others() {
        let console = tracing::Dispatch::new(tracing_subscriber::registry().with(Console));
        let elsewhere = console.clone();
        let work = || {
            tracing::debug!(bytes = 3, "first {}", 1);
            let other = move || tracing::dispatcher::with_default(&elsewhere, || tracing::debug!("elsewhere"));
            std::thread::spawn(other).join().unwrap();
            let (_, inner) = capture(|| tracing::info!("inner"));
            assert_eq!(inner, [Entry { level: Level::Info, message: "inner".into() }]);
            tracing::warn!("second");
            7
        };
        let (result, entries) = tracing::dispatcher::with_default(&console, || capture(work));
        assert_eq!(result, 7);
        let wanted =
            [Entry { level: Level::Debug, message: "first 1".into() }, Entry { level: Level::Warn, message: "second".into() }];
        assert_eq!(entries, wanted);
    }
}
