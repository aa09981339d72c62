//! What an upstream's failures look like in the log: one line a second at most, with the number of those that it stands for.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::connect::Place;

/// The least time between two lines about one upstream.
const QUIET: Duration = Duration::from_secs(1);

/// What was not said yet.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Silence>);

#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    unsaid: u64,
}

impl Trouble {
    /// Reports that `what` went wrong with a request to `place`. A server that answers rubbish to thousands of requests a second must not fill the disk.
    pub(super) fn report(&self, upstream: &str, place: &Place, what: &str, error: &dyn Display) {
        let Some(unsaid) = self.may_speak(Instant::now()) else { return };
        warn!(upstream, address = %place, %error, also = unsaid, "{what}");
    }

    /// How many reports were swallowed since the last, when it is time for another.
    fn may_speak(&self, now: Instant) -> Option<u64> {
        let mut silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.since.is_some_and(|since| now.saturating_duration_since(since) < QUIET) {
            silence.unsaid += 1;
            return None;
        }
        silence.since = Some(now);
        Some(std::mem::take(&mut silence.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_stands_for_all() {
        let (trouble, start) = (Trouble::default(), Instant::now());
        assert_eq!(trouble.may_speak(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(trouble.may_speak(start + Duration::from_millis(999)), None);
        }
        assert_eq!(trouble.may_speak(start + QUIET), Some(1000));
    }
}
