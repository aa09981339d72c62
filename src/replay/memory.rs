//! The replay store of one process: one proof, one request, for as long as the proof could pass (RFC 9449 §11.1).
//!
//! It refuses rather than forgets. A claim that was taken stays until its last second is over, whatever comes; what does not fit is
//! refused, and so is a claim of which the store can no longer say whether it was taken (see [`MemoryStore::take`]).
//!
//! The map is the only place that decides. `entry` holds the lock of the key's shard from the look to the insertion; a look and then an
//! insertion would let two requests through with one proof. The counters and the wheel only follow it. This is the one module that
//! touches a `DashMap`: no guard leaves it, so none can be held across an await.
//!
//! **Size.** A proof is remembered by a fingerprint of 8 bytes. With it an entry takes 9 bytes in the map, at a load between 7/16 and 7/8, 16 in
//! the wheel, and its part of the counters: at most 64 bytes at a million entries, which `tests/bench/claim.rs` measures. Small is also
//! what makes it fast, since a claim costs little but the memory it has to wait for.
//!
//! **The clock** is the caller's. Set forward, it makes claims expire; nothing is forgotten at once, only at the pace of the sweeps. Set
//! back, it finds old claims still kept; of those that were forgotten already, the second up to which that happened is known, and a claim
//! not after it is refused until the clock has passed that second again (or the process is restarted, which the fence makes safe).

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dashmap::{DashMap, Entry};

use super::lag::Lag;
use super::shares::{Share, Shares};
use super::wheel::Wheel;
use crate::config::ReplayMemory;
use crate::verify::digest::Digest;
use crate::verify::replay::{Claim, ClaimError, ClaimStore};
use crate::verify::time::UnixTime;

/// Shards of the map. A shard that grows is rehashed under its lock, so this many keep the pause at a million entries under a millisecond.
const SHARDS: usize = 128;
/// Expired claims each claim takes out, of those that the background sweep has left for [`LEFT_TO_THE_BACKGROUND`]. More than one, so that a
/// backlog shrinks by claims alone.
const SWEPT_BY_A_CLAIM: usize = 2;
/// Seconds for which expired claims are the background's to sweep, so that no caller waits for it. If it never runs, the store holds the claims of so
/// many seconds more.
const LEFT_TO_THE_BACKGROUND: i64 = 2;
/// Expired claims taken out before a claim is refused for want of room: their places are free, only nobody has said so yet.
const SWEPT_BEFORE_REFUSING: usize = 64;

/// Which proof, in 64 bits of a hash that is keyed for this process. Nobody outside can find two proofs that share one, so they meet by chance only:
/// with a million entries, in one claim of 2 · 10^13. A proof that meets another is refused as used, and the next attempt has a new `jti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(pub(super) u64);

/// A claim as the wheel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) proof: Fingerprint,
    pub(super) share: Share,
}

/// A fingerprint is a keyed hash already; hashing it again would only take time.
#[derive(Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The store. `S` is the hash behind fingerprints and shares, keyed at random for each process unless a test says otherwise: callers choose
/// `jti`, and would otherwise choose where it lands.
pub struct MemoryStore<S = RandomState> {
    proofs: DashMap<Fingerprint, (), BuildHasherDefault<AsItIs>>,
    wheel: Wheel,
    shares: Shares,
    count: AtomicUsize,
    capacity: AtomicUsize,
    /// For how many seconds more than they say claims are kept: what `rules` has told last.
    lag: AtomicI64,
    rules: Mutex<Lag>,
    hasher: S,
}

impl MemoryStore {
    /// An empty store with the limits of `replay.memory`. What `after_restart` says is not looked at: that is [`fence`](super::fence::fence)'s.
    pub fn new(settings: &ReplayMemory) -> Self {
        Self::with_hasher(settings, RandomState::new())
    }
}

