//! How long one side may keep the other waiting.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Counts from the first time there is nothing to the next time there is something. The timer is made when it is first needed: most bodies and
/// connections never keep anyone waiting.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Patience {
    /// Patience for `limit` at a time.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, timer: None, waiting: false }
    }

    /// Something came: the next wait starts anew.
    pub const fn restore(&mut self) {
        self.waiting = false;
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
