//! When each claim may be forgotten: its last second, kept in the order of seconds.
//!
//! Claims of one second lie together, so the oldest are found without looking at any other. Seconds are absolute, not positions on a ring:
//! a clock that is set forward or back by any amount, or a claim that lies hours ahead, is never taken for another turn of the
//! ring. A second without claims takes no memory, so the wheel holds as much as the store does and no more.
//!
//! The wheel is cut into spokes, each with a lock of its own that is held for a few instructions and never across an await.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::memory::{Fingerprint, Held};
use crate::verify::time::UnixTime;

/// A power of two, so that a fingerprint's last bits choose evenly.
const SPOKES: usize = 16;
/// Claims in the first chunk of a second. Chunks double up to [`CHUNK_MOST`], so that a quiet second is small and a busy one is never copied.
const CHUNK_LEAST: usize = 4;
/// Claims in the largest chunk: 4 KiB.
const CHUNK_MOST: usize = 256;
/// No claim waits; later than every time.
const NEVER: i64 = i64::MAX;

/// The claims in the order in which they may be forgotten.
pub(super) struct Wheel {
    spokes: [Spoke; SPOKES],
    forgotten: AtomicI64,
    turn: AtomicUsize,
}

/// A part of the claims.
struct Spoke {
    /// The earliest second in `seconds`, or [`NEVER`]: tells without the lock that nothing has expired. It is written under the lock; a
    /// reader who sees an old value forgets a little later, which is harmless.
    earliest: AtomicI64,
    seconds: Mutex<BTreeMap<i64, Chunks>>,
}

/// The claims of one second; never empty.
type Chunks = Vec<Vec<Held>>;

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            spokes: std::array::from_fn(|_| Spoke::new()),
            forgotten: AtomicI64::new(i64::MIN),
            turn: AtomicUsize::new(0),
        }
    }

    /// Remembers that `held` may be forgotten after `until`.
    pub(super) fn push(&self, held: Held, until: UnixTime) {
        self.spokes[Self::spoke_of(held.proof)].push(held, until.seconds());
    }

    /// Takes one expired claim from the spoke that `proof` belongs to. Claims are kept for `lag` seconds more than they say.
    pub(super) fn pop_beside(&self, proof: Fingerprint, now: UnixTime, lag: i64) -> Option<Held> {
        self.pop(Self::spoke_of(proof), now, lag)
    }

    /// Takes one expired claim from any spoke, beginning with another one each time. Claims are kept for `lag` seconds more than they say.
    pub(super) fn pop_anywhere(&self, now: UnixTime, lag: i64) -> Option<Held> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..SPOKES).find_map(|step| self.pop(turn.wrapping_add(step) % SPOKES, now, lag))
    }

    /// The latest second of which anything was forgotten. Whether a claim up to that second was taken before can no longer be told.
    pub(super) fn forgotten_through(&self) -> UnixTime {
        UnixTime::from_seconds(self.forgotten.load(Ordering::Acquire))
    }

    fn pop(&self, spoke: usize, now: UnixTime, lag: i64) -> Option<Held> {
        let (held, second) = self.spokes[spoke].pop(now.minus(lag).seconds())?;
        // Under the rules that the lag is for, the claim's last second is so much later.
        let second = second.saturating_add(lag);
        // Said before the proof leaves the map, so that whoever finds it gone also finds this. It only grows, so a look is enough where it
        // is there already.
        if self.forgotten.load(Ordering::Acquire) < second {
            self.forgotten.fetch_max(second, Ordering::AcqRel);
        }
        Some(held)
    }

    const fn spoke_of(Fingerprint(proof): Fingerprint) -> usize {
        (proof % SPOKES as u64) as usize
    }
}

impl Spoke {
    fn new() -> Self {
        Self { earliest: AtomicI64::new(NEVER), seconds: Mutex::new(BTreeMap::new()) }
    }

