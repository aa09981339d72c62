//! A server that has forgotten is found out before a claim counts.

use std::time::{Duration, Instant};

use holdfast::replay::redis::{Redis, Refused};
use holdfast::verify::time::UnixTime;
use tokio::task::JoinSet;

use super::server::{Server, store};
use super::{KEEP, claim, fresh, proof, until_away, until_usable};
use crate::process::{PATIENCE, wait};

/// Waits until the line lies later and the store is usable behind it.
async fn until_moved(redis: &Redis, line: UnixTime) {
    wait("the line has moved", async || is_beyond(redis, line)).await;
}

/// The second in which the memory of a server begins, and whose it is: what its marker says.
fn marker(server: &Server) -> (i64, String) {
    let marker = server.say(&["GET", "hf:since"]);
    let (begins, whose) = marker.trim_matches('"').split_once(':').expect("two parts");
    (begins.parse().expect("a second"), whose.to_owned())
}

/// Whether a store works behind another line than `line`.
fn is_beyond(redis: &Redis, line: UnixTime) -> bool {
    redis.state().is_usable() && redis.line().is_some_and(|now| now > line)
}

/// While claims are under way, until the store is back, and then for a while more: each proof was used before, so none may pass by the line it was judged by. What is claimed while the
/// marker is gone is spent by that, so behind the new line each attempt is another proof's.
#[tokio::test(flavor = "multi_thread")]
async fn what_flushall_has_forgotten_does_not_pass() {
    const CALLERS: usize = 20;
    const PROOFS: usize = 20;
    let (server, one, _) = fresh().await;
    let other = store(server.settings());
    for round in 0..2 {
        until_usable(&one).await;
        until_usable(&other).await;
        let line = one.line().expect("a line");
        let used = move |caller: usize, place: usize| proof((round * 2 * CALLERS + caller) * PROOFS + place);
        let mut all = JoinSet::new();
        for number in 0..2 * CALLERS * PROOFS {
            let (one, proof) = (one.clone(), used(0, number));
            all.spawn(async move { one.claim(proof, KEEP, line).await });
        }
        assert!(all.join_all().await.iter().all(Result::is_ok));
        let mut all = JoinSet::new();
        for caller in 0..2 * CALLERS {
            let replica = if caller % 2 == 0 { one.clone() } else { other.clone() };
            all.spawn(async move {
                let begin = Instant::now();
                let mut place = 0;
                while place < PROOFS {
                    let back = is_beyond(&replica, line);
                    let again = replica.claim(used(caller, place), KEEP, line).await;
                    assert!(again.is_err(), "back: {back}");
                    place += usize::from(back);
                    assert!(begin.elapsed() < PATIENCE, "it never comes back");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        server.order(&["FLUSHALL"]);
        while let Some(ended) = all.join_next().await {
            ended.expect("no proof passes");
        }
        assert_eq!(one.line(), other.line());
    }
}

/// The marker of another memory is not taken for that of the one a connection was vetted with, however good it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_marker_is_another_memory() {
    let (server, redis, line) = fresh().await;
    let (begins, whose) = marker(&server);
    server.order(&["SET", "hf:since", &format!("{}:{whose}", begins + 1)]);
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Err(Refused::Unavailable));
    until_moved(&redis, line).await;
    assert_eq!(redis.line(), Some(line.plus(1)));
}

/// A proof that was judged by a line that has moved since may be older than the memory that took it.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_judged_by_an_older_line_does_not_pass() {
    let (_server, redis, line) = fresh().await;
    assert_eq!(redis.claim(proof(0), KEEP, line.minus(1)).await, Err(Refused::Unavailable));
    assert_eq!(redis.claim(proof(1), KEEP, line).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_empty_has_another_memory() {
    let (mut server, redis, _) = fresh().await;
    for number in 0..2 {
        let line = redis.line().expect("a line");
        assert_eq!(redis.claim(proof(number), KEEP, line).await, Ok(()));
        server.kill();
        assert_eq!(redis.claim(proof(number), KEEP, line).await, Err(Refused::Unavailable));
        server.restart();
        until_moved(&redis, line).await;
        assert_eq!(redis.claim(proof(number), KEEP, line).await, Err(Refused::Unavailable));
    }
}

/// What it had saved is older than what it had taken, and so is the marker in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_from_a_snapshot_has_another_memory() {
    let (mut server, redis, line) = fresh().await;
    server.order(&["SAVE"]);
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Ok(()));
    server.kill();
    server.restart();
    assert!(server.say(&["GET", "hf:since"]).contains(':'), "the old marker is there");
    until_moved(&redis, line).await;
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Err(Refused::Unavailable));
}

