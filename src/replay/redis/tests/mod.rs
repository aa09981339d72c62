//! Mostly with real servers: Redis as it is installed, started for each test and ended with it.

mod batches;
mod clusters;
mod connecting;
mod following;
mod memories;
pub(super) mod process;
mod sentinels;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::{Redis, Refused};
use crate::clock::Clock;
use crate::config::{self, OnFailure, RedisServers, RedisWire};
use crate::verify::digest::{Digest, ProofId};

/// Settings as an operator has them who writes no others.
pub(super) fn settings(servers: RedisServers, wire: RedisWire) -> config::Redis {
    config::Redis {
        servers,
        login: None,
        wire,
        prefix: "hf:".into(),
        connections: 2,
        timeout: Duration::from_millis(250),
        connect_timeout: Duration::from_secs(1),
        replicas: 0,
        clock_difference: Duration::from_secs(1),
        on_failure: OnFailure::Refuse,
    }
}

/// What a gateway counts on that has these settings, and no others.
pub(super) fn bounds(settings: &config::Redis) -> Bounds {
    let [clock_difference, timeout] = [settings.clock_difference, settings.timeout]
        .map(|time| u64::try_from(time.as_millis()).expect("a short time"));
    Bounds { max_age: 60, max_future: 10, nonce: 600, clock_difference, timeout }
}

/// How long a proof can pass, and whatever is waited for may take.
const LONG: Duration = Duration::from_secs(60);

fn proof(name: &str) -> Digest<ProofId> {
    Digest::of(name.as_bytes())
}

/// A store with these settings, asked by the system's clock.
fn start(settings: config::Redis) -> Redis {
    let bounds = bounds(&settings);
    Redis::start(Arc::new(settings), bounds, Clock::system())
}

/// Claims it once.
async fn claim(store: &Redis, proof: Digest<ProofId>) -> Result<(), Refused> {
    store.claim(proof, LONG, store.line().ok_or(Refused::Unavailable)?).await
}

/// Waits until the store takes claims for this proof.
async fn usable(store: &Redis, proof: Digest<ProofId>) {
    let end = Instant::now() + LONG;
    while !store.is_usable(proof) {
        assert!(Instant::now() < end, "{:?}", store.state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a store says so of itself.
async fn until(store: &Redis, said: impl Fn(&Redis) -> bool) {
    let end = Instant::now() + LONG;
    while !said(store) {
        assert!(Instant::now() < end, "{:?}", store.state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
