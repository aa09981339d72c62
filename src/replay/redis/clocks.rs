//! Whether a server's clock is ours, and which of the two was set when they part.
//!
//! Claims have an end by the server's clock and proofs by ours, so both have to show the same time, as nearly as `clock_difference` says. A timer that nobody sets tells which of them was
//! set: where it is the server's, claims may have ended before their time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::link::Link;
use super::resp::Reply;
use super::trouble::Trouble;
use crate::clock::Clock;
use crate::config;

/// The server's time in milliseconds since 1970, and how far it is ahead of ours.
pub(super) async fn ask_time(
    link: &mut Link,
    settings: &config::Redis,
    clock: &Clock,
) -> Result<(u64, i64), Trouble> {
    let asked = Asked::now(clock);
    let reply = link.demand(&[b"TIME"]).await?;
    asked.judge_time(&reply, settings)
}

/// By how much a server's clock may seem to be set back while it is right: it and ours may differ at both looks, and so may the times that the answers took.
pub(super) const fn unnoticed(settings: &config::Redis) -> Duration {
    settings.clock_difference.saturating_mul(2).saturating_add(settings.timeout)
}

/// Two clocks at one moment, and a timer that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    theirs: u64,
    ours: SystemTime,
    by_timer: Instant,
}

impl Pace {
    /// The server's clock shows `theirs` just now, in milliseconds.
    pub(super) fn from(theirs: u64, clock: &Clock) -> Self {
        Self { theirs, ours: clock.precise(), by_timer: Instant::now() }
    }

    /// The server's clock was too far ahead of ours just now, by so many milliseconds.
    pub(super) fn differing(ahead: i64, clock: &Clock) -> Self {
        let ours = clock.precise().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let theirs = u64::try_from(ours.as_millis()).unwrap_or(u64::MAX).saturating_add_signed(ahead);
        Self::from(theirs, clock)
    }