impl<S: BuildHasher> MemoryStore<S> {
    /// An empty store with the limits of `replay.memory` and a hash of the caller's choice.
    pub fn with_hasher(settings: &ReplayMemory, hasher: S) -> Self {
        Self {
            proofs: DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), SHARDS),
            wheel: Wheel::new(),
            shares: Shares::new(settings.per_key),
            count: AtomicUsize::new(0),
            capacity: AtomicUsize::new(settings.capacity),
            lag: AtomicI64::new(0),
            rules: Mutex::default(),
            hasher,
        }
    }

    /// Takes new limits. What is held beyond them stays held: no claim is forgotten for it.
    pub fn limit(&self, settings: &ReplayMemory) {
        self.capacity.store(settings.capacity, Ordering::Relaxed);
        self.shares.limit(settings.per_key);
    }

    /// From now on claims are taken by rules with this `max_age`, in seconds. To be called before these rules judge anything: from then on
    /// claims of earlier rules are kept until their proofs are too old by these as well (see [`Lag`]).
    pub fn judged_by(&self, max_age: i64, now: UnixTime) {
        self.with_rules(|rules| rules.replace(max_age, now), now);
    }

    /// Ends what [`judged_by`](Self::judged_by) began, once its time has come. To be called now and then.
    pub fn settle(&self, now: UnixTime) {
        self.with_rules(|rules| rules.forget(now), now);
    }

    fn with_rules(&self, change: impl FnOnce(&mut Lag), now: UnixTime) {
        // Only a reload and the sweep come here. What is poisoned is still whole: see `Lag`.
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut rules);
        self.lag.store(rules.seconds(now), Ordering::Release);
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
        let held = self.held(&claim);
        let (overdue, lag) = (now.minus(LEFT_TO_THE_BACKGROUND), self.lag.load(Ordering::Acquire));
        for _ in 0..SWEPT_BY_A_CLAIM {
            let Some(expired) = self.wheel.pop_beside(held.proof, overdue, lag) else { break };
            self.forget(expired);
        }
        match self.insert(held, claim.until, now) {
            Err(ClaimError::OwnerFull | ClaimError::Full) if self.sweep(now, SWEPT_BEFORE_REFUSING) > 0 => {
                self.insert(held, claim.until, now)
            }
            result => result,
        }
    }

    /// Forgets at most `budget` claims whose last second lies before `now`; tells how many. To be called once a second, until it tells less
    /// than `budget`. Claims do without it, at the price of doing its work; it also keeps [`live`](Self::live) true in quiet times. The map
    /// keeps the size it once grew to, which `capacity` bounds.
    pub fn sweep(&self, now: UnixTime, budget: usize) -> usize {
        let lag = self.lag.load(Ordering::Acquire);
        (0..budget)
            .map_while(|_| self.wheel.pop_anywhere(now, lag))
            .map(|expired| self.forget(expired))
            .count()
    }

    /// How many claims are held: the live ones, and those expired that are not swept yet.
    pub fn live(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn held(&self, claim: &Claim) -> Held {
        let proof = Fingerprint(keyed(&self.hasher, claim.proof));
        Held { proof, share: self.shares.of(keyed(&self.hasher, claim.owner)) }
    }

    fn insert(&self, held: Held, until: UnixTime, now: UnixTime) -> Result<(), ClaimError> {
        match self.proofs.entry(held.proof) {
            // Expired or not: a proof that was used is used.
            Entry::Occupied(_) => return Err(ClaimError::Replayed),
            Entry::Vacant(place) => {
                // Looked at while the shard is locked: if this very proof was forgotten, the lock makes us see up to when.
                if until < now || until <= self.wheel.forgotten_through() {
                    return Err(ClaimError::Past);
                }
                self.reserve(held.share)?;
                drop(place.insert(()));
            }
        }
        // After the shard's lock is free. Until it is in the wheel a claim cannot expire, which is the harmless order.
        self.wheel.push(held, until);
        Ok(())
    }

    /// A place for the owner, then one in the store: who has used up his own share is told that, not that the store is full.
    fn reserve(&self, share: Share) -> Result<(), ClaimError> {
        if !self.shares.take(share) {
            return Err(ClaimError::OwnerFull);
        }
        let capacity = self.capacity.load(Ordering::Relaxed);
        let more = |count| (count < capacity).then(|| count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.shares.give_back(share);
            return Err(ClaimError::Full);
        }
        Ok(())
    }

    fn forget(&self, held: Held) {
        if self.proofs.remove(&held.proof).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.shares.give_back(held.share);
        }
    }
}

/// A keyed hash of a digest. Half of the digest is as good as all of it: to be hashed alike, two would have to share 128 bits of SHA-256.
fn keyed<Of>(hasher: &impl BuildHasher, digest: Digest<Of>) -> u64 {
    let half = digest.as_bytes().first_chunk().expect("32 bytes have a first 16");
    hasher.hash_one(u128::from_ne_bytes(*half))
}

impl<S: BuildHasher + Send + Sync> ClaimStore for MemoryStore<S> {
    async fn claim(&self, claim: Claim, now: UnixTime) -> Result<(), ClaimError> {
        self.take(claim, now)
    }

    async fn is_taken(&self, claim: Claim) -> bool {
        self.proofs.contains_key(&self.held(&claim).proof)
    }
}

impl<S> fmt::Debug for MemoryStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("held", &self.count)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
