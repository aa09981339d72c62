//! The replay store against a naive model, and under threads.
//!
//! The model is a `HashMap` that scans; the store must give the same answers for any order of claims, sweeps and clock steps. What holds
//! whatever happens is checked beside it: no proof passes twice.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use holdfast::config::{AfterRestart, ReplayMemory};
use holdfast::replay::memory::MemoryStore;
use holdfast::verify::digest::Digest;
use holdfast::verify::replay::{Claim, ClaimError, Made};
use holdfast::verify::time::UnixTime;
use proptest::prelude::*;

/// A hash that is the same in every run, so that two owners of the model never come to share a counter by chance.
type FixedHash = BuildHasherDefault<DefaultHasher>;

fn store(capacity: usize, per_key: usize) -> MemoryStore<FixedHash> {
    let settings = ReplayMemory { capacity, per_key, after_restart: AfterRestart::Refuse };
    MemoryStore::with_hasher(&settings, FixedHash::default())
}

const fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(seconds)
}

/// The claim of proof `jti` by `owner`, to be kept through `until`.
fn claim(owner: u64, jti: u64, until: i64) -> Claim {
    let owner = Digest::of(&owner.to_be_bytes());
    Claim {
        proof: Digest::of_pair(owner.as_bytes(), &jti.to_be_bytes()),
        owner,
        until: at(until),
        made: Made::Dated(at(0)),
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Claim proof `jti` of `owner`, that can pass until `ahead` seconds from now.
    Claim { owner: u64, jti: u64, ahead: i64 },
    /// The clock goes on, or is set forward or back.
    Clock(i64),
    /// A background sweep.
    Sweep(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![8 => 0..8_i64, 1 => -2..0_i64, 1 => 7_100..7_300_i64];
    let clock = prop_oneof![8 => 0..4_i64, 2 => -9..0_i64, 1 => -90_000..90_000_i64];
    prop_oneof![
        10 => (0..3_u64, 0..8_u64, ahead).prop_map(|(owner, jti, ahead)| Step::Claim { owner, jti, ahead }),
        3 => clock.prop_map(Step::Clock),
        1 => (0..9_usize).prop_map(Step::Sweep),
    ]
}

/// What the store should be, said as plainly as possible.
struct Model {
    capacity: usize,
    per_key: usize,
    held: HashMap<(u64, u64), i64>,
    forgotten: i64,
}

impl Model {
    fn new(capacity: usize, per_key: usize) -> Self {
        Self { capacity, per_key, held: HashMap::new(), forgotten: i64::MIN }
    }

    fn sweep(&mut self, now: i64) {
        let expired = self.held.values().copied().filter(|until| *until < now).max();
        self.forgotten = self.forgotten.max(expired.unwrap_or(i64::MIN));
        self.held.retain(|_, until| *until >= now);
    }

    fn claim(&mut self, owner: u64, jti: u64, until: i64, now: i64) -> Result<(), ClaimError> {
        if self.held.contains_key(&(owner, jti)) {
            return Err(ClaimError::Replayed);
        }
        if until < now || until <= self.forgotten {
            return Err(ClaimError::Past);
        }
        if self.held.keys().filter(|(o, _)| *o == owner).count() >= self.per_key {
            return Err(ClaimError::OwnerFull);
        }
        if self.held.len() >= self.capacity {
            return Err(ClaimError::Full);
        }
        self.held.insert((owner, jti), until);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Swept before every step, the store is the model: the same answer, the same number of entries.
    #[test]
    fn swept_fully_it_is_the_model(
        capacity in 0..12_usize, per_key in 0..6_usize, steps in prop::collection::vec(step(), 1..120),
    ) {
        let (store, mut model) = (store(capacity, per_key), Model::new(capacity, per_key));
        let mut now = 1_000_000;
        for step in steps {
            store.sweep(at(now), usize::MAX);
            model.sweep(now);
            match step {
                Step::Claim { owner, jti, ahead } => prop_assert_eq!(
                    store.take(claim(owner, jti, now + ahead), at(now)),
                    model.claim(owner, jti, now + ahead, now)
                ),
                Step::Clock(by) => now += by,
                Step::Sweep(_) => {}
            }
            prop_assert_eq!(store.live(), model.held.len());
        }
    }

    /// Swept by nothing but its own claims and a small budget now and then: every answer is one that the claims so far allow.
    #[test]
    fn swept_a_little_it_still_answers_rightly(
        capacity in 0..12_usize, per_key in 0..6_usize, steps in prop::collection::vec(step(), 1..120),
    ) {
        let store = store(capacity, per_key);
        let mut now = 1_000_000;
        let mut latest = now;
        let mut taken = HashSet::new();
        for step in steps {
            latest = latest.max(now);
            let (owner, jti, ahead) = match step {
                Step::Claim { owner, jti, ahead } => (owner, jti, ahead),
                Step::Clock(by) => { now += by; continue }
                Step::Sweep(budget) => { prop_assert!(store.sweep(at(now), budget) <= budget); continue }
            };
            let until = now + ahead;
            // What no sweep so far may have taken is surely held; what the sweep of this very step may not take is perhaps held.
            let count = |owned: &dyn Fn(u64) -> bool, from: i64| {
                taken.iter().filter(|(o, _, u)| owned(*o) && *u >= from).count()
            };
            let (all, own) = (|_: u64| true, |o: u64| o == owner);
            let known = taken.iter().any(|(o, j, _)| (*o, *j) == (owner, jti));
            let is_live = taken.iter().any(|(o, j, u)| (*o, *j) == (owner, jti) && *u >= latest);
            let answer = store.take(claim(owner, jti, until), at(now));
            prop_assert!(!is_live || answer == Err(ClaimError::Replayed), "a live claim was not known: {answer:?}");
            match answer {
                Ok(()) => {
                    prop_assert!(until >= now && count(&all, latest) < capacity && count(&own, latest) < per_key);
                    prop_assert!(taken.insert((owner, jti, until)), "one proof passed twice");
                }
                Err(ClaimError::Replayed) => prop_assert!(known, "a new proof was called used"),
                Err(ClaimError::OwnerFull) => prop_assert!(count(&own, now) >= per_key),
                Err(ClaimError::Full) => prop_assert!(count(&all, now) >= capacity),
                Err(ClaimError::Past) => prop_assert!(
                    until < now || taken.iter().any(|(_, _, u)| *u >= until && *u < latest),
                    "nothing was forgotten up to there"
                ),
                Err(ClaimError::Unavailable | ClaimError::AskedHere | ClaimError::BeforeMemory) => {
                    prop_assert!(false, "memory is never away and loses nothing: {answer:?}");
                }
            }
            prop_assert!(store.live() <= capacity);
        }
    }
}

/// R-E-03, T-RPL-06: whatever the threads do, one claim passes once. Aimed at the store itself, since behind sockets requests come
/// too far apart to meet.
#[test]
fn of_many_at_once_one_passes() {
    for (threads, rounds) in [(100, 300), (2, 5_000)] {
        let store = store(1 << 20, 1 << 20);
        let passed: Vec<AtomicUsize> = (0..rounds).map(|_| AtomicUsize::new(0)).collect();
        let (arrived, barrier) = (AtomicUsize::new(0), Barrier::new(threads));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for (round, passed) in passed.iter().enumerate() {
                        let claim = claim(1, round as u64, 100);
                        // A crowd waits asleep; a pair spins, so that both run in the same moment.
                        if threads > 2 {
                            barrier.wait();
                        } else {
                            arrived.fetch_add(1, Ordering::AcqRel);
                            let mut turns = 0_u32;
                            while arrived.load(Ordering::Acquire) < (round + 1) * threads {
                                turns += 1;
                                // On a busy machine the other may be waiting for this very core.
                                if turns.is_multiple_of(1_000) {
                                    thread::yield_now();
                                }
                                std::hint::spin_loop();
                            }
                        }
                        match store.take(claim, at(50)) {
                            Ok(()) => drop(passed.fetch_add(1, Ordering::AcqRel)),
                            Err(error) => assert_eq!(error, ClaimError::Replayed),
                        }
                    }
                });
            }
        });
        for (round, passed) in passed.iter().enumerate() {
            assert_eq!(passed.load(Ordering::Acquire), 1, "round {round} of {threads} threads");
        }
        assert_eq!(store.live(), rounds);
    }
}

