//! What routes ask of tokens beyond scopes: claims, clients, subjects, authorization details, and how the user logged in (R-C-11, R-H-22, R-H-23, T-JWT-29, T-JWT-30).

use holdfast::verify::rejection::Rejection::{
    AcrInsufficient, AuthenticationTooOld, ClaimRefused, ClientRefused, DetailsInsufficient,
    ScopeInsufficient, SubjectRefused,
};
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::table::{Heard, Heard::Passed, Heard::Refused, hear};

/// One route for each thing that can be asked, and one for several.
pub const ROUTES: &str = "  - { name: some-scope, match: { path_prefix: /some-scope }, upstream: echo, require: { any_scopes: [gold, silver] } }
  - { name: both-scopes, match: { path_prefix: /both-scopes }, upstream: echo, require: { scopes: [accounts:read], any_scopes: [gold, silver] } }
  - { name: client, match: { path_prefix: /client }, upstream: echo, require: { clients: [zulu, app, other] } }
  - { name: subject, match: { path_prefix: /subject }, upstream: echo, require: { subjects: [alice] } }
  - { name: text, match: { path_prefix: /text }, upstream: echo, require: { claims: [{ claim: a, equals: x }] } }
  - { name: number, match: { path_prefix: /number }, upstream: echo, require: { claims: [{ claim: a, one_of: [1, 2.5, -3] }] } }
  - { name: truth, match: { path_prefix: /truth }, upstream: echo, require: { claims: [{ claim: a, equals: true }] } }
  - { name: pattern, match: { path_prefix: /pattern }, upstream: echo, require: { claims: [{ claim: a, matches: 'x+|yz' }] } }
  - { name: nested, match: { path_prefix: /nested }, upstream: echo, require: { claims: [{ claim: /a/b, one_of: [x, y] }, { claim: \"https://c.example/d\", equals: \"1\" }] } }
  - { name: details, match: { path_prefix: /details }, upstream: echo, require: { authorization_details: [pay, read] } }
  - { name: acr, match: { path_prefix: /acr }, upstream: echo, require: { acr: [gold, silver] } }
  - { name: age, match: { path_prefix: /age }, upstream: echo, require: { max_age: 5m } }
  - { name: step-up, match: { path_prefix: /step-up }, upstream: echo, require: { acr: [gold, silver], max_age: 1h, scopes: [accounts:read] } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// Sends the right token with these claims changed, `null` for absent.
async fn with(house: &House, path: &str, claims: &Value, expected: Heard) -> crate::wire::Answer {
    let mut scene = Scene::at(house, path);
    for (name, value) in claims.as_object().expect("an object") {
        if value == "absent" {
            scene.token_claims.as_object_mut().expect("an object").remove(name);
        } else {
            scene.token_claims[name] = value.clone();
        }
    }
    hear(house, &scene, &format!("{path} {claims}"), expected).await
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_what_the_route_asks_for() {
    let house = house().await;
    let rows = [
        ("/text", json!("x"), true),
        ("/text", json!(["w", "x"]), true),
        ("/text", json!("X"), false),
        ("/text", json!("x "), false),
        ("/text", json!("w x"), false),
        ("/text", json!([["x"]]), false),
        ("/text", json!({"x": "x"}), false),
        ("/text", json!(null), false),
        ("/text", json!([]), false),
        ("/number", json!(1), true),
        ("/number", json!(1.0), true),
        ("/number", json!(-3), true),
        ("/number", json!([7, 2.5]), true),
        ("/number", json!("1"), false),
        ("/number", json!(true), false),
        ("/number", json!(10), false),
        ("/truth", json!(true), true),
        ("/truth", json!(false), false),
        ("/truth", json!("true"), false),
        ("/truth", json!(1), false),
        ("/pattern", json!("xxx"), true),
        ("/pattern", json!(["no", "yz"]), true),
        ("/pattern", json!("xxxz"), false),
        ("/pattern", json!("ayz"), false),
        ("/pattern", json!("x\n"), false),
        ("/pattern", json!(""), false),
        ("/pattern", json!(7), false),
    ];
    for (path, value, passes) in rows {
        let expected = if passes { Passed } else { Refused(ClaimRefused) };
        with(&house, path, &json!({ "a": value }), expected).await;
    }
    with(&house, "/text", &json!({}), Refused(ClaimRefused)).await;
    for (a, d, passes) in [
        (json!({"b": "y"}), json!("1"), true),
        (json!({"b": ["z", "x"]}), json!("1"), true),
        (json!({"b": "y"}), json!(1), false),
        (json!({"b": "z"}), json!("1"), false),
        (json!("x"), json!("1"), false),
        (json!([{"b": "x"}]), json!("1"), false),
        (json!({"b": {"x": "x"}}), json!("1"), false),
    ] {
        let claims = json!({"a": a, "https://c.example/d": d});
        with(&house, "/nested", &claims, if passes { Passed } else { Refused(ClaimRefused) }).await;
    }
    // A claim of the same name at another depth is another claim.
    with(&house, "/nested", &json!({"/a/b": "x", "https://c.example/d": "1"}), Refused(ClaimRefused)).await;
}

/// Repeated from the cache, a token is judged by the route at hand and not by the one it came to first.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_the_cache_is_judged_as_a_new_one() {
    let house = house().await;
    let mut scene = Scene::at(&house, "/text");
    scene.token_claims["a"] = json!("x");
    let token = scene.token(&house);
    for (path, expected) in [
        ("/text/1", Passed),
        ("/number", Refused(ClaimRefused)),
        ("/text/2", Passed),
        ("/truth", Refused(ClaimRefused)),
    ] {
        let mut again = Scene::at(&house, path);
        again.key = holdfast::caller::key::DpopKey::from_pem(&scene.key.to_pkcs8_pem()).expect("its own PEM");
        again.proof_header = scene.proof_header.clone();
        let token = token.clone();
        again.edit_token = Box::new(move |_| token.clone());
        hear(&house, &again, path, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_clients_subjects_and_details() {
    let house = house().await;
    let detail = |kind: Value| json!({"type": kind, "locations": ["https://api.example.com"]});
    let rows = [
        ("/some-scope", json!({"scope": "x silver"}), Passed),
        ("/some-scope", json!({"scope": "silverware golden"}), Refused(ScopeInsufficient)),
        ("/some-scope", json!({"scope": "absent"}), Refused(ScopeInsufficient)),
        ("/both-scopes", json!({"scope": "gold accounts:read"}), Passed),
        ("/both-scopes", json!({"scope": "gold silver"}), Refused(ScopeInsufficient)),
        ("/both-scopes", json!({"scope": "accounts:read"}), Refused(ScopeInsufficient)),
        ("/client", json!({}), Passed),
        ("/client", json!({"client_id": "zulu"}), Passed),
        ("/client", json!({"client_id": "ap"}), Refused(ClientRefused)),
        ("/client", json!({"client_id": "App"}), Refused(ClientRefused)),
        ("/subject", json!({}), Passed),
        ("/subject", json!({"sub": "mallory"}), Refused(SubjectRefused)),
        (
            "/details",
            json!({"authorization_details": [detail(json!("read")), detail(json!("x")), detail(json!("pay"))]}),
            Passed,
        ),
        ("/details", json!({"authorization_details": [detail(json!("pay"))]}), Refused(DetailsInsufficient)),
        ("/details", json!({"authorization_details": detail(json!("pay"))}), Refused(DetailsInsufficient)),
        ("/details", json!({"authorization_details": ["pay", "read"]}), Refused(DetailsInsufficient)),
        (
            "/details",
            json!({"authorization_details": [detail(json!(["pay", "read"]))]}),
            Refused(DetailsInsufficient),
        ),
        ("/details", json!({}), Refused(DetailsInsufficient)),
    ];
    for (path, claims, expected) in rows {
        let answer = with(&house, path, &claims, expected).await;
        match expected {
            Refused(ScopeInsufficient) => {
                let scope = if path == "/some-scope" { "gold silver" } else { "accounts:read gold silver" };
                let line = answer.all("www-authenticate")[0];
                assert!(line.contains(&format!(", scope=\"{scope}\"")), "{line}");
            }
            Refused(DetailsInsufficient) => {
                let line = answer.all("www-authenticate")[0];
                assert!(line.contains("error=\"insufficient_authorization_details\""), "{line}");
            }
            Refused(_) | Passed | Heard::Unread(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn step_up() {
    let house = house().await;
    let now = house.now();
    let rows = [
        ("/acr", json!({"acr": "silver"}), Passed),
        ("/acr", json!({"acr": "bronze"}), Refused(AcrInsufficient)),
        ("/acr", json!({"acr": "gold silver"}), Refused(AcrInsufficient)),
        ("/acr", json!({"acr": ["gold"]}), Refused(AcrInsufficient)),
        ("/acr", json!({"acr": 1}), Refused(AcrInsufficient)),
        ("/acr", json!({}), Refused(AcrInsufficient)),
        // The house's issuer may be five seconds off.
        ("/age", json!({"auth_time": now - 305}), Passed),
        ("/age", json!({"auth_time": now - 306}), Refused(AuthenticationTooOld)),
        ("/age", json!({"auth_time": now + 65}), Passed),
        ("/age", json!({"auth_time": now + 66}), Refused(AuthenticationTooOld)),
        ("/age", json!({"auth_time": now * 1000}), Refused(AuthenticationTooOld)),
        ("/age", json!({"auth_time": now.to_string()}), Refused(AuthenticationTooOld)),
        ("/age", json!({"auth_time": -1}), Refused(AuthenticationTooOld)),
        ("/age", json!({}), Refused(AuthenticationTooOld)),
        ("/step-up", json!({"acr": "gold", "auth_time": now - 3600}), Passed),
        // What a new token can mend comes before what needs a new login.
        ("/step-up", json!({"scope": "none"}), Refused(ScopeInsufficient)),
    ];
    for (path, claims, expected) in rows {
        with(&house, path, &claims, expected).await;
    }
    // RFC 9470 §3: one challenge has all that is asked for, whichever of it is missing.
    for claims in
        [json!({"acr": "bronze", "auth_time": now}), json!({"acr": "gold", "auth_time": now - 4000})]
    {
        let refused = if claims["acr"] == "gold" { AuthenticationTooOld } else { AcrInsufficient };
        let answer = with(&house, "/step-up", &claims, Refused(refused)).await;
        let [dpop, bearer] = answer.all("www-authenticate")[..] else { panic!("two challenges") };
        assert!(dpop.starts_with("DPoP error=\"insufficient_user_authentication\", error_description=\""));
        assert!(dpop.contains(", acr_values=\"gold silver\", max_age=\"3600\", algs=\""), "{dpop}");
        assert_eq!(bearer, "Bearer");
    }
    // The proof is not spent by such a refusal: the clock alone changes the verdict.
    let mut scene = Scene::at(&house, "/age");
    scene.token_claims["auth_time"] = json!(now + 67);
    let bytes = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 401);
    house.pass_time(5);
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 200);
}