    /// Whether our own clock still goes as it did, at the moment `now` of the timer. Between two looks at the server nothing else would tell that it was set, and set back it would
    /// take proofs whose claims have ended.
    ///
    /// # Errors
    /// [`Trouble::ClockDiffers`] when it is off by more than `most`.
    pub(super) fn judge_ours(&self, now: Instant, clock: &Clock, most: Duration) -> Result<(), Trouble> {
        let due = self.ours + now.saturating_duration_since(self.by_timer);
        let ours = clock.precise();
        match due.duration_since(ours) {
            Ok(behind) if behind > most => Err(Trouble::ClockDiffers(whole_milliseconds(behind))),
            Err(ahead) if ahead.duration() > most => {
                Err(Trouble::ClockDiffers(-whole_milliseconds(ahead.duration())))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What a server says its time is that was `asked` once more; gives how far it is ahead of ours, and goes on from there.
    ///
    /// # Errors
    /// Those of [`judge_time`](Asked::judge_time), and [`Trouble::MemoryLost`] where it is the server's clock that was set: claims have an end by that clock, so some may have ended
    /// before their time.
    pub(super) fn judge_again(
        &mut self,
        asked: Asked,
        reply: &Reply<'_>,
        settings: &config::Redis,
        clock: &Clock,
    ) -> Result<i64, Trouble> {
        match asked.judge_time(reply, settings) {
            Err(Trouble::ClockDiffers(_))
                if milliseconds(reply).is_some_and(|theirs| self.was_set(theirs, settings.timeout)) =>
            {
                Err(Trouble::MemoryLost)
            }
            Err(trouble) => Err(trouble),
            Ok((theirs, ahead)) => {
                let now = Pace::from(theirs, clock);
                if now.is_set_back_since(self, settings) {
                    return Err(Trouble::MemoryLost);
                }
                *self = now;
                Ok(ahead)
            }
        }
    }

    /// Whether the server's clock was set back since `before`, by more than clocks that are right may seem to be. Then it was ahead, and claims have ended before their time. Ours
    /// says nothing of that: both may have been ahead together. A process that was put to sleep has a timer that is late, by which no clock seems to be set back.
    pub(super) fn is_set_back_since(&self, before: &Self, settings: &config::Redis) -> bool {
        u128::from(before.due(self.by_timer).saturating_sub(self.theirs)) > unnoticed(settings).as_millis()
    }

    /// Whether a memory that begins in that second did so before `earlier`, by the clock of the server as it goes now.
    pub(super) fn has_begun_before(&self, begins: u64, earlier: &Self) -> bool {
        let passed = self.by_timer.saturating_duration_since(earlier.by_timer).as_millis();
        u128::from(begins).saturating_mul(1000).saturating_add(passed) <= u128::from(self.theirs)
    }

    /// The one of two in which the server's clock is farther ahead.
    pub(super) fn farther(self, other: Self) -> Self {
        if other.theirs > self.due(other.by_timer) { other } else { self }
    }

    /// What the server's clock shows at that moment of the timer, in milliseconds, unless it was set.
    fn due(&self, then: Instant) -> u64 {
        let passed = then.saturating_duration_since(self.by_timer).as_millis();
        self.theirs.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Whether the server's clock was set, if it shows `theirs` now and has answered within `timeout` both times.
    fn was_set(&self, theirs: u64, timeout: Duration) -> bool {
        u128::from(theirs.abs_diff(self.due(Instant::now()))) > timeout.as_millis()
    }
}

/// The moment in which a server was asked for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    at: SystemTime,
    by_timer: Instant,
}

impl Asked {
    /// This moment.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { at: clock.precise(), by_timer: Instant::now() }
    }

    /// The time that a server has answered with just now, in milliseconds since 1970, and how far that is ahead of ours: it may have looked at its clock at any
    /// moment since it was asked, so half of that time is unknown, and counts against it.
    ///
    /// # Errors
    /// [`Trouble::ClockDiffers`] when the difference may be more than `clock_difference`. [`Trouble::Late`] after `timeout`, also where it is we who were late to read: a
    /// process that stood still meanwhile would take the server's clock for one that was set back, and begin a new memory for everybody.
    fn judge_time(self, reply: &Reply<'_>, settings: &config::Redis) -> Result<(u64, i64), Trouble> {
        let theirs = match reply {
            Reply::Error(words) => return Err(Trouble::of_error(words)),
            reply => milliseconds(reply).ok_or(Trouble::NotRedis)?,
        };
        let round_trip = self.by_timer.elapsed();
        if round_trip > settings.timeout {
            return Err(Trouble::Late);
        }
        let half = round_trip / 2;
        let ours = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + half;
        let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub(whole_milliseconds(ours));
        let unknown = whole_milliseconds(half).saturating_add(1);
        if ahead.saturating_abs().saturating_add(unknown) > whole_milliseconds(settings.clock_difference) {
            return Err(Trouble::ClockDiffers(ahead));
        }
        Ok((theirs, ahead))
    }
}

/// The whole seconds of what `TIME` says.
pub(super) fn seconds(reply: &Reply<'_>) -> Option<u64> {
    milliseconds(reply).map(|milliseconds| milliseconds / 1000)
}

fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What `TIME` says: seconds and microseconds.
fn milliseconds(reply: &Reply<'_>) -> Option<u64> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::Bulk(seconds), Reply::Bulk(microseconds)] = parts.as_slice() else { return None };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    number(seconds)?.checked_mul(1000)?.checked_add(number(microseconds)? / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 250 ms for a reply, and 2 s between clocks.
    fn settings() -> config::Redis {
        let servers = config::RedisServers::Cluster(Vec::new());
        let settings = crate::replay::redis::tests::settings(servers, config::RedisWire::Plain);
        config::Redis { clock_difference: Duration::from_secs(2), ..settings }
    }

    /// A clock that shows this many seconds.
    fn clock(seconds: u64) -> Clock {
        Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn time<'i>(seconds: &'i str, microseconds: &'i str) -> Reply<'i> {
        Reply::Array(vec![Reply::Bulk(seconds.as_bytes()), Reply::Bulk(microseconds.as_bytes())])
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_round_trip_counts_against_the_clock() {
        let judge = async |seconds: &str, micros: &str, round_trip: u64| {
            let asked = Asked::now(&clock(1000));
            tokio::time::advance(Duration::from_millis(round_trip)).await;
            asked.judge_time(&time(seconds, micros), &settings())
        };
        assert_eq!(judge("1001", "999000", 0).await, Ok((1_001_999, 1999)));
        assert_eq!(judge("998", "1000", 0).await, Ok((998_001, -1999)));
        assert_eq!(
            judge("1002", "0", 0).await,
            Err(Trouble::ClockDiffers(2000)),
            "a millisecond may be cut off"
        );
        assert_eq!(judge("997", "0", 0).await, Err(Trouble::ClockDiffers(-3000)));
        assert_eq!(judge("1001", "999000", 200).await, Ok((1_001_999, 1899)));
        assert_eq!(judge("1002", "0", 200).await, Err(Trouble::ClockDiffers(1900)));
        assert_eq!(judge("1000", "0", 250).await, Ok((1_000_000, -125)));
        assert_eq!(judge("1000", "0", 251).await, Err(Trouble::Late), "nobody knows when it was that late");
        assert_eq!(judge("x", "0", 0).await, Err(Trouble::NotRedis));
    }

    /// Both clocks may be set while a server is used; only its own ends claims. And a gateway that stood still while the answer waited has learnt nothing of either.
    #[tokio::test(start_paused = true)]
    async fn a_server_whose_clock_was_set_has_another_memory() {
        let look = async |theirs: u64, ours: u64, stood_still: u64| {
            let mut pace = Pace::from(1_000_000, &clock(1000));
            tokio::time::advance(Duration::from_secs(5)).await;
            let own = pace.judge_ours(Instant::now(), &clock(ours), settings().clock_difference);
            let asked = Asked::now(&clock(ours));
            tokio::time::advance(Duration::from_secs(stood_still)).await;
            let theirs = theirs.to_string();
            (pace.judge_again(asked, &time(&theirs, "0"), &settings(), &clock(ours + stood_still)), own)
        };
        let differs = |ahead| Err(Trouble::ClockDiffers(ahead));
        assert_eq!(look(1005, 1005, 0).await, (Ok(0), Ok(())));
        assert_eq!(look(1006, 1005, 0).await, (Ok(1000), Ok(())), "by less than is borne");
        assert_eq!(look(1009, 1005, 0).await, (Err(Trouble::MemoryLost), Ok(())));
        assert_eq!(look(1000, 1005, 0).await, (Err(Trouble::MemoryLost), Ok(())));
        assert_eq!(look(1005, 1001, 0).await, (Err(Trouble::ClockDiffers(4000)), differs(4000)));
        assert_eq!(look(1005, 1010, 0).await, (Err(Trouble::ClockDiffers(-5000)), differs(-5000)));
        // Both set back together: the server's was ahead before.
        assert_eq!(look(995, 995, 0).await.0, Err(Trouble::MemoryLost));
        assert_eq!(look(1001, 1001, 0).await.0, Ok(0), "by less than what clocks may seem to be off by");
        assert_eq!(look(9000, 9000, 0).await.0, Ok(0), "or we were put to sleep");
        for stood_still in [1, 5, 600] {
            assert_eq!(look(1005, 1005, stood_still).await, (Err(Trouble::Late), Ok(())));
        }
    }

    /// What is known of a server's clock from connections before: only one that was ahead has ended claims, of memories that had begun by then.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_ahead_is_remembered() {
        let (right, ahead) = (Pace::from(1_000_000, &clock(1000)), Pace::differing(3_600_000, &clock(1000)));
        let behind = Pace::differing(-500_000, &clock(1000));
        tokio::time::advance(Duration::from_secs(5)).await;
        let now = Pace::from(1_005_000, &clock(1005));
        let is_set_back = |before: Pace| now.is_set_back_since(&before, &settings());
        assert_eq!([right, ahead, behind].map(is_set_back), [false, true, false]);
        for (one, other, set_back) in [(right, ahead, true), (ahead, right, true), (right, behind, false)] {
            assert_eq!(is_set_back(one.farther(other)), set_back);
        }
        assert_eq!([999, 1000, 1001].map(|begins| now.has_begun_before(begins, &ahead)), [true, true, false]);
    }
}
