//! When to try again, and when to give up.

use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::fault::{Fault, Kind};

/// Attempts at something that keeps failing. Every bit of progress starts it anew.
#[derive(Debug)]
pub(super) struct Patience {
    /// Total time spent without progress (`CNB_REGISTRY_TIMEOUT`).
    limit: Duration,
    started: Instant,
    failures: u32,
    /// Failures in all, for messages.
    total: u32,
}

/// The longest wait that a registry did not ask for.
const LONGEST: Duration = Duration::from_secs(20);

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, started: Instant::now(), failures: 0, total: 0 }
    }

    pub(super) fn progress(&mut self) {
        self.started = Instant::now();
        self.failures = 0;
    }

    pub(super) fn attempts(&self) -> u32 {
        self.total + 1
    }

    /// How long to wait before the next attempt; `None`: give up. Registries that ask to be left alone are waited for as long
    /// as the limit allows, others get a number of attempts.
    pub(super) fn wait(&mut self, fault: &Fault) -> Option<Duration> {
        let most = match fault.kind {
            Kind::Busy => u32::MAX,
            Kind::Server | Kind::Connection => 9,
            Kind::Unreachable => 5,
            Kind::Doubtful => 3,
            Kind::Denied | Kind::NotFound | Kind::Permanent => return None,
        };
        self.failures += 1;
        self.total += 1;
        if self.failures > most {
            return None;
        }
        let wait = match fault.retry_after {
            // A little later than asked for, and not all clients at once.
            Some(seconds) => {
                Duration::from_secs(seconds.into()).max(Duration::from_millis(50)) + jitter(Duration::from_millis(500))
            }
            None => {
                let step = Duration::from_millis(200) * 2_u32.saturating_pow(self.failures.min(12) - 1);
                let step = step.min(LONGEST);
                step / 2 + jitter(step / 2)
            }
        };
        (self.started.elapsed() + wait < self.limit).then_some(wait)
    }
}

/// Somewhere between nothing and `most`.
fn jitter(most: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let hash = Sha256::digest([now.as_nanos().to_le_bytes(), u128::from(std::process::id()).to_le_bytes()].concat());
    let part = u64::from_le_bytes(std::array::from_fn(|i| hash[i])) % 1000;
    most.mul_f64(part as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind, retry_after: Option<u32>) -> Fault {
        Fault {
            act: String::new(),
            request: String::new(),
            status: None,
            detail: String::new(),
            attempts: 1,
            credentials: String::new(),
            kind,
            retry_after,
        }
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        for kind in [Kind::Denied, Kind::NotFound, Kind::Permanent] {
            assert_eq!(Patience::new(Duration::from_secs(600)).wait(&fault(kind, Some(1))), None);
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let mut patience = Patience::new(Duration::from_secs(600));
        let waits: Vec<Duration> = std::iter::from_fn(|| patience.wait(&fault(Kind::Server, None))).collect();
        assert_eq!(waits.len(), 9);
        assert!(waits[0] <= Duration::from_millis(200) && waits[8] >= LONGEST / 2 && waits[8] <= LONGEST, "{waits:?}");
        patience.progress();
        assert!(patience.wait(&fault(Kind::Server, None)).unwrap() <= Duration::from_millis(200));
        let mut patience = Patience::new(Duration::from_secs(600));
        assert_eq!(std::iter::from_fn(|| patience.wait(&fault(Kind::Unreachable, None))).count(), 5);
    }

    #[test]
    fn the_registrys_wish_is_obeyed_within_the_limit() {
        let mut patience = Patience::new(Duration::from_secs(10));
        let wait = patience.wait(&fault(Kind::Busy, Some(3))).unwrap();
        assert!((3.0..4.0).contains(&wait.as_secs_f64()));
        assert_eq!(patience.wait(&fault(Kind::Busy, Some(11))), None);
    }
}
