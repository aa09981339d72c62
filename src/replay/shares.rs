//! How much of the store each key holds, so that one caller cannot fill it for all (R-E-06).
//!
//! A counter for each key would cost more memory than its proofs do, so keys share a table of counters by a hash that is keyed for this
//! process: nobody outside can choose whom to share with. With 2^20 counters and `n` other active keys, a key shares its counter with
//! probability n / 2^20 (one in a thousand for a thousand keys); two that share also share the cap, which errs on the side of refusing.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::verify::digest::{Digest, Key};

/// Counters on one page; a page is made when the first of its counters is used, so that an idle process holds none.
const PAGE: usize = 1 << 10;
/// The most pages: 4 MiB of counters.
const PAGES_MOST: usize = 1 << 10;

/// Which counter a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Share(u32);

/// The counters.
pub(super) struct Shares {
    pages: Box<[OnceLock<Box<[AtomicU32]>>]>,
    cap: u32,
}

impl Shares {
    /// Counters for a store of `capacity` entries, each of which may count to `cap`.
    pub(super) fn new(capacity: usize, cap: usize) -> Self {
        // One counter for each entry the store can hold is as fine as it needs to be.
        let pages = capacity.div_ceil(PAGE).clamp(1, PAGES_MOST).next_power_of_two();
        Self {
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
            cap: u32::try_from(cap).unwrap_or(u32::MAX),
        }
    }

    /// The counter of `owner`.
    pub(super) fn of(&self, owner: Digest<Key>, hasher: &impl BuildHasher) -> Share {
        let mask = (self.pages.len() * PAGE - 1) as u64;
        // At most 2^20 counters, so the masked hash fits.
        Share((hasher.hash_one(owner.as_bytes()) & mask) as u32)
    }

    /// Counts one more. `false`, and nothing counted, when the share is used up.
    pub(super) fn take(&self, share: Share) -> bool {
        let more = |count| (count < self.cap).then(|| count + 1);
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
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::{Digest, PAGE, PAGES_MOST, Shares};

    #[test]
    fn a_share_counts_to_its_cap_and_back() {
        let shares = Shares::new(10, 2);
        let share = shares.of(Digest::of(b"key"), &BuildHasherDefault::<DefaultHasher>::new());
        assert!(shares.take(share) && shares.take(share) && !shares.take(share));
        shares.give_back(share);
        assert!(shares.take(share) && !shares.take(share));
    }

    #[test]
    fn the_table_grows_with_the_store_and_stops() {
        for (capacity, pages) in [(0, 1), (1, 1), (PAGE + 1, 2), (3 * PAGE, 4), (usize::MAX, PAGES_MOST)] {
            assert_eq!(Shares::new(capacity, 1).pages.len(), pages, "{capacity}");
        }
    }

    /// A million counters cost nothing until keys come.
    #[test]
    fn pages_are_made_when_used() {
        let shares = Shares::new(1 << 20, 1);
        let made = || shares.pages.iter().filter(|page| page.get().is_some()).count();
        assert_eq!(made(), 0);
        let hasher = BuildHasherDefault::<DefaultHasher>::new();
        assert!(shares.take(shares.of(Digest::of(b"key"), &hasher)));
        assert_eq!(made(), 1);
    }
}
