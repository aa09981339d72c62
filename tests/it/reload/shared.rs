//! A reload beside a memory that replicas share: it may not let a used proof pass, and not take the memory away.

use std::time::Duration;

use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use super::ASKED;
use crate::house::{House, NONCE_KEY, Plan};
use crate::process::wait;
use crate::redis::server::Server;
use crate::scene::{Scene, renew, without_nonce};
use crate::scripted;
use crate::shared_store::{sharing, until_in_use, until_it_passes};

async fn reloading(server: &Server, more: &str) -> House {
    House::built(Plan { reloads: true, more: ASKED, ..sharing(&server.url(), more) }).await
}

async fn refused(house: &House, text: &str) -> String {
    house.write("gateway.yaml", text);
    let (status, said) = house.post_reload().await;
    assert_eq!(status, 422, "{said}");
    said
}

/// A memory that others do not ask, or that is asked for other keys, does not know what was used.
#[tokio::test(flavor = "multi_thread")]
async fn another_memory_is_refused() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let house = reloading(&server, "").await;
    let text = house.text();
    let without = text.replace(
        &format!("redis: {{ url: \"{}\" }}", server.url()),
        "memory: { capacity: 1000, per_key: 500 }",
    );
    let elsewhere = text.replace(&server.url(), &other.url());
    let other_keys =
        text.replace(&format!("\"{}\"", server.url()), &format!("\"{}\", prefix: \"x:\"", server.url()));
    for changed in [without, elsewhere, other_keys] {
        assert_ne!(changed, text);
        let said = refused(&house, &changed).await;
        assert!(said.contains("another memory") && said.contains("stop all replicas"), "{said}");
    }
    let files = vec![("ring", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n".to_owned())];
    let alone = House::built(Plan { reloads: true, more: ASKED, files, ..Plan::default() }).await;
    let text = alone.text();
    let rules = "replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }";
    assert!(text.contains(rules));
    let said = refused(
        &alone,
        &text.replace(
            rules,
            &format!(
                "dpop: {{ nonce_keys: {{ file: ring }} }}\nreplay: {{ redis: {{ url: \"{}\" }} }}",
                server.url()
            ),
        ),
    )
    .await;
    assert!(said.contains("another memory"), "{said}");
    // What is in use stays so.
    until_in_use(&house, &mut Scene::right(&house)).await;
}

/// A wrong password in the file must not take away a store that is in use; the right one reaches it, and used proofs stay used.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_does_not_fit_is_refused() {
    let server = Server::start(&["--requirepass", "first"]);
    let house = House::built(Plan {
        reloads: true,
        more: ASKED,
        files: vec![("ring", NONCE_KEY.to_owned()), ("password", "first\n".to_owned())],
        ..sharing(&server.url(), ", password: { file: password }")
    })
    .await;
    let mut scene = Scene::right(&house);
    until_in_use(&house, &mut scene).await;
    renew(&mut scene, &house, None);
    let used = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &used).await.status, 200);
    house.write("password", "wrong\n");
    let (status, said) = house.post_reload().await;
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("refuses `user` and `password`") && !said.contains("wrong\n"), "{said}");
    renew(&mut scene, &house, None);
    assert_eq!(scene.send(&house).await.status, 200, "the old one is in use");
    server.order(&["-a", "first", "--no-auth-warning", "CONFIG", "SET", "requirepass", "second"]);
    house.write("password", "second\n");
    assert_eq!(house.post_reload().await.0, 200);
    assert_eq!(scene.send_bytes(&house, &used).await.reason(), ProofReplayed.label());
    renew(&mut scene, &house, None);
    assert_eq!(scene.send(&house).await.status, 200);
}

/// One replica takes older proofs from now on than the other has kept its claims for.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_max_age_at_one_replica_lets_nothing_pass_again() {
    let server = Server::start(&[]);
    let plan = |max_age: &str| {
        let mut plan = sharing(&server.url(), ", clock_difference: 100ms");
        plan.rules = crate::served::leaked(
            plan.rules.replace("max_future: 1s", &format!("max_future: 0s, max_age: {max_age}")),
        );
        Plan { reloads: true, more: ASKED, ..plan }
    };
    let first = House::built(plan("1s")).await;
    let second = first.twin(plan("1s")).await;
    let mut scene = Scene::right(&first);
    until_it_passes(&first, &mut scene).await;
    until_it_passes(&second, &mut Scene::right(&second)).await;
    renew(&mut scene, &first, None);
    let used = scene.bytes(&first);
    assert_eq!(scene.send_bytes(&first, &used).await.status, 200);
    second.reload_with(&second.text().replace("max_age: 1s", "max_age: 5m")).await;
    second.seen();
    // Long enough for the claim to end by the rules it was made under. Not asked before, or this replica would remember that it was refused.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(scene.send_bytes(&second, &used).await.reason(), ProofBeforeMemory.label());
    // The other goes on, and keeps its claims for as long as this one needs them.
    until_it_passes(&first, &mut scene).await;
    renew(&mut scene, &first, None);
    scene.proof_claims["iat"] = json!(first.now());
    let used = scene.bytes(&first);
    assert_eq!(scene.send_bytes(&first, &used).await.status, 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(scene.send_bytes(&second, &used).await.reason(), ProofReplayed.label());
}

/// Waits until readiness says so.
async fn readiness(house: &House, status: u16, word: &str) {
    crate::process::wait("readiness", async || {
        let (now, said) = house.ask_admin("/readyz").await;
        now == status && said.starts_with(word)
    })
    .await;
}

