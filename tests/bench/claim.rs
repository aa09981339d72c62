//! What one replay claim costs at a million live entries, in time and in memory. The goals are 300 ns and 64 bytes.
//!
//! The store is in its steady state: claims come at an even rate, each is kept for a minute and ten seconds, and each second as many expire as
//! come. So a measured claim pays for taking an expired one out too, which is what it pays in production.

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::config::{AfterRestart, ReplayMemory};
use holdfast::replay::memory::MemoryStore;
use holdfast::verify::digest::Digest;
use holdfast::verify::replay::Claim;
use holdfast::verify::time::UnixTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A proof passes for 60 s and may be dated 10 s ahead.
const KEPT: i64 = 70;
/// Claims a second: 70 s of them are a million.
const RATE: usize = 14_500;
const KEYS: usize = 1_000;
/// The goal: bytes of memory for one live entry.
const BYTES: usize = 64;

/// An endless run of claims at an even rate. The proofs' digests are made beforehand, since hashing belongs to the proof's reading; they come
/// round again when the first use of each is long forgotten.
struct Traffic {
    claims: Vec<Claim>,
    next: usize,
}

impl Traffic {
    fn new() -> Self {
        let count = (KEPT as usize + 10) * RATE;
        let claim = |n: usize| {
            let owner = Digest::of(&(n % KEYS).to_be_bytes());
            let proof = Digest::of_pair(owner.as_bytes(), &n.to_be_bytes());
            Claim { proof, owner, until: UnixTime::from_seconds(0) }
        };
        Self { claims: (0..count).map(claim).collect(), next: 0 }
    }

    fn claim(&mut self, store: &MemoryStore) {
        let now = UnixTime::from_seconds(1_000_000 + (self.next / RATE) as i64);
        let mut claim = self.claims[self.next % self.claims.len()];
        claim.until = now.plus(KEPT - 1);
        self.next += 1;
        store.take(black_box(claim), now).expect("a fresh proof, and room for it");
    }
}

fn claim_at_a_million(criterion: &mut Criterion) {
    let mut traffic = Traffic::new();
    let capacity = 1_100_000;
    let memory = Region::new(COUNTED);
    let store =
        MemoryStore::new(&ReplayMemory { capacity, per_key: capacity, after_restart: AfterRestart::Refuse });
    let report = |moment: &str| {
        let change = memory.change();
        let bytes = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
        let each = bytes / store.live();
        println!("{moment}: {} entries held, {bytes} bytes, {each} bytes an entry", store.live());
        assert!(each <= BYTES, "an entry takes {each} bytes, and {BYTES} is the limit");
    };
    for _ in 0..KEPT as usize * RATE {
        traffic.claim(&store);
    }
    report("filled");
    // Three times the store's content comes and goes, so that what deletions leave behind is in the figure.
    for _ in 0..3 * KEPT as usize * RATE {
        traffic.claim(&store);
    }
    report("in the steady state");
    criterion.bench_function("one claim at a million live entries", |bencher| {
        bencher.iter_custom(|count| {
            let begun = Instant::now();
            for _ in 0..count {
                traffic.claim(&store);
            }
            begun.elapsed()
        });
    });
    report("afterwards");
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = claim_at_a_million
}
criterion_main!(benches);
