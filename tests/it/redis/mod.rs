//! The memory that replicas share, against a real redis-server.

mod counts;
mod faults;
mod memory;
mod once;
pub mod server;

use std::time::Duration;

use holdfast::replay::redis::state::Health;
use holdfast::replay::redis::{Redis, Refused};
use holdfast::verify::digest::{Digest, ProofId};
use holdfast::verify::time::UnixTime;

use self::server::{Server, store};
use crate::process::wait;

/// How long proofs could pass, in these tests.
const KEEP: Duration = Duration::from_secs(60);

/// Does what nobody is to wait for. The bound is longer than a thousand refusals take, whatever else the machine does, and shorter than a hundred that each wait for `timeout`.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("nobody waits")
}

/// A server that has just begun, a store that uses it, and the line of its memory.
async fn fresh() -> (Server, Redis, UnixTime) {
    let server = Server::start(&[]);
    let redis = store(server.settings());
    until_usable(&redis).await;
    let line = redis.line().expect("a line");
    (server, redis, line)
}

/// A proof by its number.
fn proof(number: usize) -> Digest<ProofId> {
    Digest::of(&number.to_be_bytes())
}

/// Claims a proof that is younger than the line, whatever that is.
async fn claim(redis: &Redis, number: usize) -> Result<(), Refused> {
    let line = redis.line().expect("a line");
    redis.claim(proof(number), KEEP, line).await
}

async fn until_usable(redis: &Redis) {
    wait("the store is usable", async || redis.state().is_usable()).await;
}

/// Waits until the store is away for a reason with this label, and gives what the operator is told.
async fn until_away(redis: &Redis, label: &str) -> String {
    let mut told = String::new();
    wait(&format!("the store is away: {label}"), async || match &redis.state().servers[0].health {
        Health::Away { trouble, .. } if trouble.label() == label => {
            told = trouble.to_string();
            true
        }
        _ => false,
    })
    .await;
    assert!(!redis.is_usable(proof(0)));
    told
}