/// The store is dead, and the first aid is another `on_failure`: every replica that reads it stays where callers find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_the_store_is_away_leaves_the_replica_ready() {
    let mut server = Server::start(&[]);
    let house = reloading(&server, ", on_failure: refuse").await;
    let mut scene = Scene::right(&house);
    until_it_passes(&house, &mut scene).await;
    renew(&mut scene, &house, None);
    let used = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &used).await.status, 200);
    server.kill();
    renew(&mut scene, &house, None);
    assert_eq!(scene.send(&house).await.reason(), ReplayStoreUnavailable.label());
    let refuses = house.text();
    house.reload_with(&refuses.replace("on_failure: refuse", "on_failure: nonce")).await;
    let (status, said) = house.ask_admin("/readyz").await;
    assert!(status == 200 && said.starts_with("ready\n"), "{status} {said}");
    renew(&mut scene, &house, None);
    let answer = scene.send(&house).await;
    assert_eq!(answer.reason(), NonceElsewhere.label());
    renew(&mut scene, &house, Some(answer.one("dpop-nonce")));
    let aided = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &aided).await.status, 200);
    assert_eq!(scene.send_bytes(&house, &aided).await.reason(), ProofReplayed.label());
    // And back, which needs the store as before.
    house.reload_with(&refuses).await;
    assert_eq!(house.ask_admin("/readyz").await.0, 200);
    without_nonce(&mut scene);
    renew(&mut scene, &house, None);
    assert_eq!(scene.send(&house).await.reason(), ReplayStoreUnavailable.label());
    server.restart();
    until_it_passes(&house, &mut scene).await;
    for bytes in [&used, &aided] {
        assert_eq!(scene.send_bytes(&house, bytes).await.status, 401);
    }
}

/// A replica that starts while the store is away is ready when it can do its work: with nonces of its own that is as soon as it knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_while_the_store_is_away() {
    let mut server = Server::start(&[]);
    server.kill();
    let refusing = reloading(&server, ", prefix: \"unreachable:\", on_failure: refuse").await;
    let asking = reloading(&server, ", prefix: \"unreachable:\", on_failure: nonce").await;
    readiness(&asking, 200, "ready\nreplay store ").await;
    let mut scene = Scene::right(&asking);
    let answer = scene.send(&asking).await;
    assert_eq!(answer.reason(), NonceElsewhere.label());
    renew(&mut scene, &asking, Some(answer.one("dpop-nonce")));
    assert_eq!(scene.send(&asking).await.status, 200);
    readiness(&refusing, 503, "waiting for the replay store\nreplay store ").await;
    let refuses = refusing.text();
    refusing.reload_with(&refuses.replace("on_failure: refuse", "on_failure: nonce")).await;
    readiness(&refusing, 200, "ready\n").await;
    refusing.reload_with(&refuses).await;
    readiness(&refusing, 503, "waiting for the replay store\n").await;
    server.restart();
    readiness(&refusing, 200, "ready\n").await;
    until_it_passes(&refusing, &mut Scene::right(&refusing)).await;
    until_it_passes(&asking, &mut Scene::right(&asking)).await;
}

/// Routes that ask for nonces and no longer do, and ask again: each time a client gets a nonce that is good at once, at this replica and at the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_good_at_once_after_routes_ask_otherwise() {
    let server = Server::start(&[]);
    let house = reloading(&server, "").await;
    let other = house.twin(sharing(&server.url(), "")).await;
    for house in [&house, &other] {
        until_it_passes(house, &mut Scene::right(house)).await;
    }
    let asks = house.text();
    let not = asks.replace("require: { nonce: required }", "require: { nonce: none }");
    assert_ne!(asks, not);
    for text in [&not, &asks, &not, &asks] {
        house.reload_with(text).await;
    }
    let mut scene = Scene::at(&house, "/nonce");
    for house in [&house, &other] {
        let answer = scene.send(house).await;
        renew(&mut scene, house, Some(answer.one("dpop-nonce")));
        let answer = scene.send(house).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        without_nonce(&mut scene);
        renew(&mut scene, house, None);
    }
    let answer = scene.send(&house).await;
    renew(&mut scene, &house, Some(answer.one("dpop-nonce")));
    assert_eq!(scene.send(&other).await.status, 200);
}

/// Requests of before hold on to the store that they came under. It has no connections all the same, once none of them can still be asking it. A store that a reload leaves as it is stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_replaced_ends_before_its_last_request() {
    let server = Server::start(&[]);
    let connections = || server.say(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count();
    let (upstream, heard) = scripted::silent().await;
    let plan = sharing(&server.url(), ", timeout: 1s");
    let house = House::built(Plan { reloads: true, more: ASKED, upstream: Some(upstream), ..plan }).await;
    wait("it has its connections", async || connections() == 3).await;
    let scene = Scene::at(&house, "/public");
    let mut caller = house.connect(&scene.sni, None).await;
    caller.send(&scene.bytes(&house)).await.expect("it is open");
    wait("its upstream owes an answer", async || !heard.lock().expect("no one panicked").is_empty()).await;
    house.reload_with(&house.text().replace("timeout: 1s", "timeout: 2s")).await;
    wait("both have theirs", async || connections() == 5).await;
    house.reload_with(&house.text().replace("name: public, match", "name: published, match")).await;
    wait("those of before are gone", async || connections() == 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(connections(), 3);
}

/// A replica that goes on alone since it has started does so through a reload, also while nobody knows yet whether the store is away by the new way too.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_a_replica_ready_that_has_never_reached_the_store() {
    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("bound"));
    let plan = sharing(&url, ", prefix: \"unreachable:\", on_failure: nonce, timeout: 2s");
    let house = House::built(Plan { reloads: true, more: ASKED, ..plan }).await;
    readiness(&house, 200, "ready\n").await;
    house.reload_with(&house.text().replace("timeout: 2s", "timeout: 3s")).await;
    assert_eq!(house.ask_admin("/readyz").await.0, 200);
}