/// A replica that becomes the master may lack what the old one had taken last, and the old one what the new one has.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_has_another_memory_and_so_has_a_master_that_comes_back() {
    let (first, one, line) = fresh().await;
    let second = Server::start(&["--replicaof", &first.host_and_port().join(" ")]);
    wait("it follows", async || second.say(&["GET", "hf:since"]).contains(':')).await;
    let other = store(second.settings());
    until_away(&other, "read_only").await;

    second.order(&["REPLICAOF", "NO", "ONE"]);
    until_usable(&other).await;
    let promoted = other.line().expect("a line");
    assert!(promoted > line);

    // The old master follows the new one, and takes its place again. Whoever has not noticed must not be told that nothing has happened.
    let [host, port] = second.host_and_port();
    first.order(&["REPLICAOF", &host, &port]);
    wait("it follows", async || first.say(&["GET", "hf:since"]) == second.say(&["GET", "hf:since"])).await;
    first.order(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(one.claim(proof(0), KEEP, line).await, Err(Refused::Unavailable));
    until_moved(&one, promoted).await;
}

/// Many replicas that start at once agree on one marker.
#[tokio::test(flavor = "multi_thread")]
async fn all_who_come_first_agree() {
    let server = Server::start(&[]);
    let all: Vec<_> = (0..20).map(|_| store(server.settings())).collect();
    for redis in &all {
        until_usable(redis).await;
    }
    for (number, redis) in all.iter().enumerate() {
        assert_eq!(redis.line(), all[0].line());
        assert_eq!(claim(redis, number).await, Ok(()), "{number}");
        assert_eq!(redis.state().counts.troubles.iter().sum::<u64>(), 0);
    }
}

/// Claims count from the second on that the marker names, which is after it was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_is_not_used_before_it_begins() {
    let (server, _redis, line) = fresh().await;
    let (begins, _) = marker(&server);
    let now: i64 = server.say(&["TIME"]).split('"').nth(1).expect("seconds").parse().expect("a number");
    assert!(now >= begins, "{now}, {begins}");
    // A second for the reply and twice the 2 s of the bounds.
    assert_eq!(line, UnixTime::from_seconds(begins + 5));
}

/// A server that was let evict for a moment has its marker still, most often, and not all its claims.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_meanwhile_does_not_pass() {
    let (server, redis, line) = fresh().await;
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Ok(()));
    let marked = marker(&server);
    // Claims have an end and the marker has none, so it stays.
    server.order(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    server.say(&["CONFIG", "SET", "maxmemory", "1"]);
    wait("nothing else is left", async || {
        server.say(&["SET", "one", "more"]);
        server.say(&["DBSIZE"]).ends_with(" 1")
    })
    .await;
    assert_eq!(marker(&server), marked);
    server.order(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.order(&["CONFIG", "SET", "maxmemory", "0"]);
    // It was so short that perhaps nobody has seen the policy.
    until_moved(&redis, line).await;
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Err(Refused::Unavailable), "it was used");
}

/// A memory that was out of the way for a while knows nothing of what was claimed meanwhile, though its marker is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_that_has_come_back_is_a_new_one() {
    let (server, redis, before) = fresh().await;
    server.order(&["SWAPDB", "0", "1"]);
    until_moved(&redis, before).await;
    let line = redis.line().expect("a line");
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Ok(()));
    server.order(&["SWAPDB", "0", "1"]);
    assert_eq!(redis.claim(proof(1), KEEP, line).await, Err(Refused::Unavailable));
    until_usable(&redis).await;
    assert_eq!(redis.claim(proof(0), KEEP, line).await, Err(Refused::Unavailable), "it was used");
    until_moved(&redis, line).await;
}

/// Of two memories the one that begins later is the later one, whatever the clocks of their servers say.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_begins_after_that_of_another_server() {
    let (server, redis, line) = fresh().await;
    let (begins, whose) = marker(&server);
    server.order(&["SET", "hf:since", &format!("{}:{whose}, of another", begins + 3)]);
    until_moved(&redis, line).await;
    assert_eq!(redis.line(), Some(line.plus(4)));
}
