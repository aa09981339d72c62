//! A store in the place of another, as a reload puts it there: what was learnt of its memory counts on.

use std::sync::Arc;
use std::time::Duration;

use super::connecting::at;
use super::process::{Server, free_port};
use super::{LONG, Redis, Refused, bounds, claim, proof, settings, start, until, usable};
use crate::config::{self, OnFailure, RedisServer, RedisServers, RedisWire};

fn one(port: u16) -> config::Redis {
    settings(RedisServers::Alone(RedisServer::Network(at(port))), RedisWire::Plain)
}

/// The same, asked otherwise, by the same figures.
fn followed(store: &Redis, settings: config::Redis) -> Redis {
    let bounds = bounds(&settings);
    store.followed_by(Arc::new(config::Redis { connections: 3, ..settings }), bounds)
}

/// The marker of a memory that was found to be lost comes back while nobody can look, and then the operator mends what is wrong, and reloads.
#[tokio::test]
async fn a_memory_that_was_lost_is_not_found_again() {
    let server = Server::start(&[]);
    let marker = || server.command(&["GET", "hf:since"]);
    let store = start(one(server.port));
    usable(&store, proof("a")).await;
    let (lost, first) = (marker(), store.line());
    server.command(&["DEL", "hf:since"]);
    until(&store, |store| store.line() > first && store.is_usable(proof("a"))).await;
    let line = store.line();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    until(&store, |store| !store.is_usable(proof("a"))).await;
    assert_eq!(server.command(&["SET", "hf:since", &lost]), "OK");

    let next = followed(&store, one(server.port));
    drop(store);
    assert_eq!(next.line(), line);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    usable(&next, proof("a")).await;
    assert_ne!(marker(), lost, "what was used since that began is not in it");
    assert!(next.line() > line);
}

/// That it was reached once is handed on, so that a reload while it is away makes nobody unready.
#[tokio::test]
async fn a_store_that_was_reached_is_not_waited_for_again() {
    let server = Server::start(&[]);
    let store = start(one(server.port));
    assert!(store.is_awaited() && !store.first_contact());
    usable(&store, proof("a")).await;
    assert!(!store.is_awaited());
    let port = server.kill();
    until(&store, |store| !store.is_usable(proof("a"))).await;
    let next = followed(&store, one(port));
    assert!(next.first_contact() && !next.is_awaited() && next.standing().is_alone());
    // Nothing is in use that could be lost.
    assert_eq!(next.reaches_all_of(&store, Duration::ZERO).await, Ok(()));
}

/// With nonces of its own a gateway can work without the store, as soon as it knows that it has to.
#[tokio::test]
async fn a_store_that_is_away_from_the_start() {
    let away = one(free_port());
    let refusing = start(away.clone());
    let asking = start(config::Redis { on_failure: OnFailure::Nonce, ..away });
    assert!(refusing.is_awaited() && asking.is_awaited(), "nothing is known yet");
    until(&asking, |asking| !asking.is_awaited()).await;
    until(&refusing, |refusing| refusing.state().counts.troubles.iter().sum::<u64>() > 2).await;
    assert!(refusing.is_awaited(), "nothing can pass");
    assert!(!asking.first_contact() && !refusing.first_contact());
}

/// What is left of a store that was replaced asks nobody any more, however long somebody holds it.
#[tokio::test]
async fn a_store_that_has_ended_has_no_connections() {
    let server = Server::start(&[]);
    let store = start(one(server.port));
    usable(&store, proof("a")).await;
    let next = followed(&store, one(server.port));
    usable(&next, proof("a")).await;
    let connections = || server.command(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count();
    assert!(next.is(&next.clone()) && !next.is(&store));
    let both = connections();
    store.end();
    until(&next, |_| connections() == both - 2).await;
    assert_eq!(claim(&store, proof("b")).await, Err(Refused::Unavailable));
    assert_eq!(claim(&next, proof("b")).await, Ok(()));
}

/// Another password is not believed while the one there is does.
#[tokio::test]
async fn what_does_not_reach_a_server_in_use_is_not_taken() {
    let server = Server::start(&[]);
    let store = start(one(server.port));
    usable(&store, proof("a")).await;
    let login = config::RedisLogin { user: None, password: config::RedisPassword::new("wrong".into()) };
    let next = followed(&store, config::Redis { login: Some(login), ..one(server.port) });
    let wrong = next.reaches_all_of(&store, Duration::from_secs(2)).await;
    assert!(wrong.is_err_and(|said| said.contains("refuses `user` and `password`")));
    assert!(next.first_contact(), "that it was reached once is no proof of that");
    let next = followed(&store, one(server.port));
    assert_eq!(next.reaches_all_of(&store, LONG).await, Ok(()));
}
