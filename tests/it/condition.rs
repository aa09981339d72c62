//! Conditions in CEL, over the token and the request (`require.cel`).

use std::collections::HashSet;

use holdfast::verify::rejection::Rejection::{self, ConditionRefused};
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::table::{Heard::Passed, Heard::Refused, hear};

const ROUTES: &str = "  - { name: claims, match: { path_prefix: /claims }, upstream: echo, require: { cel: 'claims.tier >= 2 && \"staff\" in claims.groups' } }
  - { name: known, match: { path_prefix: /known }, upstream: echo, require: { cel: 'claims.iss.startsWith(\"http\") && claims.aud.size() > 0 && claims.exp > now && \"accounts:read\" in scopes && has(claims.jti) && !has(claims.cnf)' } }
  - { name: request, match: { path_prefix: /request }, upstream: echo, require: { cel: 'request.method == \"GET\" && request.path == \"/request/\" + claims.sub && request.query == \"a=1\"' } }
  - { name: headers, match: { path_prefix: /headers }, upstream: echo, require: { cel: '!(\"x-debug\" in request.headers) && !(\"authorization\" in request.headers) && !(\"dpop\" in request.headers)' } }
  - { name: number, match: { path_prefix: /number }, upstream: echo, require: { cel: 'claims.n' } }
";

/// For `refusals.rs`: what no other setting refuses with.
pub async fn every_refusal(heard: &mut HashSet<Rejection>) {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    hear(
        &house,
        &Scene::at(&house, "/claims"),
        "nothing that the condition asks for",
        Refused(ConditionRefused),
    )
    .await;
    heard.insert(ConditionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_true_or_the_request_is_refused() {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    for (claims, passes) in [
        (json!({"tier": 2, "groups": ["all", "staff"]}), true),
        (json!({"tier": 2.5, "groups": ["staff"]}), true),
        (json!({"tier": 1, "groups": ["staff"]}), false),
        (json!({"tier": 2, "groups": ["Staff"]}), false),
        // Neither an error nor another type is `true`.
        (json!({"tier": 2}), false),
        (json!({"tier": "2", "groups": ["staff"]}), false),
        (json!({"tier": 2, "groups": "staff"}), false),
        (json!({"tier": null, "groups": ["staff"]}), false),
    ] {
        let mut scene = Scene::at(&house, "/claims");
        for (name, value) in claims.as_object().expect("an object") {
            scene.token_claims[name] = value.clone();
        }
        let expected = if passes { Passed } else { Refused(ConditionRefused) };
        hear(&house, &scene, &claims.to_string(), expected).await;
    }
    hear(&house, &Scene::at(&house, "/known"), "known claims", Passed).await;
    for value in [json!(1), json!("true"), json!([true]), json!({"true": true})] {
        let mut scene = Scene::at(&house, "/number");
        scene.token_claims["n"] = value.clone();
        hear(&house, &scene, &format!("{value} is not true"), Refused(ConditionRefused)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_sees_the_request_that_is_forwarded() {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    for (target, passes) in [
        ("/request/user?a=1", true),
        // Normalised as the upstream gets it.
        ("/request/%75ser?a=1", true),
        ("/request/user?a=2", false),
        ("/request/other?a=1", false),
        ("/request/user", false),
    ] {
        let mut scene = Scene::at(&house, target);
        scene.token_claims["sub"] = json!("user");
        let expected = if passes { Passed } else { Refused(ConditionRefused) };
        hear(&house, &scene, target, expected).await;
    }
    hear(&house, &Scene::at(&house, "/headers"), "no such header", Passed).await;
    // What is no ASCII is there as well.
    for (name, line) in [("X-Debug", "1"), ("x-debug", ""), ("X-DEBUG", "\u{e9}")] {
        let mut scene = Scene::at(&house, "/headers");
        scene.headers.push((name.into(), line.into()));
        hear(&house, &scene, name, Refused(ConditionRefused)).await;
    }
}