    fn push(&self, held: Held, second: i64) {
        let mut seconds = self.lock();
        let chunks = seconds.entry(second).or_default();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < chunk.capacity() => chunk.push(held),
            last => {
                let size = last.map_or(CHUNK_LEAST, |chunk| (2 * chunk.capacity()).min(CHUNK_MOST));
                let mut chunk = Vec::with_capacity(size);
                chunk.push(held);
                chunks.push(chunk);
            }
        }
        if second < self.earliest.load(Ordering::Relaxed) {
            self.earliest.store(second, Ordering::Relaxed);
        }
    }

    /// Takes a claim whose second lies before `now`, and tells its second.
    fn pop(&self, now: i64) -> Option<(Held, i64)> {
        if self.earliest.load(Ordering::Relaxed) >= now {
            return None;
        }
        let mut seconds = self.lock();
        let mut first = seconds.first_entry().filter(|first| *first.key() < now)?;
        let second = *first.key();
        let chunks = first.get_mut();
        let held = chunks.last_mut().and_then(Vec::pop);
        if chunks.last().is_some_and(Vec::is_empty) {
            chunks.pop();
        }
        if chunks.is_empty() {
            first.remove();
            let earliest = seconds.first_key_value().map_or(NEVER, |(second, _)| *second);
            self.earliest.store(earliest, Ordering::Relaxed);
        }
        held.map(|held| (held, second))
    }

    /// Nothing that runs under this lock can panic, and a half-done change could not be seen: what is poisoned is still whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Chunks>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::shares::Shares;
    use super::{CHUNK_LEAST, CHUNK_MOST, Fingerprint, Held, SPOKES, UnixTime, Wheel};

    const fn at(second: i64) -> UnixTime {
        UnixTime::from_seconds(second)
    }

    /// Claims whose numbers differ by [`SPOKES`] lie on one spoke.
    fn numbered(n: u64) -> Held {
        Held { proof: Fingerprint(n), share: Shares::new(1).of(0) }
    }

    /// Nothing before its time, everything after, the earliest second first, nothing left behind.
    #[test]
    fn claims_leave_in_the_order_of_seconds() {
        let wheel = Wheel::new();
        let claims: Vec<Held> = (0..2_000).map(numbered).collect();
        for (position, held) in claims.iter().enumerate() {
            wheel.push(*held, at(if position % 2 == 0 { 7_300 } else { 100 }));
        }
        assert!(wheel.pop_anywhere(at(100), 0).is_none(), "kept through its last second");
        let mut early = HashSet::new();
        while let Some(held) = wheel.pop_anywhere(at(101), 0) {
            assert!(early.insert(held), "taken twice");
        }
        assert_eq!(early, claims.iter().copied().skip(1).step_by(2).collect());
        assert_eq!(wheel.forgotten_through(), at(100));
        let late = std::iter::from_fn(|| wheel.pop_anywhere(at(i64::MAX), 0)).count();
        assert_eq!(late, 1_000);
        assert!(wheel.spokes.iter().all(|spoke| spoke.lock().is_empty()));
    }

    #[test]
    fn the_ends_of_time_are_seconds_like_others() {
        let wheel = Wheel::new();
        for (n, second) in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX].into_iter().enumerate() {
            wheel.push(numbered(n as u64 * SPOKES as u64), at(second));
        }
        let taken = std::iter::from_fn(|| wheel.pop_anywhere(at(i64::MAX), 0)).count();
        assert_eq!(taken, 4, "no time comes after the last, so its claims stay");
    }

    /// A chunk is filled before the next is made, and a large second is made of large chunks.
    #[test]
    fn chunks_grow_to_their_limit_and_are_full() {
        let wheel = Wheel::new();
        for n in 0..5_000 {
            wheel.push(numbered(n * SPOKES as u64), at(1));
        }
        let spoke = wheel.spokes[0].lock();
        let chunks = &spoke[&1];
        assert_eq!(chunks[0].capacity(), CHUNK_LEAST);
        assert!(chunks.iter().all(|chunk| chunk.capacity() <= CHUNK_MOST));
        assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.len() == chunk.capacity()));
    }
}