/// A request that read the clock before the last second ended, and reaches the store after another with the same proof has been forgotten.
#[test]
fn who_comes_after_the_forgetting_does_not_pass() {
    let store = store(10, 10);
    let proof = claim(1, 1, 100);
    assert_eq!(store.take(proof, at(100)), Ok(()));
    assert_eq!(store.sweep(at(100), 10), 0, "kept through its last second");
    assert_eq!(store.sweep(at(101), 10), 1);
    assert_eq!(store.take(proof, at(100)), Err(ClaimError::Past));
    assert_eq!(store.take(claim(1, 2, 101), at(101)), Ok(()), "others go on");
}

/// The same with threads: some are late by a second while others sweep.
#[test]
fn late_claims_and_sweeps_race_and_one_passes() {
    const ROUNDS: usize = 20_000;
    let store = store(1 << 20, 1 << 20);
    let passed: Vec<AtomicUsize> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let claimants: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for (round, passed) in passed.iter().enumerate() {
                        let second = round as i64;
                        if store.take(claim(1, round as u64, second), at(second)).is_ok() {
                            passed.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                store.sweep(at(ROUNDS as i64), 3);
            }
        });
        for claimant in claimants {
            claimant.join().expect("no claimant panics");
        }
        done.store(true, Ordering::Release);
    });
    for (round, passed) in passed.iter().enumerate() {
        assert!(passed.load(Ordering::Acquire) <= 1, "round {round}");
    }
}

