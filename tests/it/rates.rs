//! Limits by client, key and address: what is counted, what a refusal costs, and what every answer says (429 and RateLimit).
//!
//! The rates are so slow that no allowance grows while a test runs; that they grow is held beside the limiter, with a clock that is set.

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{RateExceeded, ScopeInsufficient};
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::table::{Heard::Passed, Heard::Refused, hear};

const ROUTES: &str = "  - { name: by-client, match: { path_prefix: /by-client }, upstream: echo, require: { scopes: [accounts:read] }, limits: { rate: 1/h, burst: 2, by: client } }
  - { name: by-key, match: { path_prefix: /by-key }, upstream: echo, limits: { rate: 1/h, burst: 2, by: key } }
  - { name: by-address, match: { path_prefix: /by-address }, upstream: echo, public: true, limits: { rate: 2/h, burst: 3, by: address } }
  - { name: by-address-too, match: { path_prefix: /address-too }, upstream: echo, limits: { rate: 2/h, burst: 3, by: address } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, reloads: true, ..Plan::default() }).await
}

/// A right scene of this client.
fn of(house: &House, path: &str, client: &str) -> Scene {
    let mut scene = Scene::at(house, path);
    scene.token_claims["client_id"] = json!(client);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_have_their_own_allowance() {
    let house = house().await;
    let first = hear(&house, &of(&house, "/by-client", "one"), "the first", Passed).await;
    assert_eq!(first.one("ratelimit-policy"), "\"client\";q=2;w=7200");
    assert_eq!(first.one("ratelimit"), "\"client\";r=1;t=3600");
    // What is refused for another reason is not counted.
    let mut lacking = of(&house, "/by-client", "one");
    lacking.token_claims["scope"] = json!("other");
    hear(&house, &lacking, "without the scope", Refused(ScopeInsufficient)).await;
    let mut stolen = of(&house, "/by-client", "one");
    stolen.key = DpopKey::generate().expect("a key");
    assert_eq!(stolen.send(&house).await.status, 401, "a thief cannot spend it");
    hear(&house, &of(&house, "/by-client/x", "one"), "the second, with another key", Passed).await;
    // The third is one too many, for the whole client, and its proof is not spent by the refusal.
    let third = of(&house, "/by-client", "one");
    for again in 0..3 {
        let bytes = third.bytes(&house);
        let answer = third.send_bytes(&house, &bytes).await;
        assert_eq!((answer.status, answer.reason().as_str()), (429, RateExceeded.label()), "{again}");
        let wait: u64 = answer.one("retry-after").parse().expect("seconds");
        assert!((3500..=3600).contains(&wait), "{wait}");
        assert_eq!(answer.one("ratelimit"), format!("\"client\";r=0;t={wait}"));
        assert_eq!(answer.one("ratelimit-policy"), "\"client\";q=2;w=7200");
    }
    house.seen();
    hear(&house, &of(&house, "/by-client", "two"), "another client", Passed).await;
    hear(&house, &of(&house, "/by-key", "one"), "another route", Passed).await;
    // A reload that changes something else does not make anyone's allowance whole.
    house.reload_with(&house.text().replace("name: public, match", "name: published, match")).await;
    hear(&house, &of(&house, "/by-client", "one"), "after a reload", Refused(RateExceeded)).await;
    // One that changes the limit does.
    house.reload_with(&house.text().replace("1/h, burst: 2, by: client", "1/h, burst: 3, by: client")).await;
    hear(&house, &of(&house, "/by-client", "one"), "after another limit", Passed).await;
}

/// Whoever has recorded a request, token and proof, spends nothing with it, however often it is sent: it is refused before it is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_spends_nothing() {
    let house = house().await;
    for path in ["/by-client", "/by-key"] {
        let scene = of(&house, path, "one");
        let recorded = scene.bytes(&house);
        assert_eq!(scene.send_bytes(&house, &recorded).await.status, 200);
        for _ in 0..3 {
            let answer = scene.send_bytes(&house, &recorded).await;
            assert_eq!((answer.status, answer.reason().as_str()), (401, "proof_replayed"), "{path}");
        }
        house.seen();
        let mut own = of(&house, path, "one");
        own.key = DpopKey::from_pem(&scene.key.to_pkcs8_pem()).expect("its own PEM");
        (own.proof_header, own.token_claims) = (scene.proof_header.clone(), scene.token_claims.clone());
        let answer = hear(&house, &own, "the second of two", Passed).await;
        assert!(answer.one("ratelimit").contains(";r=0;"), "{answer:?}");
    }
}

