//! Which proofs a process that has just started refuses, because its memory of used ones begins empty (R-E-08).

use std::time::Duration;

use crate::config::AfterRestart;
use crate::verify::time::UnixTime;

/// The first second whose proofs are taken by a process that started at `started` (since the Unix epoch); the value for
/// [`DpopRules::fence`](crate::verify::dpop::DpopRules::fence). `None` where the operator accepts the risk.
///
/// `iat` is whole seconds, so a proof of the starting second could have been made, and used, before the start: that
/// whole second is refused, and the first good one is the next. Whoever starts the process should not accept connections before that second has
/// come, or it would refuse the proofs of callers who did nothing wrong.
///
/// Not held by this line: a proof that was dated *ahead* (by up to `max_future`) and used shortly before the start has an `iat` after
/// it, and passes once more until it is too old. Where that matters a nonce is required: a nonce has our time, not the caller's.
pub fn fence(started: Duration, after_restart: AfterRestart) -> Option<UnixTime> {
    match after_restart {
        // A clock so far ahead that it does not fit makes a fence nobody passes, which is the safe end.
        AfterRestart::Refuse => {
            let second = i64::try_from(started.as_secs()).unwrap_or(i64::MAX);
            Some(UnixTime::from_seconds(second).plus(1))
        }
        AfterRestart::Accept => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{AfterRestart, Duration, UnixTime, fence};

    #[test]
    fn the_second_of_the_start_is_refused_whole() {
        for millis in [1_000_000, 1_000_001, 1_000_999] {
            let fence = fence(Duration::from_millis(millis), AfterRestart::Refuse);
            assert_eq!(fence, Some(UnixTime::from_seconds(1_001)), "{millis}");
        }
        assert_eq!(fence(Duration::from_secs(1_000), AfterRestart::Accept), None);
        assert_eq!(fence(Duration::MAX, AfterRestart::Refuse), Some(UnixTime::from_seconds(i64::MAX)));
    }
}
