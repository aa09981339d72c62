//! A proof that was used before a reload never passes after it, whatever the new rules are.

use serde_json::{Value, json};

use super::{ASKED, house};
use crate::house::{House, NONCE_KEY, OTHER_NONCE_KEY};
use crate::scene::Scene;

/// The configuration with these rules for proofs.
fn with_rules(text: &str, rules: &str) -> String {
    format!("{text}dpop: {{ {rules} }}\n")
}

/// A proof for `/dpop` that was made so many seconds ago, as bytes to be sent as often as one likes.
fn proof(house: &House, age: i64, nonce: Option<&str>) -> Vec<u8> {
    let mut scene = Scene::at(house, "/dpop");
    scene.proof_claims["iat"] = json!(house.now() - age);
    if let Some(nonce) = nonce {
        scene.proof_claims["nonce"] = json!(nonce);
    }
    scene.bytes(house)
}

/// What it ends with: `200`, or the reason.
async fn sent(house: &House, bytes: &[u8]) -> String {
    let answer = Scene::right(house).send_bytes(house, bytes).await;
    if answer.status == 200 { "200".to_owned() } else { answer.reason() }
}

/// A longer `max_age`: what was forgotten before the reload stays too old, what was not is remembered for as long as it could pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_max_age_lets_nothing_pass_again() {
    let house = house(ASKED).await;
    let text = house.text();
    house.reload_with(&with_rules(&text, "max_age: 10s")).await;
    let forgotten = proof(&house, 0, None);
    assert_eq!(sent(&house, &forgotten).await, "200");
    house.pass_time(20);
    // The sweep and these claims forget it.
    for _ in 0..200 {
        let other = proof(&house, 0, None);
        assert_eq!(sent(&house, &other).await, "200");
    }
    let remembered = proof(&house, 5, None);
    let on_its_way = proof(&house, 5, None);
    assert_eq!(sent(&house, &remembered).await, "200");
    house.reload_with(&with_rules(&text, "max_age: 5m")).await;
    assert_eq!(sent(&house, &forgotten).await, "proof_too_old");
    assert_eq!(sent(&house, &on_its_way).await, "200", "made before the reload and not used");
    for _ in 0..29 {
        house.pass_time(10);
        for _ in 0..20 {
            assert_eq!(sent(&house, &proof(&house, 0, None)).await, "200");
        }
        assert_eq!(sent(&house, &remembered).await, "proof_replayed");
    }
    house.pass_time(10);
    assert_eq!(sent(&house, &remembered).await, "proof_too_old");
}

/// The nonce that a route hands out to the holder of a key.
async fn nonce_for(house: &House, scene: &Scene) -> String {
    scene.send(house).await.one("dpop-nonce").to_owned()
}

/// A route begins to ask for nonces: a nonce from before, which a proof may have held that was used without it, is stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_from_before_is_stale() {
    let house = house(ASKED).await;
    let text = house.text();
    let asks = text.replace("require: { binding: dpop }", "require: { binding: dpop, nonce: required }");
    house.write("nonce-keys", NONCE_KEY);
    let asks = with_rules(&asks, "nonce_keys: { file: nonce-keys }");
    house.reload_with(&asks).await;
    let mut scene = Scene::at(&house, "/dpop");
    scene.proof_claims["nonce"] = json!(nonce_for(&house, &scene).await);
    let used = scene.bytes(&house);
    house.reload_with(&text).await;
    // Here it is spent, and remembered for as long as `max_age` and no longer.
    assert_eq!(sent(&house, &used).await, "200");
    house.pass_time(80);
    for _ in 0..200 {
        assert_eq!(sent(&house, &proof(&house, 0, None)).await, "200");
    }
    house.reload_with(&asks).await;
    assert_eq!(sent(&house, &used).await, "nonce_stale");
    // A new one is good at once.
    let mut scene = Scene::at(&house, "/dpop");
    scene.proof_claims["nonce"] = json!(nonce_for(&house, &scene).await);
    assert_eq!(scene.send(&house).await.status, 200);
    let again = scene.bytes(&house);
    // Longer lives: the same.
    house.reload_with(&asks.replace("nonce_keys:", "nonce_lifetime: 1h, nonce_keys:")).await;
    assert_eq!(sent(&house, &again).await, "nonce_stale");
}

/// A route stops asking for nonces: a proof dated ahead, which was spent with one, does not pass when its time comes.
#[tokio::test(flavor = "multi_thread")]
async fn without_nonces_a_proof_dated_ahead_stays_used() {
    let house = house(ASKED).await;
    let text = house.text();
    let asks = text.replace("require: { binding: dpop }", "require: { binding: dpop, nonce: required }");
    house.reload_with(&with_rules(&asks, "nonce_lifetime: 10s")).await;
    let mut scene = Scene::at(&house, "/dpop");
    scene.proof_claims["nonce"] = json!(nonce_for(&house, &scene).await);
    scene.proof_claims["iat"] = json!(house.now() + 100);
    scene.token_claims["exp"] = json!(house.now() + 3600);
    let used = scene.bytes(&house);
    assert_eq!(sent(&house, &used).await, "200");
    house.reload_with(&text).await;
    house.pass_time(100);
    for _ in 0..200 {
        assert_eq!(sent(&house, &proof(&house, 0, None)).await, "200");
    }
    assert_eq!(sent(&house, &used).await, "proof_replayed");
}

/// Keys for nonces change: those of the old key open where it is listed, and are stale where it is not.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_nonces() {
    let house = house(ASKED).await;
    house.write("nonce-keys", NONCE_KEY);
    let text =
        house.text().replace("require: { binding: dpop }", "require: { binding: dpop, nonce: required }");
    house.reload_with(&with_rules(&text, "nonce_keys: { file: nonce-keys }")).await;
    let mut scene = Scene::at(&house, "/dpop");
    scene.proof_claims["nonce"] = json!(nonce_for(&house, &scene).await);
    let both = [OTHER_NONCE_KEY, NONCE_KEY].concat();
    for (keys, outcome) in [(both.as_str(), "200"), (OTHER_NONCE_KEY, "nonce_stale")] {
        house.write("nonce-keys", keys);
        assert_eq!(house.post_reload().await.0, 200);
        scene.proof_claims["jti"] = Value::from(format!("for {outcome}"));
        assert_eq!(sent(&house, &scene.bytes(&house)).await, outcome);
    }
}
