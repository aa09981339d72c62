//! Whether an issuer may be asked one more question now.
//!
//! Anyone can invent tokens, and each that nobody knows is a request of ours to the issuer; so is each good one that has to be exchanged. So there is a limit of questions at a time, and one of
//! questions in a second; and an endpoint that fails again and again is left alone for a moment, so that a sick server gets well and callers get their
//! 503 at once. Nothing here waits. What is refused is the question, never the token: it is answered 503.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Failures in a row after which the endpoint is left alone.
const FAILURES: u32 = 5;
/// How long it is left alone. Then one question is asked, and its outcome decides for the others.
const PAUSE: Duration = Duration::from_secs(2);

/// Why a question is not asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::authority) enum TurnedAway {
    /// There are too many at a time, or were too many in this second.
    Busy,
    /// The endpoint is left alone, since it has failed again and again.
    Paused,
}

/// The gate to one issuer's endpoint.
#[derive(Debug)]
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    breaker: Breaker,
}

/// Questions that may be asked at once after a quiet second, and as many in every second after that.
#[derive(Debug)]
struct Budget {
    rate: f64,
    left: f64,
    counted: Option<Instant>,
}

#[derive(Debug)]
enum Breaker {
    /// Questions are asked; so many have failed in a row.
    Closed { failures: u32 },
    /// None is asked until then.
    Open { until: Instant },
    /// One is asked; the others wait for what comes of it by being refused.
    HalfOpen,
}

/// One question may be asked. When it is dropped without a word of how it went, it has failed.
#[derive(Debug)]
#[must_use]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    _slot: OwnedSemaphorePermit,
    answered: bool,
}

impl Admission {
    /// A gate for `calls` questions at a time and `rate` in a second.
    pub(super) fn new(calls: usize, rate: u32) -> Self {
        let rate = f64::from(rate);
        let state = State {
            budget: Budget { rate, left: rate, counted: None },
            breaker: Breaker::Closed { failures: 0 },
        };
        Self { slots: Arc::new(Semaphore::new(calls)), state: Mutex::new(state) }
    }

    /// Leave to ask one question.
    ///
    /// # Errors
    /// [`TurnedAway`]
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Result<Admitted, TurnedAway> {
        // A few numbers cannot be left half-written by a panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.breaker.refuses(now) {
            return Err(TurnedAway::Paused);
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| TurnedAway::Busy)?;
        if !state.budget.spend(now) {
            return Err(TurnedAway::Busy);
        }
        // Last, since it may be the one question that is asked: a refusal after it would leave everyone waiting for its outcome.
        state.breaker.enter();
        Ok(Admitted { admission: Arc::clone(self), _slot: slot, answered: false })
    }

    fn ended(&self, answered: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.breaker.ended(answered, now);
    }
}

impl Admitted {
    /// The endpoint does its work, whatever it has said of the token.
    pub(super) fn went_well(mut self) {
        self.answered = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.ended(self.answered, Instant::now());
    }
}

impl Budget {
    fn spend(&mut self, now: Instant) -> bool {
        let passed = self.counted.map_or(Duration::ZERO, |counted| now.saturating_duration_since(counted));
        self.counted = Some(now);
        self.left = (self.left + passed.as_secs_f64() * self.rate).min(self.rate);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

impl Breaker {
    fn refuses(&self, now: Instant) -> bool {
        match self {
            Breaker::Closed { .. } => false,
            Breaker::Open { until } => now < *until,
            Breaker::HalfOpen => true,
        }
    }

    const fn enter(&mut self) {
        if matches!(self, Breaker::Open { .. }) {
            *self = Breaker::HalfOpen;
        }
    }

    fn ended(&mut self, answered: bool, now: Instant) {
        *self = match self {
            _ if answered => Breaker::Closed { failures: 0 },
            Breaker::Closed { failures } if *failures + 1 < FAILURES => {
                Breaker::Closed { failures: *failures + 1 }
            }
            Breaker::Closed { .. } | Breaker::HalfOpen => Breaker::Open { until: now + PAUSE },
            // A question from before: its failure is no news.
            Breaker::Open { until } => Breaker::Open { until: *until },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(calls: usize, rate: u32) -> Arc<Admission> {
        Arc::new(Admission::new(calls, rate))
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_a_time() {
        let gate = gate(2, 100);
        let now = Instant::now();
        let (one, _two) = (gate.admit(now).unwrap(), gate.admit(now).unwrap());
        assert_eq!(gate.admit(now).map(drop), Err(TurnedAway::Busy));
        one.went_well();
        assert!(gate.admit(now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_in_a_second() {
        let gate = gate(1000, 10);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let asked = |now, tries: usize| {
            (0..tries).filter(|_| gate.admit(now).map(Admitted::went_well).is_ok()).count()
        };
        assert_eq!(asked(at(0), 50), 10);
        assert_eq!(asked(at(99), 50), 0);
        assert_eq!(asked(at(1000), 50), 10, "a tenth of a second was not enough for one, and is not lost");
        assert_eq!(asked(at(60_000), 50), 10, "a quiet minute makes no more than a quiet second");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_left_alone_and_tried_by_one() {
        let gate = gate(1000, 1000);
        let now = Instant::now;
        for _ in 0..FAILURES - 1 {
            drop(gate.admit(now()).unwrap());
        }
        gate.admit(now()).unwrap().went_well();
        for _ in 0..FAILURES {
            drop(gate.admit(now()).unwrap());
        }
        let paused = |gate: &Arc<Admission>| {
            assert_eq!(gate.admit(Instant::now()).map(drop), Err(TurnedAway::Paused));
        };
        paused(&gate);
        tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
        paused(&gate);
        tokio::time::advance(Duration::from_millis(1)).await;
        let one = gate.admit(now()).unwrap();
        paused(&gate);
        drop(one);
        paused(&gate);
        tokio::time::advance(PAUSE).await;
        gate.admit(now()).unwrap().went_well();
        assert!(gate.admit(now()).is_ok() && gate.admit(now()).is_ok());
    }

    /// The one question after a pause is not lost to the budget: that would leave everyone paused for ever.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_spends_no_trial() {
        let gate = gate(1, 5);
        for _ in 0..FAILURES {
            drop(gate.admit(Instant::now()).unwrap());
        }
        let later = Instant::now() + PAUSE;
        let held = Arc::clone(&gate.slots).try_acquire_owned().unwrap();
        assert_eq!(gate.admit(later).map(drop), Err(TurnedAway::Busy));
        drop(held);
        gate.admit(later).unwrap().went_well();
        assert!(gate.admit(later).is_ok());
    }
}
