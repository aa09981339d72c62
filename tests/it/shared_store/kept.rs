//! What the store has of callers: nothing that can be read, and nothing for ever. And how replicas count with it and without.

use serde_json::json;

use super::{sharing, slow_rate, until_in_use};
use crate::house::{House, Plan};
use crate::redis::server::Server;
use crate::scene::{Scene, renew, thumbprint};
use crate::served::leaked;

/// Two routes on which so many pass, whichever replica they come to.
const BURST: usize = 4;
const ROUTES: &str = "  - { name: by-key, match: { path_prefix: /by-key }, upstream: echo, require: { binding: any }, limits: { rate: RATE, burst: 4, by: key, shared: true } }
  - { name: by-client, match: { path_prefix: /by-client }, upstream: echo, limits: { rate: RATE, burst: 4, by: client, shared: true } }
";

/// Two replicas with these routes.
async fn two(server: &Server) -> [House; 2] {
    let routes = leaked(ROUTES.replace("RATE", &slow_rate(4)));
    let plan = || Plan { routes, ..sharing(&server.url(), "") };
    let first = House::built(plan()).await;
    let second = first.twin(plan()).await;
    [first, second]
}

/// A caller of `client` with a key of his own, whose proofs are in no doubt.
async fn caller(houses: &[House; 2], client: &str, path: &str) -> Scene {
    let mut scene = Scene::right(&houses[0]);
    scene.token_claims["client_id"] = json!(client);
    scene.token_claims["sub"] = json!("somebody-in-particular");
    for house in houses {
        until_in_use(house, &mut scene).await;
    }
    scene.go_to(path);
    scene
}

/// Sends new requests by turns to these houses, and gives what is heard.
async fn statuses(houses: &[&House], scene: &mut Scene, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for round in 0..requests {
        let house = houses[round % houses.len()];
        renew(scene, house, None);
        statuses.push(scene.send(house).await.status);
    }
    statuses
}

/// Keys are parts of hashes; values are a 1, or a count. Beside them there are the marker, the probe and what a marker is written under, which know no callers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_a_caller_can_be_read_and_nothing_stays() {
    let server = Server::start(&[]);
    let houses = two(&server).await;
    let both = [&houses[0], &houses[1]];
    let mut secrets = vec![b"a-client-of-ours".to_vec(), b"somebody-in-particular".to_vec()];
    let mut claims = 0;
    for path in ["/by-key", "/by-client"] {
        let mut scene = caller(&houses, "a-client-of-ours", path).await;
        claims += 2;
        for _ in 0..2 {
            assert_eq!(statuses(&both, &mut scene, 1).await, [200]);
            claims += 1;
            secrets.push(scene.proof_claims["jti"].as_str().expect("a jti").into());
        }
        let key = scene.key.thumbprint();
        // A key of the store is half as long.
        secrets.extend([key.to_base64url().into_bytes(), key.as_bytes()[..16].to_vec()]);
    }
    let mut shown = Scene::with_certificate(&houses[0]);
    shown.go_to("/by-key");
    assert_eq!(shown.send(&houses[0]).await.status, 200);
    secrets.push(thumbprint(&houses[0], 0).into_bytes());
    let (mut ones, mut counts) = (0, 0);
    for held in server.holds() {
        for secret in &secrets {
            let told = |text: &[u8]| text.windows(secret.len()).any(|part| part == secret);
            assert!(!told(&held.key) && !told(&held.value), "{} in {held:?}", secret.escape_ascii());
        }
        if held.hash().is_none() {
            let parts = [b"hf:since".as_slice(), b"hf:probe", b"hf:proviso:"];
            assert!(parts.iter().any(|part| held.key.starts_with(part)), "{held:?}");
            continue;
        }
        assert!(held.left.is_some_and(|left| left > 0), "it has no end: {held:?}");
        match std::str::from_utf8(&held.value).ok().and_then(|value| value.parse::<u64>().ok()) {
            Some(1) => ones += 1,
            Some(2) => counts += 1,
            _ => panic!("{held:?}"),
        }
    }
    // Two keys or clients have been counted twice, and the certificate once.
    assert_eq!(counts, 2);
    assert!(ones > claims, "{ones}, {claims}");
}

/// A count outlasts everyone who counts in its window, by whatever clock: one that ended before would begin anew without an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_kept_for_longer_than_its_window() {
    let server = Server::start(&[]);
    let house =
        House::built(Plan { routes: leaked(ROUTES.replace("RATE", "4/h")), ..sharing(&server.url(), "") })
            .await;
    let mut scene = Scene::right(&house);
    until_in_use(&house, &mut scene).await;
    scene.go_to("/by-key");
    assert_eq!(statuses(&[&house], &mut scene, 1).await, [200]);
    let longest = server.holds().iter().filter_map(|held| held.left).max().expect("a count");
    // Two windows of an hour, twice `timeout` and `clock_difference`; less what has passed since. No proof is kept for so long.
    assert!((7_200_001..=7_202_500).contains(&longest), "{longest}");
}

/// A client has one allowance, whatever key he comes with.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_count_clients_together() {
    let server = Server::start(&[]);
    let houses = two(&server).await;
    let mut callers = [
        caller(&houses, "one", "/by-client").await,
        caller(&houses, "one", "/by-client").await,
        caller(&houses, "other", "/by-client").await,
    ];
    let both = [&houses[0], &houses[1]];
    assert_eq!(statuses(&both, &mut callers[0], 3).await, [200; 3]);
    assert_eq!(statuses(&[both[1]], &mut callers[1], 2).await, [200, 429]);
    assert_eq!(statuses(&both, &mut callers[0], 2).await, [429; 2]);
    assert_eq!(statuses(&both, &mut callers[2], BURST + 1).await, [200, 200, 200, 200, 429]);
}

/// Certificates are counted with the store and without: together while it is there, and by each replica for itself when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_each_replica_counts_for_itself() {
    let mut server = Server::start(&[]);
    let houses = two(&server).await;
    caller(&houses, "one", "/by-key").await;
    let both = [&houses[0], &houses[1]];
    let with = |certificate| {
        let mut scene = Scene::with_certificate(&houses[0]);
        scene.token_claims["cnf"] = json!({"x5t#S256": thumbprint(&houses[0], certificate)});
        scene.certificate = Some(certificate);
        scene.go_to("/by-key");
        scene
    };
    assert_eq!(statuses(&both, &mut with(1), BURST + 2).await, [200, 200, 200, 200, 429, 429]);
    server.kill();
    let mut scene = with(0);
    for house in both {
        assert_eq!(statuses(&[house], &mut scene, BURST + 2).await, [200, 200, 200, 200, 429, 429]);
        let metrics = house.ask_admin("/metrics").await.1;
        assert!(metrics.contains("holdfast_replay_store_uncounted_total 4\n"), "{metrics}");
    }
}

/// Who goes on beyond his allowance spends no more of the store's room than who keeps to it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_an_allowance_take_no_room() {
    let server = Server::start(&[]);
    let houses = two(&server).await;
    for path in ["/by-key", "/by-client"] {
        let mut scene = caller(&houses, path, path).await;
        let held = || server.holds().iter().filter(|held| held.hash().is_some()).count();
        let before = held();
        let answers = statuses(&[&houses[0], &houses[1]], &mut scene, 40).await;
        assert!(answers[..4] == [200; 4] && answers[4..] == [429; 36], "{answers:?}");
        // The claims that passed, one at each replica that found out that there is nothing left, and the count.
        let more = held() - before;
        assert!(more <= BURST + 3, "{path}: {more}");
    }
}