/// A client is one of an issuer: another issuer may have one of the same name, and neither spends the other's allowance.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_issuers() {
    let other = DpopKey::generate().expect("a key");
    let files = vec![("other.json", format!("{{\"keys\":[{}]}}", other.public_jwk()))];
    const RULES: &str = "  - { issuer: https://other.example.com, audiences: [https://api.example.com], algorithms: [ES256], keys: { jwks_file: other.json } }
replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }
";
    let house = House::built(Plan { routes: ROUTES, rules: RULES, files, ..Plan::default() }).await;
    let theirs = || {
        let mut scene = of(&house, "/by-client", "one");
        scene.token_claims["iss"] = json!("https://other.example.com");
        scene.token_header = json!({"typ": "at+jwt", "alg": "ES256"});
        let token = other.sign_compact(&scene.token_header.to_string(), &scene.token_claims.to_string());
        scene.edit_token = Box::new(move |_| token.clone());
        scene
    };
    for expected in [Passed, Passed, Refused(RateExceeded)] {
        hear(&house, &of(&house, "/by-client", "one"), "the one issuer's", expected).await;
    }
    for expected in [Passed, Passed, Refused(RateExceeded)] {
        hear(&house, &theirs(), "the other's", expected).await;
    }
}

/// Whoever has an IPv6 address has 2^64 of them; an IPv4 address is the same however it is written.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_one_neighbourhood_share_an_allowance() {
    const BEHIND: &str = "    trusted_proxies: [127.0.0.1/32]
    tls:
      certificates: [{ chain: server.pem, key: server.key }]
";
    let house = House::built(Plan { listener: BEHIND, routes: ROUTES, ..Plan::default() }).await;
    let from = async |address: &str| {
        let mut scene = Scene::at(&house, "/by-address");
        scene.credentials = Some(Vec::new());
        scene.headers.push(("x-forwarded-for".to_owned(), address.to_owned()));
        scene.send(&house).await.status
    };
    for [first, second, third, fourth, other] in [
        [
            "2001:db8:1:2::1",
            "2001:db8:1:2:ffff::",
            "2001:db8:1:2:1:2:3:4",
            "2001:db8:1:2::5",
            "2001:db8:1:3::1",
        ],
        ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:c000:201", "192.0.2.2"],
    ] {
        for within in [first, second, third] {
            assert_eq!(from(within).await, 200, "{within}");
        }
        assert_eq!(from(fourth).await, 429, "{fourth}");
        assert_eq!(from(other).await, 200, "{other}");
    }
}

/// A proof that met a spent allowance passes once there is room: here the operator makes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_does_not_spend_the_proof() {
    let house = house().await;
    for _ in 0..2 {
        hear(&house, &of(&house, "/by-client", "one"), "within", Passed).await;
    }
    let scene = of(&house, "/by-client", "one");
    let bytes = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 429);
    house.reload_with(&house.text().replace("1/h, burst: 2, by: client", "1/h, burst: 9, by: client")).await;
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 200);
    assert_eq!(scene.send_bytes(&house, &bytes).await.reason(), "proof_replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_have_their_own_allowance() {
    let house = house().await;
    let key = DpopKey::generate().expect("a key");
    let pem = key.to_pkcs8_pem();
    let with_key = || {
        let mut scene = Scene::at(&house, "/by-key");
        scene.key = DpopKey::from_pem(&pem).expect("its own PEM");
        scene.proof_header["jwk"] = serde_json::from_str(&key.public_jwk()).expect("a JWK");
        scene.token_claims["cnf"] = json!({"jkt": key.thumbprint().to_base64url()});
        scene
    };
    for expected in [Passed, Passed, Refused(RateExceeded)] {
        hear(&house, &with_key(), "one key", expected).await;
    }
    hear(&house, &Scene::at(&house, "/by-key"), "another key", Passed).await;
    let with_certificate = || {
        let mut scene = Scene::with_certificate(&house);
        scene.target = "/by-key".into();
        scene
    };
    for expected in [Passed, Passed, Refused(RateExceeded)] {
        hear(&house, &with_certificate(), "one certificate", expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_counted_before_anything_else() {
    let house = house().await;
    for (path, status) in [("/by-address", 200), ("/address-too", 401)] {
        let mut scene = Scene::at(&house, path);
        scene.credentials = Some(Vec::new());
        for left in [2, 1, 0] {
            let answer = scene.send(&house).await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.one("ratelimit").starts_with(&format!("\"address\";r={left};t=")), "{answer:?}");
        }
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (429, RateExceeded.label()), "{path}");
        assert!(answer.all("www-authenticate").is_empty());
    }
    assert_eq!(house.seen().len(), 3);
    let (_, numbers) = house.ask_admin("/metrics").await;
    assert!(numbers.contains("holdfast_rate_limited_remembered 2\n"), "{numbers}");
    assert!(numbers.contains("route=\"by-address\",outcome=\"rate_exceeded\"} 1"), "{numbers}");
}
