//! For how long claims are kept beyond their last second, because the rules have changed since they were taken (RFC 9449 §11.1).
//!
//! A claim says until when its proof could pass by the rules it was taken under: `iat` and their `max_age`. When a reload brings a longer
//! `max_age`, the proof passes for as much longer, so the claim has to stay for as much longer. The rules of the last hour count: an
//! `iat` may lie an hour ahead where a nonce is required. (Proofs whose claims were forgotten *before* the reload are
//! [`DpopRules::oldest`](crate::verify::dpop::DpopRules::oldest)'s, and those with a nonce [`NonceRing::not_before`](crate::verify::nonce::NonceRing::not_before)'s.)

use crate::verify::time::UnixTime;

/// How long replaced rules count, in seconds: the farthest `iat` ahead, and the longest `max_age` and lag that the configuration allows.
const REPLACED_RULES_COUNT: i64 = 3600 + 2 * 300;

/// The rules that claims may have been taken under. Each change leaves it whole.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// `max_age` of the rules in force.
    in_force: Option<i64>,
    /// `max_age` of earlier ones, each once, with the second in which they were last replaced. There are no more than `max_age` has values.
    replaced: Vec<(i64, UnixTime)>,
}

impl Lag {
    /// Rules with another `max_age`, or the same, come into force.
    pub(super) fn replace(&mut self, max_age: i64, now: UnixTime) {
        let before = self.in_force.replace(max_age).filter(|before| *before != max_age);
        self.replaced.retain(|(other, _)| *other != max_age && Some(*other) != before);
        self.replaced.extend(before.map(|before| (before, now)));
        self.forget(now);
    }

    /// Drops the rules whose claims cannot matter any more.
    pub(super) fn forget(&mut self, now: UnixTime) {
        self.replaced.retain(|(_, at)| now.since(*at) <= REPLACED_RULES_COUNT);
    }

    /// The lag: what the longest `max_age` has more than the shortest. The longest may be of rules that are no longer in force, since a
    /// request that began under them may still be on its way.
    pub(super) fn seconds(&self, now: UnixTime) -> i64 {
        let counts = |(_, at): &&(i64, UnixTime)| now.since(*at) <= REPLACED_RULES_COUNT;
        let ages =
            || self.in_force.into_iter().chain(self.replaced.iter().filter(counts).map(|(age, _)| *age));
        ages().max().zip(ages().min()).map_or(0, |(longest, shortest)| longest - shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lag, REPLACED_RULES_COUNT, UnixTime};

    const fn at(second: i64) -> UnixTime {
        UnixTime::from_seconds(second)
    }

    #[test]
    fn it_is_what_the_longest_has_more_than_the_shortest_for_a_time() {
        let mut lag = Lag::default();
        for (second, max_age, seconds) in
            [(0, 60, 0), (10, 60, 0), (20, 300, 240), (30, 10, 290), (40, 60, 290)]
        {
            lag.replace(max_age, at(second));
            assert_eq!(lag.seconds(at(second)), seconds, "{second}");
        }
        assert_eq!(lag.replaced.len(), 2, "each once");
        let after = REPLACED_RULES_COUNT + 1;
        for (second, seconds) in [(30 + after - 1, 290), (30 + after, 50), (40 + after, 0)] {
            lag.forget(at(second));
            assert_eq!(lag.seconds(at(second)), seconds, "{second}");
        }
    }

    #[test]
    fn going_to_and_fro_does_not_add_up() {
        let mut lag = Lag::default();
        for second in 0..1_000 {
            lag.replace(if second % 2 == 0 { 10 } else { 300 }, at(second));
        }
        assert_eq!((lag.seconds(at(1_000)), lag.replaced.len()), (290, 1));
    }
}
