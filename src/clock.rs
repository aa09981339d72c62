//! The wall clock, as an argument.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep};

use crate::verify::time::UnixTime;

/// Tells the time. Tests hand in one that they set.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// A clock that asks `tell`.
    pub fn new(tell: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// The time, with its fraction of a second.
    pub fn precise(&self) -> SystemTime {
        (self.0)()
    }

    /// The time in whole seconds. Before 1970 it is 1970: every token has expired or is not valid yet then, so nothing passes.
    pub fn now(&self) -> UnixTime {
        let since = self.precise().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

/// A length of time that a reload may change, in whole milliseconds. Clones share it.
#[derive(Clone, Debug)]
pub struct Lapse(Arc<AtomicU64>);

impl Lapse {
    /// So long.
    pub fn new(length: Duration) -> Self {
        let lapse = Self(Arc::default());
        lapse.set(length);
        lapse
    }

    /// Changes it, for those that have not begun to wait.
    pub fn set(&self, length: Duration) {
        self.0.store(u64::try_from(length.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long it is.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// At least this often a [`Deadline`] looks at the clock again: it may have been set, and timers do not follow it.
const LOOK: Duration = Duration::from_secs(1);

/// A moment of the wall clock that somebody waits for.
#[derive(Debug)]
pub struct Deadline {
    clock: Clock,
    at: UnixTime,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The moment `at`, by `clock`.
    pub const fn new(clock: Clock, at: UnixTime) -> Self {
        Self { clock, at, timer: None }
    }

    /// Ready from `at` on. Until then the task is woken when that may be so: in time, or within a second when the clock was set.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(left) = self.left() else { return Poll::Ready(()) };
            let next = || Instant::now() + left.min(LOOK);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer.as_mut().reset(next());
        }
    }

    /// Waits for it.
    pub async fn passed(&mut self) {
        std::future::poll_fn(|cx| self.poll_passed(cx)).await;
    }

    /// How long it is still, or `None` when it has passed.
    fn left(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.at.seconds()).ok()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        // A moment that no clock can show never comes.
        let Some(at) = at else { return Some(LOOK) };
        at.duration_since(self.clock.precise()).ok().filter(|left| !left.is_zero())
    }
}
