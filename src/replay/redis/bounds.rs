//! What replicas have to agree on for one of them to keep a claim for as long as its proof could pass at any other.
//!
//! Configurations change one replica after the other. A replica with a longer `max_age` than the one that made a claim would take the proof once more when the claim has ended. So the marker of a memory
//! names the longest of these figures that any replica has had; who has a longer one writes a new marker, by which a new memory begins, and everybody keeps claims for as
//! long as the marker asks for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::{Dpop, Redis};

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `dpop.max_age`, in seconds.
    pub max_age: u64,
    /// `dpop.max_future`, in seconds.
    pub max_future: u64,
    /// How long a nonce opens at most, in seconds: two `dpop.nonce_lifetime`.
    pub nonce: u64,
    /// `replay.redis.clock_difference`, in milliseconds.
    pub clock_difference: u64,
    /// `replay.redis.timeout`, in milliseconds: a memory begins up to so much later than its marker says.
    pub timeout: u64,
}

impl Bounds {
    /// Those of a gateway with these settings.
    pub fn of(dpop: &Dpop, redis: &Redis) -> Self {
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or_default();
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            max_age: seconds(dpop.max_age),
            max_future: seconds(dpop.max_future),
            nonce: seconds(2 * dpop.nonce_lifetime),
            clock_difference: milliseconds(redis.clock_difference),
            timeout: milliseconds(redis.timeout),
        }
    }

    /// The longer of each.
    pub fn joined(self, other: Self) -> Self {
        Self {
            max_age: self.max_age.max(other.max_age),
            max_future: self.max_future.max(other.max_future),
            nonce: self.nonce.max(other.nonce),
            clock_difference: self.clock_difference.max(other.clock_difference),
            timeout: self.timeout.max(other.timeout),
        }
    }

    /// Whether none of `other` is longer.
    pub fn cover(self, other: Self) -> bool {
        self.joined(other) == self
    }

    /// For how much longer than by `own` figures a claim has to be kept. A proof may pass by its date or by its nonce, so both count.
    pub fn beyond(self, own: Self) -> Duration {
        let more = |longest: u64, own: u64| longest.saturating_sub(own);
        let seconds = more(self.max_age, own.max_age).saturating_add(more(self.nonce, own.nonce));
        // Who bears more does not notice a clock that was set by more either.
        let clocks = more(self.clock_difference, own.clock_difference).saturating_mul(4);
        let clocks = clocks.saturating_add(more(self.timeout, own.timeout));
        Duration::from_secs(seconds).saturating_add(Duration::from_millis(clocks))
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_age, max_future, nonce, clock_difference, timeout } = self;
        write!(f, "{max_age},{max_future},{nonce},{clock_difference},{timeout}")
    }
}

/// It is no such figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBounds;

impl FromStr for Bounds {
    type Err = NoBounds;

    fn from_str(text: &str) -> Result<Self, NoBounds> {
        let mut parts = text.split(',').map(|digits| digits.parse::<u64>().map_err(|_| NoBounds));
        let mut next = || parts.next().unwrap_or(Err(NoBounds));
        let bounds = Self {
            max_age: next()?,
            max_future: next()?,
            nonce: next()?,
            clock_difference: next()?,
            timeout: next()?,
        };
        if parts.next().is_some() { Err(NoBounds) } else { Ok(bounds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn bounds(
        max_age: u64,
        max_future: u64,
        nonce: u64,
        clock_difference: u64,
        timeout: u64,
    ) -> Bounds {
        Bounds { max_age, max_future, nonce, clock_difference, timeout }
    }

    #[test]
    fn the_longer_of_each_covers_both() {
        let (one, other) = (bounds(60, 10, 600, 1000, 250), bounds(300, 5, 20, 1000, 250));
        let both = one.joined(other);
        assert_eq!(both, bounds(300, 10, 600, 1000, 250));
        assert!(both.cover(one) && both.cover(other) && !one.cover(other) && !other.cover(one));
        for more in [
            bounds(301, 10, 600, 1000, 250),
            bounds(300, 11, 600, 1000, 250),
            bounds(300, 10, 601, 1000, 250),
            bounds(300, 10, 600, 1001, 250),
            bounds(300, 10, 600, 1000, 251),
        ] {
            assert!(!both.cover(more) && more.cover(both), "{more}");
        }
    }

    #[test]
    fn claims_are_kept_for_what_others_need() {
        let own = bounds(60, 10, 600, 1000, 250);
        assert_eq!(own.beyond(own), Duration::ZERO);
        assert_eq!(bounds(300, 60, 620, 1500, 350).beyond(own), Duration::from_millis(260_000 + 2_000 + 100));
        assert_eq!(bounds(10, 0, 20, 100, 250).beyond(own), Duration::ZERO);
    }

    #[test]
    fn written_and_read() {
        let own = bounds(60, 10, 600, 1000, 250);
        assert_eq!(own.to_string().parse(), Ok(own));
        for text in ["", "1,2,3,4", "1,2,3,4,5,6", "1,2,3,x,5", "1,2,3,-4,5", "1,,3,4,5"] {
            assert_eq!(text.parse::<Bounds>(), Err(NoBounds), "{text}");
        }
    }
}
