//! Whether an address is worth a request, and how many it has.
//!
//! Passive: failures in a row eject an address for a while that doubles each time, and a connection that can be made again brings it back.
//! Active: what the checks say. An address that either has turned away gets no request while there is a better one; when all are turned away,
//! all are tried, since a gateway that is wrong about health must not be what makes a service unreachable.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Check;

/// How much longer than the first an ejection can become.
const LONGEST: u32 = 32;

/// When an address is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// After this many failures in a row.
    pub(super) failures: u32,
    /// The first time for this long, doubled each time, at most 32 times as long.
    pub(super) ejection: Duration,
}

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Health {
    rules: Rules,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    ejected: AtomicBool,
    check_failed: AtomicBool,
    /// Checks in a row: good ones above zero, bad ones below.
    streak: AtomicI32,
    ejection: Mutex<Ejection>,
}

#[derive(Debug, Default)]
struct Ejection {
    /// When a connection is tried again.
    until: Option<Instant>,
    /// How often it was ejected without a success in between.
    times: u32,
}

/// One request that an address has. It counts as long as this lives.
#[derive(Debug)]
pub(super) struct Load(Arc<Health>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Health {
    pub(super) fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            rules,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            check_failed: AtomicBool::new(false),
            streak: AtomicI32::new(0),
            ejection: Mutex::default(),
        })
    }

    fn ejection(&self) -> MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request.
    pub(super) fn begin(self: &Arc<Self>) -> Load {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(self))
    }

    /// How many requests it has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it should get requests.
    pub(super) fn is_up(&self) -> bool {
        !self.ejected.load(Ordering::Relaxed) && !self.check_failed.load(Ordering::Relaxed)
    }

    /// It answered a request: whatever was held against it is forgotten.
    pub(super) fn succeeded(&self) {
        // Nearly always there is nothing, and a look is cheaper than a write that all threads share.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejection().times = 0;
            self.ejected.store(false, Ordering::Relaxed);
        }
    }

    /// No connection, no answer in time, or none in HTTP. Gives whether this ejects it.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= self.rules.failures && !self.ejected.load(Ordering::Relaxed) && self.eject(now)
    }

    fn eject(&self, now: Instant) -> bool {
        let mut ejection = self.ejection();
        if self.ejected.swap(true, Ordering::Relaxed) {
            return false;
        }
        ejection.prolong(self.rules, now);
        true
    }

    /// Whether an ejection is over, so that a connection should be tried. Says so once; then [`Health::tried_again`] is waited for.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.ejected.load(Ordering::Relaxed) && self.ejection().until.take_if(|until| *until <= now).is_some()
    }

    /// What a connection after an ejection came to. It gets requests again when there was one; a single failure ejects it anew, and for longer, until it
    /// has answered once.
    pub(super) fn tried_again(&self, connected: bool, now: Instant) {
        let mut ejection = self.ejection();
        if connected {
            self.failures.store(self.rules.failures.saturating_sub(1), Ordering::Relaxed);
            self.ejected.store(false, Ordering::Relaxed);
        } else {
            ejection.prolong(self.rules, now);
        }
    }

    /// What a check came to. Only one task asks, so nothing happens between a look and a write. Gives what it changes.
    pub(super) fn checked(&self, good: bool, rules: &Check) -> Option<Change> {
        let before = self.streak.load(Ordering::Relaxed);
        let streak = if good { before.max(0).saturating_add(1) } else { before.min(0).saturating_sub(1) };
        self.streak.store(streak, Ordering::Relaxed);
        if good && streak.unsigned_abs() >= rules.healthy && !self.is_up() {
            // It answers, so it is not ejected either.
            let mut ejection = self.ejection();
            ejection.times = 0;
            self.failures.store(0, Ordering::Relaxed);
            self.ejected.store(false, Ordering::Relaxed);
            self.check_failed.store(false, Ordering::Relaxed);
            return Some(Change::Up);
        }
        let turns_away = !good && streak.unsigned_abs() >= rules.unhealthy;
        (turns_away && !self.check_failed.swap(true, Ordering::Relaxed)).then_some(Change::Down)
    }
}

/// What a check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The address gets requests again.
    Up,
    /// It gets none.
    Down,
}

impl Ejection {
    fn prolong(&mut self, rules: Rules, now: Instant) {
        let factor = 1_u32.checked_shl(self.times).unwrap_or(LONGEST).min(LONGEST);
        self.times = self.times.saturating_add(1);
        self.until = now.checked_add(rules.ejection.saturating_mul(factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { failures: 3, ejection: Duration::from_secs(10) };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_in_between_does_not() {
        let (health, start) = (Health::new(RULES), Instant::now());
        for _ in 0..5 {
            assert!(!health.failed(start) && !health.failed(start) && health.is_up());
            health.succeeded();
        }
        assert!(!health.failed(start) && !health.failed(start) && health.failed(start));
        assert!(!health.is_up() && !health.failed(start));
    }

    #[test]
    fn each_ejection_is_longer_up_to_a_bound_until_it_answers() {
        let (health, start) = (Health::new(RULES), Instant::now());
        assert!((0..3).any(|_| health.failed(start)));
        let mut now = 0;
        for seconds in [10, 20, 40, 80, 160, 320, 320, 320] {
            assert!(!health.is_due(after(start, now + seconds - 1)), "{seconds}");
            now += seconds;
            assert!(health.is_due(after(start, now)), "{seconds}");
            health.tried_again(false, after(start, now));
        }
        // A connection brings it back, and the first failure then ejects it for as long as before.
        health.tried_again(true, after(start, now));
        assert!(health.is_up() && health.failed(after(start, now)));
        assert!(!health.is_due(after(start, now + 319)) && health.is_due(after(start, now + 320)));
        health.tried_again(true, after(start, now));
        health.succeeded();
        assert!(!health.failed(start) && !health.failed(start) && health.failed(start));
        assert!(health.is_due(after(start, 10)));
    }

    #[test]
    fn checks_turn_away_and_bring_back() {
        let rules = Check {
            path: http::uri::PathAndQuery::from_static("/"),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            status: Vec::new(),
        };
        let health = Health::new(RULES);
        let mut up = Vec::new();
        for good in [false, false, true, false, false, false, false, true, false, true, true, true] {
            let change = health.checked(good, &rules);
            assert_eq!(change.is_some(), up.last().is_some_and(|up| *up != health.is_up()), "{up:?}");
            up.push(health.is_up());
        }
        assert_eq!(up, [true, true, true, true, true, false, false, false, false, false, true, true]);
        // Whoever answers the checks is not ejected either.
        assert!((0..3).any(|_| health.failed(Instant::now())));
        assert_eq!(health.checked(true, &rules), Some(Change::Up));
    }

    #[test]
    fn requests_are_counted_while_they_live() {
        let health = Health::new(RULES);
        let (one, other) = (health.begin(), health.begin());
        assert_eq!(health.in_flight(), 2);
        drop((one, other));
        assert_eq!(health.in_flight(), 0);
    }
}
