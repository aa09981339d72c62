//! How much of the store each key holds, so that one caller cannot fill it for all (R-E-06).
//!
//! A counter for each key would cost more memory than its proofs do, so keys share a table of counters by a hash that is keyed for this
//! process: nobody outside can choose whom to share with. With 2^20 counters and `n` other active keys, a key shares its counter with
//! probability n / 2^20 (one in a thousand for a thousand keys); two that share also share the cap, which errs on the side of refusing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counters on one page; a page is made when the first of its counters is used, so that an idle process holds none.
const PAGE: usize = 1 << 10;
/// How many pages: 4 MiB of counters, once all are used.
const PAGES: usize = 1 << 10;

/// Which counter a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Share(u32);

/// The counters.
pub(super) struct Shares {
    pages: Box<[OnceLock<Box<[AtomicU32]>>]>,
    cap: AtomicU32,
}

impl Shares {
    /// Counters that may each count to `cap`.
    pub(super) fn new(cap: usize) -> Self {
        let shares = Self { pages: (0..PAGES).map(|_| OnceLock::new()).collect(), cap: AtomicU32::new(0) };
        shares.limit(cap);
        shares
    }

    /// Changes to how far each may count. One that is beyond it already counts no further.
    pub(super) fn limit(&self, cap: usize) {
        self.cap.store(u32::try_from(cap).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The counter of the key that has this keyed hash.
    pub(super) fn of(&self, keyed_hash: u64) -> Share {
        let mask = (PAGES * PAGE - 1) as u64;
        // At most 2^20 counters, so the masked hash fits.
        Share((keyed_hash & mask) as u32)
    }

    /// Counts one more. `false`, and nothing counted, when the share is used up.
    pub(super) fn take(&self, share: Share) -> bool {
        let cap = self.cap.load(Ordering::Relaxed);
        let more = |count| (count < cap).then(|| count + 1);
        self.counter(share).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts one less, for an entry that was counted.
    pub(super) fn give_back(&self, share: Share) {
        self.counter(share).fetch_sub(1, Ordering::Relaxed);
    }

    fn counter(&self, Share(slot): Share) -> &AtomicU32 {
        let slot = slot as usize;
        let page = self.pages[slot / PAGE].get_or_init(|| (0..PAGE).map(|_| AtomicU32::new(0)).collect());
        &page[slot % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn a_share_counts_to_its_cap_and_back() {
        let shares = Shares::new(2);
        let share = shares.of(u64::MAX);
        assert!(shares.take(share) && shares.take(share) && !shares.take(share));
        shares.give_back(share);
        assert!(shares.take(share) && !shares.take(share));
        shares.limit(3);
        assert!(shares.take(share) && !shares.take(share));
        shares.limit(1);
        shares.give_back(share);
        assert!(!shares.take(share), "two are counted still");
    }

    /// A million counters cost nothing until keys come.
    #[test]
    fn pages_are_made_when_used() {
        let shares = Shares::new(1);
        let made = || shares.pages.iter().filter(|page| page.get().is_some()).count();
        assert_eq!(made(), 0);
        assert!(shares.take(shares.of(u64::MAX)));
        assert_eq!(made(), 1);
    }
}
