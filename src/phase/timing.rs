//! How long phases and steps take, as debug messages.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::debug;

use crate::image::time::rfc3339;

/// Says when a phase or a step begins, and when it is dropped, that it has ended.
#[derive(Debug)]
#[must_use]
pub struct Timing {
    name: String,
    begin: Instant,
}

/// Begins to measure: `Timer: <name> started at …`, `Timer: <name> ran for … and ended at …`.
pub fn measure(name: impl Into<String>) -> Timing {
    let name = name.into();
    debug!("Timer: {name} started at {}", now());
    Timing { name, begin: Instant::now() }
}

impl Drop for Timing {
    fn drop(&mut self) {
        debug!("Timer: {} ran for {:?} and ended at {}", self.name, self.begin.elapsed(), now());
    }
}

fn now() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_secs()).ok().and_then(rfc3339).unwrap_or_default()
}
