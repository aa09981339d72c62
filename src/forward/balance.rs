//! Which address a request goes to: of two that are chosen at random, the one with fewer requests.
//!
//! Two random choices keep the load nearly as even as the best of all would, without every gateway running to the same address at once, and an address
//! that is slow has more requests in flight and so gets fewer new ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::endpoint::Endpoint;

/// Numbers that are spread evenly and need not be unpredictable (SplitMix64).
#[derive(Debug, Default)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    /// A number below `sides`.
    fn roll(&self, sides: usize) -> usize {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = u128::from(mixed ^ (mixed >> 31));
        // The upper half of the product is below `sides`, which came from a `usize`.
        usize::try_from((mixed * sides as u128) >> 64).unwrap_or_default()
    }
}

/// What is asked of an address before it is chosen.
pub(super) trait Candidate {
    /// Whether it is healthy.
    fn is_up(&self) -> bool;
    /// How many requests it has.
    fn in_flight(&self) -> usize;
}

impl<B> Candidate for Arc<Endpoint<B>> {
    fn is_up(&self) -> bool {
        self.health.is_up()
    }

    fn in_flight(&self) -> usize {
        self.health.in_flight()
    }
}

/// One of `all`, none when there are none. Preferred is one that was not `tried` and is up, then one that was not tried, then any: with one address left,
/// a second try on it is better than none.
pub(super) fn choose<'a, C: Candidate>(
    all: &'a [C],
    tried: impl Fn(&C) -> bool,
    dice: &Dice,
) -> Option<&'a C> {
    if let [only] = all {
        return Some(only);
    }
    // Nearly always everything is up and nothing was tried, and then two looks are enough.
    let (one, other) = two_of(all, dice)?;
    let usable = |candidate: &&C| candidate.is_up() && !tried(candidate);
    if usable(&one) && usable(&other) {
        return Some(less_loaded(one, other));
    }
    let usable: Vec<&C> = all.iter().filter(usable).collect();
    let untried = || all.iter().filter(|candidate| !tried(candidate)).collect::<Vec<_>>();
    let left = if usable.is_empty() { untried() } else { usable };
    match &left[..] {
        [] => Some(less_loaded(one, other)),
        [only] => Some(only),
        several => two_of(several, dice).map(|(one, other)| less_loaded(*one, *other)),
    }
}

/// Two different ones, of at least two.
fn two_of<'a, T>(all: &'a [T], dice: &Dice) -> Option<(&'a T, &'a T)> {
    let first = dice.roll(all.len());
    let second = dice.roll(all.len().checked_sub(1)?);
    Some((all.get(first)?, all.get(if second >= first { second + 1 } else { second })?))
}

fn less_loaded<'a, C: Candidate>(one: &'a C, other: &'a C) -> &'a C {
    if other.in_flight() < one.in_flight() { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        up: bool,
        in_flight: usize,
        tried: bool,
    }

    impl Candidate for Fake {
        fn is_up(&self) -> bool {
            self.up
        }

        fn in_flight(&self) -> usize {
            self.in_flight
        }
    }

    /// How often each of these is chosen in 10,000 requests.
    fn shares(all: &[(bool, usize, bool)]) -> Vec<usize> {
        let all: Vec<Fake> =
            all.iter().map(|&(up, in_flight, tried)| Fake { up, in_flight, tried }).collect();
        let (dice, mut shares) = (Dice::default(), vec![0; all.len()]);
        for _ in 0..10_000 {
            let chosen = choose(&all, |fake| fake.tried, &dice).expect("one of them");
            shares[all.iter().position(|fake| std::ptr::eq(fake, chosen)).expect("in there")] += 1;
        }
        shares
    }

    #[test]
    fn what_is_equal_gets_equal_shares() {
        for share in shares(&[(true, 0, false); 4]) {
            assert!((2300..2700).contains(&share), "{share}");
        }
        for share in shares(&[(true, 0, false), (false, 0, false), (true, 0, false)]).into_iter().step_by(2) {
            assert!((4700..5300).contains(&share), "{share}");
        }
    }

    #[test]
    fn of_two_the_less_loaded() {
        assert_eq!(shares(&[(true, 5, false), (true, 4, false)]), [0, 10_000]);
        // The most loaded of three is never the better of two.
        assert_eq!(shares(&[(true, 9, false), (true, 4, false), (true, 5, false)])[0], 0);
    }

    #[test]
    fn the_healthy_then_the_untried_then_any() {
        assert_eq!(shares(&[(true, 9, false), (false, 0, false)]), [10_000, 0]);
        assert_eq!(shares(&[(true, 0, true), (true, 9, false), (false, 0, false)]), [0, 10_000, 0]);
        assert_eq!(shares(&[(true, 0, true), (false, 9, false)]), [0, 10_000]);
        assert!(shares(&[(false, 0, false); 2]).into_iter().all(|share| share > 4000));
        assert!(shares(&[(true, 0, true); 2]).into_iter().all(|share| share > 4000));
        assert_eq!(shares(&[(false, 0, true)]), [10_000]);
        assert!(choose::<Fake>(&[], |_| false, &Dice::default()).is_none());
    }
}
