//! What one replay claim costs at a million live entries, in time and in memory. The goals are 300 ns and 64 bytes.
//!
//! The store is in its steady state: claims come at an even rate, each is kept for a minute and ten seconds, and each second as many expire as
//! come. Once a second they are swept, as the background task does it; what that costs for each is the second figure, and the third is of
//! claims that nobody sweeps for, so that each has to take an expired one out itself.

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::config::{AfterRestart, ReplayMemory};
use holdfast::replay::memory::MemoryStore;
use holdfast::verify::digest::Digest;
use holdfast::verify::replay::{Claim, Made};
use holdfast::verify::time::UnixTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A proof passes for 60 s and may be dated 10 s ahead.
const KEPT: i64 = 70;
/// Claims a second: 70 s of them are a million.
const RATE: usize = 14_500;
/// Claims between two looks at the clock.
const BATCH: usize = RATE / 10;
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
            Claim {
                proof,
                owner,
                until: UnixTime::from_seconds(0),
                made: Made::Dated(UnixTime::from_seconds(0)),
            }
        };
        Self { claims: (0..count).map(claim).collect(), next: 0 }
    }

    fn now(&self) -> UnixTime {
        UnixTime::from_seconds(1_000_000 + (self.next / RATE) as i64)
    }

    /// Makes the next claims, a tenth of a second of them, and tells how long the store took. They are copied out first: a request has
    /// its claim at hand and does not fetch it from memory.
    fn claim(&mut self, store: &MemoryStore) -> Duration {
        let now = self.now();
        let from = self.next % self.claims.len();
        let batch: Vec<Claim> = self.claims[from..from + BATCH]
            .iter()
            .map(|claim| Claim { until: now.plus(KEPT - 1), ..*claim })
            .collect();
        self.next += BATCH;
        let begun = Instant::now();
        for claim in &batch {
            store.take(black_box(*claim), now).expect("a fresh proof, and room for it");
        }
        begun.elapsed()
    }

    /// The claims of so many seconds.
    fn seconds(&mut self, store: &MemoryStore, seconds: i64) {
        for _ in 0..seconds as usize * RATE / BATCH {
            self.claim(store);
        }
    }
}

/// The time for `count` of what `some` does a number of, with the time they took.
fn scaled(count: u64, mut some: impl FnMut() -> (u64, Duration)) -> Duration {
    let (mut done, mut spent) = (0, Duration::ZERO);
    while done < count {
        let (more, took) = some();
        done += more;
        spent += took;
    }
    spent.mul_f64(count as f64 / done as f64)
}

fn report(moment: &str, memory: &Region<'_, System>, store: &MemoryStore) {
    let change = memory.change();
    let bytes = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    let each = bytes / store.live();
    println!("{moment}: {} entries held, {bytes} bytes, {each} bytes an entry", store.live());
    assert!(each <= BYTES, "an entry takes {each} bytes, and {BYTES} is the limit");
}

fn claim_at_a_million(criterion: &mut Criterion) {
    let mut traffic = Traffic::new();
    let capacity = 1_100_000;
    let memory = Region::new(COUNTED);
    let store =
        MemoryStore::new(&ReplayMemory { capacity, per_key: capacity, after_restart: AfterRestart::Refuse });
    traffic.seconds(&store, KEPT);
    report("filled", &memory, &store);
    // Three times the store's content comes and goes, so that what deletions leave behind is in the figure.
    traffic.seconds(&store, 3 * KEPT);
    report("in the steady state", &memory, &store);

    criterion.bench_function("one claim at a million live entries", |bencher| {
        bencher.iter_custom(|count| {
            scaled(count, || {
                store.sweep(traffic.now(), usize::MAX);
                (BATCH as u64, traffic.claim(&store))
            })
        });
    });
    criterion.bench_function("sweeping one expired claim", |bencher| {
        bencher.iter_custom(|count| {
            scaled(count, || {
                traffic.seconds(&store, 1);
                let begun = Instant::now();
                let swept = store.sweep(traffic.now(), usize::MAX);
                (swept as u64, begun.elapsed())
            })
        });
    });
    criterion.bench_function("one claim that sweeps for itself", |bencher| {
        bencher.iter_custom(|count| scaled(count, || (BATCH as u64, traffic.claim(&store))));
    });
    report("afterwards", &memory, &store);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = claim_at_a_million
}
criterion_main!(benches);