/// R-E-06, T-RPL-14: full is a refusal, and exactly as many pass as there are places, however many ask at once.
#[test]
fn threads_never_overfill_the_store_or_a_share() {
    let store = store(500, 100);
    let passed: Vec<AtomicUsize> = (0..8).map(|_| AtomicUsize::new(0)).collect();
    let barrier = Barrier::new(16);
    thread::scope(|scope| {
        for thread in 0..16_u64 {
            let (store, passed, barrier) = (&store, &passed, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..800 {
                    let owner = n % 8;
                    if store.take(claim(owner, thread << 32 | n, 100), at(50)).is_ok() {
                        passed[owner as usize].fetch_add(1, Ordering::AcqRel);
                    }
                }
            });
        }
    });
    let passed: Vec<usize> = passed.iter().map(|passed| passed.load(Ordering::Acquire)).collect();
    assert_eq!(passed.iter().sum::<usize>(), 500, "{passed:?}");
    assert!(passed.iter().all(|passed| *passed <= 100), "{passed:?}");
    assert_eq!(store.take(claim(99, 1, 100), at(50)), Err(ClaimError::Full));
    assert_eq!(store.take(claim(99, 1, 200), at(101)), Ok(()), "expired claims make room by themselves");
}

#[test]
fn one_key_at_its_cap_leaves_the_others_alone() {
    let store = store(1_000, 3);
    for jti in 0..3 {
        assert_eq!(store.take(claim(1, jti, 100), at(50)), Ok(()));
    }
    assert_eq!(store.take(claim(1, 3, 100), at(50)), Err(ClaimError::OwnerFull));
    assert_eq!(
        store.take(claim(1, 0, 100), at(50)),
        Err(ClaimError::Replayed),
        "a replay is still told as one"
    );
    assert_eq!(store.take(claim(2, 3, 100), at(50)), Ok(()));
    assert_eq!(store.take(claim(1, 3, 160), at(101)), Ok(()), "and again when its claims have expired");
}

/// NTP corrects a clock that was ahead: what is held stays held, what was forgotten is refused, and time goes on.
#[test]
fn the_clock_set_back_and_forward() {
    let store = store(100, 100);
    assert_eq!(store.take(claim(1, 1, 1_060), at(1_000)), Ok(()));
    assert_eq!(store.take(claim(1, 2, 4_660), at(4_600)), Ok(()), "an hour ahead");
    assert_eq!(store.sweep(at(4_600), 10), 1, "the first has expired");
    // The clock goes back to where it was right.
    assert_eq!(store.take(claim(1, 1, 1_060), at(1_010)), Err(ClaimError::Past), "forgotten, so not taken");
    assert_eq!(store.take(claim(1, 3, 1_070), at(1_010)), Ok(()), "a fresh proof passes");
    assert_eq!(store.take(claim(1, 3, 1_070), at(1_011)), Err(ClaimError::Replayed));
    assert_eq!(store.take(claim(1, 2, 4_660), at(1_012)), Err(ClaimError::Replayed), "held all the while");
    assert_eq!(store.sweep(at(i64::MAX), usize::MAX), 2);
    assert_eq!(store.live(), 0);
}

/// A proof that no clock can still pass is not taken, and takes no room.
#[test]
fn a_claim_already_over_is_refused() {
    let store = store(10, 10);
    assert_eq!(store.take(claim(1, 1, 99), at(100)), Err(ClaimError::Past));
    assert_eq!(store.take(claim(1, 1, i64::MIN), at(i64::MIN)), Err(ClaimError::Past));
    assert_eq!(store.live(), 0);
}

/// A nonce's whole period expires in one second: first that is left to the background, then claims alone clear it, a bounded number each.
#[test]
fn a_backlog_shrinks_by_claims_alone() {
    let store = store(10_000, 10_000);
    for jti in 0..5_000 {
        assert_eq!(store.take(claim(1, jti, 100), at(50)), Ok(()));
    }
    assert_eq!(store.take(claim(1, 5_000, 200), at(102)), Ok(()));
    assert_eq!(store.live(), 5_001);
    for jti in 5_001..10_500 {
        let before = store.live();
        assert_eq!(store.take(claim(1, jti, 200), at(103)), Ok(()));
        assert!(before.abs_diff(store.live()) <= 2);
    }
    assert_eq!(store.live(), 5_500);
}

/// A longer `max_age` keeps what shorter rules have taken for as long as its proof could pass; then what was kept goes, and the store keeps no more than
/// it says.
#[test]
fn claims_outlive_the_rules_they_were_taken_under() {
    let store = store(100, 100);
    store.judged_by(10, at(0));
    assert_eq!(store.take(claim(1, 1, 10), at(0)), Ok(()));
    store.judged_by(300, at(5));
    for now in [5, 11, 100, 300] {
        store.settle(at(now));
        store.sweep(at(now), 100);
        assert_eq!(store.take(claim(1, 1, 300), at(now)), Err(ClaimError::Replayed), "{now}");
    }
    assert_eq!(store.sweep(at(301), 100), 1);
    // A request that is slower than that is told that nothing is known any more.
    assert_eq!(store.take(claim(1, 1, 300), at(300)), Err(ClaimError::Past));
    store.settle(at(10_000));
    assert_eq!(store.take(claim(1, 2, 10_010), at(10_000)), Ok(()));
    assert_eq!(store.sweep(at(10_011), 100), 1, "no longer than it says");
}
