//! The replay store of one process: one proof, one request, for as long as the proof could pass (RFC 9449 §11.1).
//!
//! It refuses rather than forgets. A claim that was taken stays until its last second is over, whatever comes; what does not fit is
//! refused, and so is a claim of which the store can no longer say whether it was taken (see [`MemoryStore::take`]).
//!
//! The map is the only place that decides. `entry` holds the lock of the key's shard from the look to the insertion; a look and then an
//! insertion would let two requests through with one proof. The counters and the wheel only follow it. This is the one module that
//! touches a `DashMap`: no guard leaves it, so none can be held across an await.
//!
//! **Size.** An entry is 16 bytes in the map (with one byte of bookkeeping, at a load between 7/16 and 7/8), 16 in the wheel,
//! and its part of the counters: at most 64 bytes at a million entries, which `tests/bench/claim.rs` measures.
//!
//! **The clock** is the caller's. Set forward, it makes claims expire; nothing is forgotten at once, only at the pace of the sweeps. Set
//! back, it finds old claims still kept; of those that were forgotten already, the second up to which that happened is known, and a claim
//! not after it is refused until the clock has passed that second again (or the process is restarted, which the fence makes safe).

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};

use super::shares::{Share, Shares};
use super::wheel::Wheel;
use crate::config::ReplayMemory;
use crate::verify::replay::{Claim, ClaimError, ClaimStore};
use crate::verify::time::UnixTime;

/// Shards of the map. A shard that grows is rehashed under its lock, so this many keep the pause at a million entries under a millisecond.
const SHARDS: usize = 128;
/// Expired claims each claim takes out. More than one, so that a backlog shrinks by claims alone.
const SWEPT_BY_A_CLAIM: usize = 2;
/// Expired claims taken out before a claim is refused for want of room: their places are free, only nobody has said so yet.
const SWEPT_BEFORE_REFUSING: usize = 64;

/// A claim as it is remembered. 96 bits of the proof's digest: to make another caller's proof look used takes a second preimage of those, and
/// to collide with oneself gains nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) share: Share,
    pub(super) proof: [u8; 12],
}

/// The store. `S` is the hash of its tables, keyed at random for each process unless a test says otherwise: callers choose `jti` and
/// could otherwise choose where it lands.
pub struct MemoryStore<S = RandomState> {
    proofs: DashMap<Key, (), S>,
    wheel: Wheel,
    shares: Shares,
    held: AtomicUsize,
    capacity: usize,
    hasher: S,
}

impl MemoryStore {
    /// An empty store with the limits of `replay.memory`. What `after_restart` says is not looked at: that is [`fence`](super::fence::fence)'s.
    pub fn new(settings: &ReplayMemory) -> Self {
        Self::with_hasher(settings, RandomState::new())
    }
}

impl<S: BuildHasher + Clone> MemoryStore<S> {
    /// An empty store with the limits of `replay.memory` and a hash of the caller's choice.
    pub fn with_hasher(settings: &ReplayMemory, hasher: S) -> Self {
        Self {
            proofs: DashMap::with_hasher_and_shard_amount(hasher.clone(), SHARDS),
            wheel: Wheel::new(),
            shares: Shares::new(settings.capacity, settings.per_key),
            held: AtomicUsize::new(0),
            capacity: settings.capacity,
            hasher,
        }
    }

    /// Takes `claim`, once: the contract of [`ClaimStore::claim`], which waits for nothing here.
    ///
    /// # Errors
    /// - [`ClaimError::Replayed`] when it was taken before, though it should be expired: its request has been too slow, and the answer is the same.
    /// - [`ClaimError::Past`] when it lies in a second of which claims have been forgotten. Each request has its own `now`, so one that was
    ///   held up before this step (by a fetch of keys, say) may come here when another with the same proof has come, gone and been forgotten.
    ///   The clock set back does the same. Neither can be told from a first use, so neither passes.
    /// - [`ClaimError::OwnerFull`], [`ClaimError::Full`] when there is no room. Claims that have expired count until they are swept,
    ///   which happens here too.
    pub fn take(&self, claim: Claim, now: UnixTime) -> Result<(), ClaimError> {
        let key = self.key(&claim);
        for _ in 0..SWEPT_BY_A_CLAIM {
            let Some(expired) = self.wheel.pop_beside(key, now) else { break };
            self.forget(expired);
        }
        match self.insert(key, claim.until, now) {
            Err(ClaimError::OwnerFull | ClaimError::Full) if self.sweep(now, SWEPT_BEFORE_REFUSING) > 0 => {
                self.insert(key, claim.until, now)
            }
            result => result,
        }
    }

    /// Forgets at most `budget` claims whose last second lies before `now`; tells how many. Every claim does a little of this itself; calling it
    /// once a second keeps [`live`](Self::live) true in quiet times and clears the backlog when a nonce's whole period expires in one second. The
    /// map keeps the size it once grew to, which `capacity` bounds.
    pub fn sweep(&self, now: UnixTime, budget: usize) -> usize {
        (0..budget).map_while(|_| self.wheel.pop_anywhere(now)).map(|expired| self.forget(expired)).count()
    }

    /// How many claims are held: the live ones, and those expired that are not swept yet.
    pub fn live(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn key(&self, claim: &Claim) -> Key {
        let proof = *claim.proof.as_bytes().first_chunk().expect("32 bytes have a first 12");
        Key { share: self.shares.of(claim.owner, &self.hasher), proof }
    }

    fn insert(&self, key: Key, until: UnixTime, now: UnixTime) -> Result<(), ClaimError> {
        match self.proofs.entry(key) {
            // Expired or not: a proof that was used is used.
            Entry::Occupied(_) => return Err(ClaimError::Replayed),
            Entry::Vacant(place) => {
                // Looked at while the shard is locked: if this very key was forgotten, the lock makes us see up to when.
                if until < now || until <= self.wheel.forgotten_through() {
                    return Err(ClaimError::Past);
                }
                self.reserve(key)?;
                drop(place.insert(()));
            }
        }
        // After the shard's lock is free. Until it is in the wheel a claim cannot expire, which is the harmless order.
        self.wheel.push(key, until);
        Ok(())
    }

    /// A place for the owner, then one in the store: who has used up his own share is told that, not that the store is full.
    fn reserve(&self, key: Key) -> Result<(), ClaimError> {
        if !self.shares.take(key.share) {
            return Err(ClaimError::OwnerFull);
        }
        let more = |held| (held < self.capacity).then(|| held + 1);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.shares.give_back(key.share);
            return Err(ClaimError::Full);
        }
        Ok(())
    }

    fn forget(&self, key: Key) {
        if self.proofs.remove(&key).is_some() {
            self.held.fetch_sub(1, Ordering::Relaxed);
            self.shares.give_back(key.share);
        }
    }
}

impl<S: BuildHasher + Clone + Send + Sync> ClaimStore for MemoryStore<S> {
    async fn claim(&self, claim: Claim, now: UnixTime) -> Result<(), ClaimError> {
        self.take(claim, now)
    }
}

impl<S> fmt::Debug for MemoryStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("held", &self.held)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Key {
    /// A key that only tests have: keys that differ by [`SPOKES`](super::wheel) lie on one spoke.
    pub(super) fn numbered(n: u64) -> Self {
        let mut proof = [0; 12];
        proof[..8].copy_from_slice(&n.to_le_bytes());
        let shares = Shares::new(1, 1);
        let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::new();
        Key { share: shares.of(crate::verify::digest::Digest::of(b""), &hasher), proof }
    }
}
