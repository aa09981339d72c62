//! The gateway's own word for an upstream: it says what was proven, upstreams can verify it, and it is good for nothing else.

use holdfast::caller::key::DpopKey;
use josekit::jwk::{Jwk, JwkSet};
use josekit::jws::ES256;
use serde_json::{Value, json};

use crate::house::{HOST, House, ISSUER, Plan};
use crate::report_only::unbound;
use crate::scene::{Scene, thumbprint};

const SIGNER: &str = "https://gateway.example.com";
const AUDIENCE: &str = "https://accounts.internal";

const ROUTES: &str = "  - name: asserted
    match: { path_prefix: /asserted }
    upstream: echo
    forward: { identity: assertion, audience: https://accounts.internal, rewrite: { strip_prefix: /asserted, replace: /v1 } }
  - { name: old, match: { path_prefix: /old }, upstream: echo, enforcement: report-only, forward: { identity: assertion, audience: https://accounts.internal } }
";
const ASSERTIONS: &str = "assertions: { issuer: https://gateway.example.com, keys: { file: signer.pem } }\nreload: { watch: none }\n";

fn pem() -> String {
    DpopKey::generate().expect("a key").to_pkcs8_pem().to_string()
}

async fn house(keys: String) -> House {
    let files = vec![("signer.pem", keys)];
    House::built(Plan { routes: ROUTES, more: ASSERTIONS, reloads: true, files, ..Plan::default() }).await
}

/// The keys that are published.
async fn published(house: &House) -> JwkSet {
    let (status, text) = house.ask_admin("/jwks").await;
    assert_eq!(status, 200, "{text}");
    assert!(!text.contains("\"d\""), "{text}");
    JwkSet::from_bytes(text).expect("a JWK set")
}

/// Sends the request, and gives header and claims of the assertion that the upstream got, verified as an upstream would.
async fn asserted(house: &House, scene: &Scene) -> (Value, Value) {
    let answer = scene.send(house).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = house.seen().pop().expect("it arrived");
    let all: Vec<_> = seen.headers.get_all("x-auth-assertion").iter().collect();
    let [one] = all[..] else { panic!("{:?}", seen.headers) };
    assert!(!seen.headers.keys().any(|name| ["authorization", "dpop"].contains(&name.as_str())));
    let others = seen.headers.keys().filter(|name| name.as_str().starts_with("x-auth-")).count();
    assert_eq!(others, 1, "no other word of who is calling");
    let header = josekit::jws::JwsHeader::from_bytes(&decoded(one.as_bytes())).expect("a header");
    let keys = published(house).await;
    let key: &Jwk = keys.get(header.key_id().expect("a kid")).into_iter().next().expect("a key of that kid");
    let verifier = ES256.verifier_from_jwk(key).expect("a key for ES256");
    let (payload, header) =
        josekit::jwt::decode_with_verifier(one.as_bytes(), &verifier).expect("a good signature");
    (Value::Object(header.claims_set().clone()), Value::Object(payload.claims_set().clone()))
}

fn decoded(jwt: &[u8]) -> Vec<u8> {
    let header = jwt.split(|byte| *byte == b'.').next().expect("a part");
    holdfast::verify::jws::from_base64url(std::str::from_utf8(header).expect("ASCII")).expect("base64url")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_was_proven_and_for_which_request() {
    let house = house(pem()).await;
    let mut scene = Scene::at(&house, "/asserted/accounts?since=2026");
    scene.headers.push(("X-Auth-Assertion".into(), "eyJhbGciOiJub25lIn0.e30.".into()));
    scene.headers.push(("X_Auth_Assertion".into(), "forged".into()));
    let (header, claims) = asserted(&house, &scene).await;
    assert_eq!((&header["typ"], &header["alg"]), (&json!("holdfast-assertion+jwt"), &json!("ES256")));
    let now = house.now();
    let jkt = scene.token_claims["cnf"]["jkt"].clone();
    for (name, value) in [
        ("iss", json!(SIGNER)),
        ("aud", json!(AUDIENCE)),
        ("iat", json!(now)),
        ("exp", json!(now + 30)),
        ("sub", scene.token_claims["sub"].clone()),
        ("client_id", scene.token_claims["client_id"].clone()),
        ("scope", scene.token_claims["scope"].clone()),
        ("token_iss", json!(ISSUER)),
        ("cnf", json!({ "jkt": jkt })),
        ("htm", json!("GET")),
        ("htu", json!(format!("https://{HOST}/asserted/accounts"))),
        ("uri", json!("/v1/accounts?since=2026")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    let (_, again) = asserted(&house, &Scene::at(&house, "/asserted/accounts")).await;
    assert_ne!(claims["jti"], again["jti"]);
}

/// The certificate's thumbprint, where that is what binds.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_named_by_its_thumbprint() {
    let house = house(pem()).await;
    let mut scene = Scene::with_certificate(&house);
    scene.go_to("/asserted");
    let (_, claims) = asserted(&house, &scene).await;
    assert_eq!(claims["cnf"], json!({ "x5t#S256": thumbprint(&house, 0) }));
    assert_eq!((&claims["htu"], &claims["uri"]), (&json!(format!("https://{HOST}/asserted")), &json!("/v1")));
}

/// An upstream that looks for `cnf` sees that nobody has proven anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_is_asserted_without_a_confirmation() {
    let house = house(pem()).await;
    let mut scene = Scene::at(&house, "/old");
    unbound(&mut scene);
    let (_, claims) = asserted(&house, &scene).await;
    assert!(claims.get("cnf").is_none() && claims["sub"] == "alice", "{claims}");
    let (_, claims) = asserted(&house, &Scene::at(&house, "/old")).await;
    assert!(claims["cnf"]["jkt"].is_string(), "{claims}");
}

/// Keys rotate as nonce keys do: the next is published before it signs, and the last for a while after.
#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_by_a_reload() {
    let (old, new) = (pem(), pem());
    let house = house(format!("{old}{new}")).await;
    let kid = async || asserted(&house, &Scene::at(&house, "/asserted")).await.0["kid"].clone();
    let before = kid().await;
    // The first signs, or the next would sign before it is published everywhere.
    let first: Value = serde_json::from_str(&house.ask_admin("/jwks").await.1).expect("JSON");
    assert_eq!(before, first["keys"][0]["kid"]);
    assert_eq!(published(&house).await.keys().len(), 2);
    house.write("signer.pem", &format!("{new}{old}"));
    assert_eq!(house.post_reload().await.0, 200);
    let after = kid().await;
    assert_ne!(before, after);
    assert_eq!(published(&house).await.keys().len(), 2);
    house.write("signer.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let (status, said) = house.post_reload().await;
    assert!(status == 422 && said.contains("private keys of P-256"), "{said}");
    assert_eq!(kid().await, after);
}

/// It is no access token, not even where its signer is an issuer whose tokens may have any `typ`, and its audience is the next gateway.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_good_for_nothing_else() {
    const THE_SAME: &str = "  - name: asserted
    match: { path_prefix: /asserted }
    upstream: echo
    forward: { identity: assertion, audience: https://api.example.com }
";
    const ITSELF: &str = "assertions: { issuer: https://as.example.com, keys: { file: signer.pem } }\n";
    let files = vec![("signer.pem", pem())];
    let house = House::built(Plan { routes: THE_SAME, more: ITSELF, files, ..Plan::default() }).await;
    let scene = Scene::at(&house, "/asserted");
    assert_eq!(scene.send(&house).await.status, 200);
    let assertion = house.seen()[0].headers["x-auth-assertion"].to_str().expect("ASCII").to_owned();
    let issuer = "    keys: { jwks_file: signer.json }\n    token_type: any\n    required_claims: [sub]\n";
    let files = vec![("signer.json", house.ask_admin("/jwks").await.1)];
    let behind = House::built(Plan { issuer, files, ..Plan::default() }).await;
    let mut next = Scene::right(&behind);
    (next.key, next.proof_header) = (scene.key, scene.proof_header);
    let proof = next.proof(&assertion);
    for (scheme, proof) in [("Bearer", None), ("DPoP", Some(proof))] {
        let mut credentials = vec![("authorization".to_owned(), format!("{scheme} {assertion}"))];
        credentials.extend(proof.map(|proof| ("dpop".to_owned(), proof)));
        next.credentials = Some(credentials);
        let answer = next.send(&behind).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "token_typ"), "{scheme}");
    }
    assert!(behind.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_there_are_none() {
    let house = House::usual().await;
    assert_eq!(house.ask_admin("/jwks").await.0, 404);
}
