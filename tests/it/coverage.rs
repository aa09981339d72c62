//! `GET /report`: who presents what, by route and client, and which route can be enforced.

use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::report_only::unbound;
use crate::scene::{Scene, thumbprint};

const ROUTES: &str =
    "  - { name: old, match: { path_prefix: /old }, upstream: echo, enforcement: report-only }\n";
const DAY: i64 = 86_400;

async fn house() -> House {
    let issuer = "    keys: { jwks_file: issuer.jwks.json }\n    required_claims: [sub]\n";
    House::built(Plan { routes: ROUTES, issuer, reloads: true, ..Plan::default() }).await
}

/// What the report says of a route.
async fn route(house: &House, query: &str, name: &str) -> Value {
    let (status, text) = house.ask_admin(&format!("/report{query}")).await;
    assert_eq!(status, 200, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(report["at"], house.now());
    let routes = report["routes"].as_array().expect("routes");
    let found = routes.iter().find(|route| route["route"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {text}")).clone()
}

/// Sends as this client; `unbound` without a binding.
async fn send(house: &House, path: &str, client: Option<&str>, change: fn(&mut Scene, &House)) -> u16 {
    let mut scene = Scene::at(house, path);
    match client {
        Some(client) => scene.token_claims["client_id"] = json!(client),
        None => drop(scene.token_claims.as_object_mut().expect("an object").remove("client_id")),
    }
    change(&mut scene, house);
    scene.send(house).await.status
}

fn with_certificate(s: &mut Scene, house: &House) {
    s.scheme = "Bearer".into();
    s.certificate = Some(0);
    s.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
}

fn with_both(s: &mut Scene, house: &House) {
    s.certificate = Some(0);
    s.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(house, 0));
}

fn as_it_is(_: &mut Scene, _: &House) {}

fn bearer(s: &mut Scene, _: &House) {
    unbound(s);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_and_client_by_what_was_presented() {
    let house = house().await;
    let begin = house.now();
    for (client, change) in [
        (Some("app"), as_it_is as fn(&mut Scene, &House)),
        (Some("app"), as_it_is),
        (Some("app"), with_certificate),
        (Some("app"), with_both),
        (Some("batch\u{1b}[2J"), bearer),
        (None, bearer),
    ] {
        assert_eq!(send(&house, "/old", client, change).await, 200);
    }
    house.pass_time(60);
    assert_eq!(send(&house, "/old", None, bearer).await, 200);
    // Refused otherwise, so not counted: nothing is known of who could bind.
    let wrong = |s: &mut Scene, _: &House| {
        unbound(s);
        s.token_claims["aud"] = json!("https://other.example");
    };
    assert_eq!(send(&house, "/old", Some("stranger"), wrong).await, 401);
    assert_eq!(send(&house, "/public/x", Some("app"), as_it_is).await, 200);
    let old = route(&house, "", "old").await;
    assert_eq!((&old["enforcement"], &old["since"]), (&json!("report-only"), &json!(begin)));
    for (member, value) in [
        ("total", json!(7)),
        ("bearer", json!(3)),
        ("dpop", json!(2)),
        ("mtls", json!(1)),
        ("both", json!(1)),
        ("refused", json!(0)),
        ("first_bearer", json!(begin)),
        ("last_bearer", json!(begin + 60)),
        ("last_bound", json!(begin)),
        ("last_refused", json!(null)),
        ("ready", json!(false)),
        ("verdict", json!("bearers")),
    ] {
        assert_eq!(old[member], value, "{member}: {old}");
    }
    assert!((old["share"]["bearer"].as_f64().expect("a number") - 3.0 / 7.0).abs() < 1e-9, "{old}");
    let clients: Vec<(Value, Value)> = old["clients"]
        .as_array()
        .expect("clients")
        .iter()
        .map(|client| (client["name"].clone(), client["total"].clone()))
        .collect();
    assert_eq!(
        clients,
        [
            (json!("nameless"), json!(2)),
            (json!({"client": "batch\u{1b}[2J"}), json!(1)),
            (json!({"client": "app"}), json!(4)),
        ],
        "the latest bearer first"
    );
    let reason = old["reason"].as_str().expect("a sentence");
    assert!(reason.contains("batch\\u{1b}[2J (1 request, the last 1m ago)"), "{reason}");
    // Where bearers are refused, that is counted.
    for _ in 0..2 {
        assert_eq!(send(&house, "/dpop", Some("batch"), bearer).await, 401);
    }
    let dpop = route(&house, "", "dpop").await;
    assert_eq!(
        (&dpop["verdict"], &dpop["refused"], &dpop["bearer"], &dpop["last_refused"]),
        (&json!("enforced"), &json!(2), &json!(0), &json!(house.now()))
    );
    let (_, text) = house.ask_admin("/report").await;
    assert!(!text.contains("\"public\""), "a public route asks for nothing: {text}");
    for query in ["?quiet=0s", "?quiet", "?quiet=7d&x=1", "?q=7d"] {
        assert_eq!(house.ask_admin(&format!("/report{query}")).await.0, 400, "{query}");
    }
}

/// A reload keeps what was counted; what makes the route another one begins its time anew.
#[tokio::test(flavor = "multi_thread")]
async fn ready_when_nobody_needs_it_any_more() {
    let house = house().await;
    let begin = house.now();
    let verdict = async |query: &str| route(&house, query, "old").await["verdict"].clone();
    assert_eq!(verdict("").await, "no_traffic");
    assert_eq!(send(&house, "/old", Some("app"), bearer).await, 200);
    assert_eq!(send(&house, "/old", Some("app"), as_it_is).await, 200);
    assert_eq!(verdict("").await, "bearers");
    house.pass_time(DAY);
    assert_eq!(verdict("?quiet=24h").await, "ready");
    assert_eq!(verdict("?quiet=86401s").await, "bearers");
    house.pass_time(6 * DAY);
    assert_eq!(route(&house, "", "old").await["ready"], true);
    // A reload that changes something else.
    let text = house.text();
    house.reload_with(&text.replace("name: public, match", "name: published, match")).await;
    let old = route(&house, "", "old").await;
    assert_eq!((&old["ready"], &old["total"], &old["since"]), (&json!(true), &json!(2), &json!(begin)));
    // More requests than before: what was counted stays, and the time begins anew.
    house.reload_with(&text.replace("path_prefix: /old ", "path_prefix: /older ")).await;
    let old = route(&house, "", "old").await;
    assert_eq!((&old["verdict"], &old["total"]), (&json!("no_traffic"), &json!(2)));
    assert_eq!((&old["since"], &old["watched_since"]), (&json!(begin), &json!(house.now())));
    // Enforced, and taken back: the time in which it was enforced is none in which bearers stayed away.
    house.reload_with(&text.replace(", enforcement: report-only", "")).await;
    assert_eq!(verdict("").await, "enforced");
    assert_eq!(send(&house, "/old", Some("app"), as_it_is).await, 200);
    house.pass_time(8 * DAY);
    house.reload_with(&text).await;
    assert_eq!(verdict("").await, "no_traffic");
    assert_eq!(send(&house, "/old", Some("app"), as_it_is).await, 200);
    assert_eq!(verdict("").await, "watched_too_short");
    assert_eq!(route(&house, "", "old").await["dpop"], 3);
}
