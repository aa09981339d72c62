//! The wall clock, as an argument.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

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
