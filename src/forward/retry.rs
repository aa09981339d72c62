//! Whether a request is sent a second time, and how many are.
//!
//! Sent again is only what cannot have been acted on, since nothing of it went out or the server said so, and what may be acted on twice: an idempotent
//! method without a body (RFC 9110 §9.2.2) whose answer has not begun. The proof was spent once, and all tries happen under the one permit.

use std::error::Error as _;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;

/// What the retries of an upstream may use up: they start with this many, and never have more.
const MOST: u32 = 100 * ONE;
/// One retry, in parts.
const ONE: u32 = 100;
/// What each request adds: five of them pay for one retry, so that retries add at most a fifth to the load of a server in trouble.
const SHARE: u32 = ONE / 5;
/// What each second adds, so that an upstream with few requests has retries as well.
const FLOOR: u32 = 10 * ONE;

/// The retries that an upstream can afford.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(MOST))
    }

    /// A request was sent for the first time.
    pub(super) fn deposit(&self) {
        // Full is how it nearly always is, and a look is cheaper than a write that all threads share.
        if self.0.load(Ordering::Relaxed) < MOST {
            self.add(SHARE);
        }
    }

    /// A second has passed.
    pub(super) fn refill(&self) {
        self.add(FLOOR);
    }

    /// Whether a retry can be afforded, which is then paid.
    pub(super) fn withdraw(&self) -> bool {
        let pay = |parts: u32| parts.checked_sub(ONE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    fn add(&self, parts: u32) {
        let more = |has: u32| Some(has.saturating_add(parts).min(MOST));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// RFC 9110 §9.2.2: sent twice, they do what they do once. Methods that are not known here may do anything.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether an HTTP/2 server said that it did not process the request: it refused the stream, or it was leaving and named an earlier one as its last
/// (RFC 9113 §8.7).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let leaving = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (refused || leaving);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_never_multiply_the_load() {
        let budget = Budget::new();
        let mut retries = 0;
        // Every request fails and would be sent again.
        for _ in 0..10_000 {
            budget.deposit();
            retries += u32::from(budget.withdraw());
        }
        assert!((2000..=2100).contains(&retries), "{retries}");
        assert!(!budget.withdraw());
        budget.refill();
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
        (0..1000).for_each(|_| budget.refill());
        assert_eq!((0..1000).filter(|_| budget.withdraw()).count(), 100);
    }

    #[test]
    fn what_may_be_done_twice() {
        for (method, expected) in [
            ("GET", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("FETCH", false),
        ] {
            assert_eq!(is_idempotent(&method.parse().expect("a method")), expected, "{method}");
        }
    }
}
