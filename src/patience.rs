//! How long one side may keep the other waiting, and how slow it may be.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// So much waiting is looked at together when a rate is judged: long enough for a network to falter and recover.
const WINDOW: Duration = Duration::from_secs(20);

/// Counts from the first time there is nothing to the next time there is something. The timer is made when it is first needed: most bodies and
/// connections never keep anyone waiting.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// Bytes in a second; 0 for any.
    least_rate: u64,
    /// How long we waited, and for how much, since the rate was last judged.
    waited: Duration,
    came: u64,
}

/// What came, came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Patience {
    /// Patience for `limit` at a time.
    pub const fn new(limit: Duration) -> Self {
        Self::with_rate(limit, 0)
    }

    /// The same, with at least `least_rate` bytes in a second of waiting, as [`Patience::came`] counts them.
    pub const fn with_rate(limit: Duration, least_rate: u64) -> Self {
        Self { limit, timer: None, waiting: false, least_rate, waited: Duration::ZERO, came: 0 }
    }

    /// Another limit, from the next wait on.
    pub const fn limit_to(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The same, and no rate.
    pub const fn relax(&mut self, limit: Duration) {
        self.limit = limit;
        self.least_rate = 0;
    }

    /// Something came: the next wait starts anew.
    pub const fn restore(&mut self) {
        self.waiting = false;
    }

    /// So many bytes came: the next wait starts anew. Only time in which we waited counts, so nobody is slow because we were.
    ///
    /// # Errors
    /// [`TooSlow`], once for each 20 s of waiting that brought less than the least rate. Without that, a byte a minute would
    /// keep up with every limit on silence.
    pub fn came(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.came = self.came.saturating_add(bytes as u64);
        if self.waiting
            && let Some(timer) = &self.timer
        {
            // The timer runs out `limit` after the wait began.
            let left = timer.deadline().saturating_duration_since(Instant::now());
            self.waited += self.limit.saturating_sub(left);
        }
        self.waiting = false;
        if self.waited < WINDOW {
            return Ok(());
        }
        let expected = u128::from(self.least_rate) * self.waited.as_millis() / 1000;
        let is_enough = u128::from(self.came) >= expected;
        (self.waited, self.came) = (Duration::ZERO, 0);
        if is_enough { Ok(()) } else { Err(TooSlow) }
    }

    /// Nothing is there. Ready once that has been so for the whole limit; until then the task is woken when it will have been.
    pub fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for `wait` before each of `pieces` bytes comes.
    async fn judged(patience: &mut Patience, wait: Duration, pieces: &[usize]) -> Result<(), TooSlow> {
        for &piece in pieces {
            assert!(std::future::poll_fn(|cx| Poll::Ready(patience.poll_exhausted(cx).is_pending())).await);
            tokio::time::advance(wait).await;
            patience.came(piece)?;
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_too_slow_however_steady() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::with_rate(60 * second, 500);
        assert_eq!(judged(&mut patience, second, &[1; 19]).await, Ok(()));
        assert_eq!(judged(&mut patience, second, &[1]).await, Err(TooSlow));
        assert_eq!(judged(&mut patience, second, &[500; 100]).await, Ok(()));
        assert_eq!(judged(&mut patience, 59 * second, &[1]).await, Err(TooSlow));
        // What came fast before buys no more than the rest of its window.
        assert_eq!(judged(&mut patience, second, &[1 << 30]).await, Ok(()));
        assert_eq!(judged(&mut patience, second, &[1; 19]).await, Ok(()));
        assert_eq!(judged(&mut patience, second, &[1; 20]).await, Err(TooSlow));
        patience.relax(60 * second);
        assert_eq!(judged(&mut patience, 59 * second, &[1; 10]).await, Ok(()));
    }

    /// The time that we take is not the other side's.
    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts() {
        let mut patience = Patience::with_rate(Duration::from_secs(60), 500);
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(patience.came(1), Ok(()));
        }
    }
}
