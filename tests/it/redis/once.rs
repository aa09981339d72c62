//! One proof passes once, whoever it comes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use holdfast::clock::Clock;
use holdfast::config::{AfterRestart, ReplayMemory};
use holdfast::replay::memory::MemoryStore;
use holdfast::replay::redis::Refused;
use holdfast::replay::store::{Shared, Store};
use holdfast::verify::digest::Digest;
use holdfast::verify::replay::{Claim, ClaimError, ClaimStore as _, Made};
use tokio::task::JoinSet;

use super::server::{Server, store};
use super::{KEEP, at_once, claim, fresh, proof, until_usable};

/// 200 at once over three replicas, each with two connections.
#[tokio::test(flavor = "multi_thread")]
async fn of_200_in_parallel_one_passes() {
    let server = Server::start(&[]);
    let replicas: Vec<_> = (0..3).map(|_| store(server.settings())).collect();
    for replica in &replicas {
        until_usable(replica).await;
    }
    let line = replicas[0].line().expect("a line");
    assert!(replicas.iter().all(|replica| replica.line() == Some(line)), "all draw the same line");
    for round in 0..50 {
        let mut all = JoinSet::new();
        for number in 0..200 {
            let replica = replicas[number % 3].clone();
            all.spawn(async move { replica.claim(proof(round), KEEP, line).await });
        }
        let answers = all.join_all().await;
        let taken = answers.iter().filter(|answer| answer.is_ok()).count();
        let replayed = answers.iter().filter(|answer| **answer == Err(Refused::Replayed)).count();
        assert_eq!((taken, replayed), (1, 199), "round {round}");
    }
    let counts: Vec<_> = replicas.iter().map(|replica| replica.state().counts).collect();
    assert_eq!(counts.iter().map(|counts| counts.taken).sum::<u64>(), 50);
    assert_eq!(counts.iter().map(|counts| counts.replayed).sum::<u64>(), 50 * 199);
    let trips: u64 = counts.iter().flat_map(|counts| counts.round_trips).sum();
    assert!(trips < 50 * 200 / 2, "claims go out together: {trips} round trips");
}

/// Until its last second is over, by whichever clock within `clock_difference`, also if they were set by as much as nobody notices: 60 s, 1 s for the last one, four times 2 s, and 1 s of `timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_kept_for_as_long_as_its_proof_could_pass() {
    let (server, redis, _) = fresh().await;
    let since = std::time::Instant::now();
    assert_eq!(claim(&redis, 0).await, Ok(()));
    let held = server.holds();
    let passed = u64::try_from(since.elapsed().as_millis()).expect("not for ever");
    let claim = held.iter().find(|held| held.hash().is_some()).expect("the claim");
    let left = claim.left.expect("it ends");
    assert!((70_000 - passed..=70_000).contains(&left), "{left}, {passed}");
}

/// A store that is away holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_refuses_at_once() {
    let (mut server, redis, _) = fresh().await;
    server.kill();
    super::until_away(&redis, "unreachable").await;
    let looked = redis.state().counts.round_trips.iter().sum::<u64>();
    at_once(async {
        for number in 0..1000 {
            assert_eq!(claim(&redis, number).await, Err(Refused::Unavailable));
        }
    })
    .await;
    let counts = redis.state().counts;
    assert_eq!((counts.unavailable, counts.round_trips.iter().sum::<u64>()), (1000, looked));
    server.restart();
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Ok(()));
}

/// With the last of its clones a store ends its connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_leaves() {
    let (server, redis, _) = fresh().await;
    let connections = || {
        let list = server.say(&["CLIENT", "LIST"]);
        // One is who asks.
        list.matches("addr=").count() / 2 - 1
    };
    crate::process::wait("both lanes have connected", async || connections() == 2).await;
    let clone = Arc::new(redis.clone());
    drop(redis);
    assert_eq!(claim(&clone, 0).await, Ok(()));
    drop(clone);
    crate::process::wait("they have left", async || connections() == 0).await;
}

/// An answer after the last second is of a memory that may have forgotten already.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_comes_too_late_does_not_count() {
    let (_server, redis, line) = fresh().await;
    let now = line.plus(100);
    let late = Arc::new(AtomicI64::new(0));
    let clock = {
        let late = Arc::clone(&late);
        Clock::new(move || {
            let seconds = now.seconds() + late.load(Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).expect("after 1970"))
        })
    };
    let memory = Arc::new(MemoryStore::new(&ReplayMemory {
        capacity: 9,
        per_key: 9,
        after_restart: AfterRestart::Accept,
    }));
    let store = Store::Shared(Shared { memory, redis, clock });
    let claim = |number| Claim {
        proof: proof(number),
        owner: Digest::of(b"key"),
        until: now.plus(5),
        made: Made::Dated(now),
    };
    late.store(5, Ordering::Relaxed);
    assert_eq!(store.claim(claim(0), now).await, Ok(()));
    late.store(6, Ordering::Relaxed);
    assert_eq!(store.claim(claim(1), now).await, Err(ClaimError::Past));
}
