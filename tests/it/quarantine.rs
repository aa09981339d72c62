//! Shutting a key or a client out by an admin call: what is refused, what is not, and that it outlives a reload.

use holdfast::verify::rejection::Rejection::Quarantined;
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::table::{Heard::Passed, Heard::Refused, hear};

/// Sends a body to `/quarantine`.
async fn send(house: &House, method: &str, body: &str, more: &str) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "{method} /quarantine HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n"
    );
    house.exchange_with_admin(&(head + body)).await
}

/// `POST /quarantine`
pub async fn shut(house: &House, body: &str) -> (u16, String) {
    send(house, "POST", body, "").await
}

fn entries(said: &str) -> Value {
    serde_json::from_str::<Value>(said).unwrap_or_else(|error| panic!("{error}: {said}"))["quarantine"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_keys_are_shut_out_and_let_back_in() {
    let house = House::built(Plan { reloads: true, ..Plan::default() }).await;
    let scene = Scene::right(&house);
    let key = scene.key.thumbprint().to_base64url();
    let again = |house: &House| {
        let mut again = Scene::right(house);
        again.key = holdfast::caller::key::DpopKey::from_pem(&scene.key.to_pkcs8_pem()).expect("its own PEM");
        again.proof_header = scene.proof_header.clone();
        again.token_claims["cnf"] = scene.token_claims["cnf"].clone();
        again
    };
    hear(&house, &scene, "before", Passed).await;
    let (status, said) = shut(&house, &json!({"key": key, "for": "1h"}).to_string()).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(entries(&said), json!([{"key": key, "until": house.now() + 3600}]));
    hear(&house, &again(&house), "the key", Refused(Quarantined)).await;
    hear(&house, &Scene::right(&house), "another key of the same client", Passed).await;
    // A token from the cache is no way round, and neither is a reload.
    hear(&house, &again(&house), "the key again", Refused(Quarantined)).await;
    house.reload_with(&house.text().replace("name: public, match", "name: published, match")).await;
    hear(&house, &again(&house), "after a reload", Refused(Quarantined)).await;
    let (_, numbers) = house.ask_admin("/metrics").await;
    assert!(numbers.contains("holdfast_quarantined 1\n"), "{numbers}");
    assert!(numbers.contains("route=\"any\",outcome=\"quarantined\"} 3"), "{numbers}");
    assert_eq!(send(&house, "DELETE", &json!({"key": key}).to_string(), "").await.0, 200);
    hear(&house, &again(&house), "let back in", Passed).await;

    // A certificate's thumbprint is a key too, also beside a DPoP key.
    let certificate = thumbprint(&house, 0);
    assert_eq!(shut(&house, &json!({"key": certificate, "for": "10s"}).to_string()).await.0, 200);
    hear(&house, &Scene::with_certificate(&house), "the certificate", Refused(Quarantined)).await;
    let mut both = Scene::right(&house);
    both.certificate = Some(0);
    both.token_claims["cnf"]["x5t#S256"] = json!(certificate);
    hear(&house, &both, "both", Refused(Quarantined)).await;
    let mut by_key = Scene::right(&house);
    by_key.certificate = Some(1);
    by_key.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&house, 1));
    let key = by_key.key.thumbprint().to_base64url();
    hear(&house, &by_key, "both, of another certificate", Passed).await;
    assert_eq!(shut(&house, &json!({"key": key, "for": "10s"}).to_string()).await.0, 200);
    by_key.proof_claims["jti"] = json!("another");
    hear(&house, &by_key, "both, by its key", Refused(Quarantined)).await;
    // It ends by itself.
    house.pass_time(9);
    hear(&house, &Scene::with_certificate(&house), "a second before", Refused(Quarantined)).await;
    house.pass_time(1);
    hear(&house, &Scene::with_certificate(&house), "in time", Passed).await;

    assert_eq!(shut(&house, "{\"client\": \"app\", \"for\": \"5m\"}").await.0, 200);
    hear(&house, &Scene::right(&house), "the client", Refused(Quarantined)).await;
    let mut other = Scene::right(&house);
    other.token_claims["client_id"] = json!("app2");
    hear(&house, &other, "another client", Passed).await;
    assert_eq!(entries(&house.ask_admin("/quarantine").await.1)[0]["client"], "app");
    let mut scene = Scene::right(&house);
    scene.go_to("/public");
    scene.credentials = Some(Vec::new());
    hear(&house, &scene, "a public route asks nobody who they are", Passed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_shuts_nobody_out() {
    let house = House::usual().await;
    for (method, body, status) in [
        ("POST", "", 400),
        ("POST", "{}", 400),
        ("POST", "{\"client\": \"app\"}", 400),
        ("POST", "{\"client\": \"app\", \"for\": \"0s\"}", 400),
        ("POST", "{\"client\": \"app\", \"for\": \"2years\"}", 400),
        ("POST", "{\"client\": \"app\", \"for\": \"soon\"}", 400),
        ("POST", "{\"client\": \"app\", \"for\": 60}", 400),
        ("POST", "{\"client\": \"\", \"for\": \"1h\"}", 400),
        ("POST", "{\"client\": \"app\", \"key\": \"x\", \"for\": \"1h\"}", 400),
        ("POST", "{\"client\": \"app\", \"for\": \"1h\", \"more\": 1}", 400),
        ("POST", "{\"key\": \"abc\", \"for\": \"1h\"}", 400),
        ("DELETE", "{\"client\": \"app\"}", 404),
        ("DELETE", "{\"client\": \"app\", \"for\": \"1h\"}", 400),
        ("PUT", "{\"client\": \"app\", \"for\": \"1h\"}", 405),
    ] {
        assert_eq!(send(&house, method, body, "").await.0, status, "{method} {body}");
    }
    let long = format!("{{\"client\": \"{}\", \"for\": \"1h\"}}", "x".repeat(5000));
    assert_eq!(shut(&house, &long).await.0, 400);
    let page = "origin: https://evil.example\r\n";
    assert_eq!(send(&house, "POST", "{\"client\": \"app\", \"for\": \"1h\"}", page).await.0, 403);
    assert_eq!(entries(&house.ask_admin("/quarantine").await.1), json!([]));
    assert!(
        crate::table::hear(&house, &Scene::right(&house), "nobody is shut out", Passed).await.status == 200
    );
}
