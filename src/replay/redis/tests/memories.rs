//! Which memory a server has, by its marker: what others write there, and what comes back.

use std::time::{Duration, Instant, SystemTime};

use super::super::Redis;
use super::super::state::Health;
use super::connecting::at;
use super::process::Server;
use super::{LONG, Refused, claim, proof, settings, start, usable};
use crate::config::{self, RedisServer, RedisServers, RedisWire};

const KEY: &str = "hf:since";

fn store(server: &Server) -> Redis {
    let servers = RedisServers::Alone(RedisServer::Network(at(server.port)));
    start(config::Redis { connections: 1, ..settings(servers, RedisWire::Plain) })
}

/// The second that is named in the marker, and the rest of it.
fn marker(server: &Server) -> (u64, String) {
    let marker = server.command(&["GET", KEY]);
    let (begins, rest) = marker.split_once(':').expect("two parts");
    (begins.parse().expect("a second"), rest.to_owned())
}

/// Waits until it is away for this reason, and gives what operators are told.
async fn away(store: &Redis, label: &str) -> String {
    let end = Instant::now() + LONG;
    loop {
        let state = store.state();
        match &state.servers[0].health {
            Health::Away { trouble, .. } if trouble.label() == label => return trouble.to_string(),
            Health::Away { .. } | Health::Connecting | Health::Usable => {}
        }
        assert!(Instant::now() < end, "{state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was seen to be gone is not believed when it is there again: others may have used another memory in between.
#[tokio::test]
async fn a_marker_that_comes_back_is_not_believed() {
    let server = Server::start(&[]);
    let store = store(&server);
    usable(&store, proof("a")).await;
    let line = store.line().expect("a line");
    let (begins, rest) = marker(&server);
    server.command(&["DEL", KEY]);
    assert_eq!(claim(&store, proof("a")).await, Err(Refused::Unavailable));
    // Sooner than it is looked for.
    server.command(&["SET", KEY, &format!("{begins}:{rest}")]);
    usable(&store, proof("a")).await;
    assert!(store.line().is_some_and(|now| now > line), "it is another memory");
    assert_eq!(claim(&store, proof("a")).await, Err(Refused::Replayed));
}

/// Written by clocks that were a year ahead, gateways' and server's, and set right since.
#[tokio::test]
async fn a_marker_far_ahead_is_told_as_such() {
    let server = Server::start(&[]);
    let first = store(&server);
    usable(&first, proof("a")).await;
    drop(first);
    let (begins, rest) = marker(&server);
    let year = 365 * 24 * 60 * 60;
    server.command(&["SET", KEY, &format!("{}:{rest}", begins + year)]);
    let late = store(&server);
    let told = away(&late, "not_begun").await;
    assert!(told.contains(KEY) && told.contains("stop the gateways, delete the key"), "{told}");
    let seconds: u64 = told.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    assert!((year - 60..=year + 1).contains(&seconds), "{told}");
    assert_eq!(late.state().servers[0].clock_difference, None, "no clock is wrong");
    // As the operator is told.
    drop(late);
    server.command(&["DEL", KEY]);
    let mended = store(&server);
    usable(&mended, proof("a")).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(marker(&server).0 <= now + 1);
}
