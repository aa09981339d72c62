//! Warnings about what strangers and upstreams do: they may do it a thousand times a second, and the log is not theirs to fill.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often one thing is said.
const PAUSE: Duration = Duration::from_secs(1);

/// One thing that is said at most once a second.
#[derive(Debug)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug)]
struct Said {
    last: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// Nothing said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Said { last: None, since: 0 }))
    }

    /// Whether it is said at `now`; then how often it went unsaid since the last time.
    pub fn due(&self, now: Instant) -> Option<u64> {
        // Two numbers cannot be left half-written by a panic.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            said.since += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.since))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_unsaid_is_counted() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let at = |milliseconds| seldom.due(start + Duration::from_millis(milliseconds));
        assert_eq!(
            [at(0), at(1), at(999), at(1000), at(1001), at(5000)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
