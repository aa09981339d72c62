//! A scene that is right, one thing broken a row, the refusal named, and nothing at the upstream.
//!
//! What no row hears fails the test: a refusal nobody can provoke is dead code, or a check that does not work.

use std::collections::HashSet;

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::json;

use crate::exchange;
use crate::house::{House, OTHER_HOST, Plan};
use crate::introspection;
use crate::reload::tls::{FROM_A_CA, LIFETIME, authority, connect_as};
use crate::scene::{Scene, thumbprint};
use crate::wire::Answer;

/// What is broken, what is heard, and how to break it.
type Row = (&'static str, Rejection, fn(&mut Scene, &House));

/// The usual house.
const ROWS: &[Row] = &[
    ("a host with a path", HostInvalid, |s, _| s.host = "api.example.com/path?".into()),
    ("another host", HostUnknown, |s, _| (s.host, s.sni) = ("evil.example".into(), "evil.example".into())),
    ("SNI of the other public name", SniMismatch, |s, _| s.sni = OTHER_HOST.into()),
    ("a dot segment", PathAmbiguous, |s, _| s.go_to("/a/../b")),
    ("an encoded slash", PathAmbiguous, |s, _| s.go_to("/a%2Fb")),
    ("a bad escape", PathInvalid, |s, _| s.go_to("/a%zz")),
    ("TRACE", MethodRefused, |s, _| s.using("TRACE")),
    ("POST where only GET is", MethodUnknown, |s, _| {
        s.go_to("/get-only");
        s.using("POST");
    }),
    ("a method in the query", MethodOverridden, |s, _| s.target = "/?_method=DELETE".into()),
    ("a body beyond the limit", BodyTooLarge, |s, _| {
        s.using("POST");
        s.headers.push(("content-length".into(), "99999999".into()));
    }),
    ("no credentials", CredentialsMissing, |s, _| s.credentials = Some(Vec::new())),
    ("Basic", CredentialsMissing, |s, _| {
        s.credentials = Some(vec![("authorization".into(), "Basic eDp5".into())])
    }),
    ("two Authorization lines", CredentialsRepeated, |s, house| {
        let mut credentials = s.credentials(house);
        credentials.insert(0, ("authorization".into(), "Bearer x".into()));
        s.credentials = Some(credentials);
    }),
    ("a scheme alone", CredentialsMalformed, |s, _| {
        s.credentials = Some(vec![("authorization".into(), "DPoP".into())])
    }),
    ("a token in the query", TokenInQuery, |s, _| s.target = "/?access_token=x".into()),
    ("no proof", ProofMissing, |s, house| {
        let credentials = s.credentials(house);
        s.credentials = Some(credentials[..1].to_vec());
    }),
    ("two proofs", ProofRepeated, |s, house| {
        let mut credentials = s.credentials(house);
        credentials.push(("DPoP".into(), "a.b.c".into()));
        s.credentials = Some(credentials);
    }),
    ("a proof of 9 KiB", ProofTooLarge, |s, _| s.proof_claims["more"] = json!("x".repeat(9000))),
    ("four parts", ProofMalformed, |s, _| s.edit_proof = Box::new(|proof| proof + ".x")),
    ("another typ", ProofTyp, |s, _| s.proof_header["typ"] = json!("JWT")),
    ("RS256, which is not on the list", ProofAlg, |s, _| s.proof_header["alg"] = json!("RS256")),
    ("crit", ProofHeader, |s, _| s.proof_header["crit"] = json!(["exp"])),
    ("a point off the curve", ProofKey, |s, _| {
        s.proof_header["jwk"]["x"] = s.proof_header["jwk"]["y"].clone()
    }),
    ("a private member", ProofKeyPrivate, |s, _| s.proof_header["jwk"]["d"] = json!(null)),
    ("htm is a number", ProofClaims, |s, _| s.proof_claims["htm"] = json!(1)),
    ("an empty jti", ProofJti, |s, _| s.proof_claims["jti"] = json!("")),
    ("another method", ProofHtm, |s, _| s.proof_claims["htm"] = json!("PUT")),
    ("another path", ProofHtu, |s, _| s.proof_claims["htu"] = json!("https://api.example.com/other")),
    ("61 seconds old", ProofTooOld, |s, house| s.proof_claims["iat"] = json!(house.now() - 61)),
    ("11 seconds ahead", ProofInFuture, |s, house| s.proof_claims["iat"] = json!(house.now() + 11)),
    ("its own exp", ProofOutsideItsTime, |s, house| s.proof_claims["exp"] = json!(house.now())),
    ("ath of another token", ProofAth, |s, _| {
        s.proof_claims["ath"] = json!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo")
    }),
    ("signed by another key", ProofSignature, |s, _| s.key = DpopKey::generate().expect("a key")),
    ("a nonce route without a nonce", NonceMissing, |s, _| s.go_to("/nonce")),
    ("a nonce of someone else", NonceStale, |s, _| {
        s.go_to("/nonce");
        s.proof_claims["nonce"] = json!("AAAAAGVZ3mIAAAAAAAAAAAAAAAAAAAAA");
    }),
    ("a token of 17 KiB", TokenTooLarge, |s, _| s.token_claims["more"] = json!("x".repeat(17_000))),
    ("a token of two parts", TokenMalformed, |s, _| s.edit_token = Box::new(|_| "e30.e30".into())),
    ("a token of typ JWT", TokenTyp, |s, _| s.token_header["typ"] = json!("JWT")),
    ("a token with HS256", TokenAlg, |s, _| s.token_header["alg"] = json!("HS256")),
    ("a token with crit", TokenHeader, |s, _| s.token_header["crit"] = json!(["exp"])),
    ("an issuer with a slash more", TokenIssuer, |s, _| {
        s.token_claims["iss"] = json!("https://as.example.com/")
    }),
    ("a kid nobody knows", TokenKeyUnknown, |s, _| s.token_header["kid"] = json!("two")),
    ("a token with another signature", TokenSignature, |s, house| {
        let forged = DpopKey::generate().expect("a key");
        let (header, claims) = (s.token_header.to_string(), s.token_claims.to_string());
        let token = forged.sign_compact(&header, &claims);
        assert_ne!(token, s.token(house));
        s.edit_token = Box::new(move |_| token.clone());
    }),
    ("no client_id", TokenClaimMissing, |s, _| {
        s.token_claims.as_object_mut().expect("an object").remove("client_id");
    }),
    ("another audience", TokenAudience, |s, _| s.token_claims["aud"] = json!(["https://other.example"])),
    ("expired beyond the leeway", TokenExpired, |s, house| s.token_claims["exp"] = json!(house.now() - 5)),
    ("not before", TokenNotYetValid, |s, house| s.token_claims["nbf"] = json!(house.now() + 60)),
    ("a cnf nobody can check", TokenConfirmation, |s, _| s.token_claims["cnf"] = json!({"kid": "x"})),
    ("no cnf", TokenUnbound, |s, _| {
        s.token_claims.as_object_mut().expect("an object").remove("cnf");
    }),
    ("a DPoP-bound token as Bearer", BearerForDpop, |s, _| s.scheme = "Bearer".into()),
    ("a certificate-bound token as DPoP", DpopForCertificate, |s, house| {
        s.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
    }),
    ("the thief's own key", KeyMismatch, |s, _| {
        s.token_claims["cnf"]["jkt"] = json!(DpopKey::generate().expect("a key").thumbprint().to_base64url());
    }),
    ("no certificate", CertificateMissing, |s, house| {
        *s = Scene::with_certificate(house);
        s.certificate = None;
    }),
    ("another certificate", CertificateMismatch, |s, house| {
        *s = Scene::with_certificate(house);
        s.certificate = Some(1);
    }),
    ("a certificate where DPoP is asked for", BindingInsufficient, |s, house| {
        *s = Scene::with_certificate(house);
        s.go_to("/dpop");
    }),
    ("an audience that is not the route's", RouteAudience, |s, _| s.go_to("/narrow")),
    ("a scope that only looks alike", ScopeInsufficient, |s, _| {
        s.go_to("/scoped");
        s.token_claims["scope"] = json!("accounts:readall accounts:write");
    }),
];

async fn hear(house: &House, (what, expected, break_it): &Row, heard: &mut HashSet<Rejection>) {
    let mut scene = Scene::right(house);
    break_it(&mut scene, house);
    let answer = scene.send(house).await;
    judge(house, what, *expected, &answer);
    heard.insert(*expected);
}

fn judge(house: &House, what: &str, expected: Rejection, answer: &Answer) {
    assert_eq!(
        (answer.reason().as_str(), answer.status),
        (expected.label(), expected.status()),
        "{what}: {answer:?}"
    );
    assert_eq!(answer.one("cache-control"), "no-store", "{what}");
    answer.one("date");
    assert!(!answer.one("x-request-id").is_empty());
    let challenged = expected.status() == 401 || expected.code().error().is_some();
    assert_eq!(!answer.all("www-authenticate").is_empty(), challenged, "{what}: {answer:?}");
    assert!(house.seen().is_empty(), "{what}: something reached the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_heard() {
    let mut heard = HashSet::new();
    let nonces =
        "  - { name: nonce, match: { path_prefix: /nonce }, upstream: echo, require: { nonce: required } }\n";
    let usual = House::built(Plan { routes: nonces, ..Plan::default() }).await;
    for row in ROWS {
        hear(&usual, row, &mut heard).await;
    }

    // The same proof twice.
    let scene = Scene::right(&usual);
    let bytes = scene.bytes(&usual);
    assert_eq!(scene.send_bytes(&usual, &bytes).await.status, 200);
    assert_eq!(usual.seen().len(), 1);
    assert_eq!(scene.send_bytes(&usual, &bytes).await.reason(), ProofReplayed.label());
    assert!(usual.seen().is_empty());
    heard.insert(ProofReplayed);

    // In HTTP/1 so many fields are no request at all.
    let mut scene = Scene::right(&usual);
    scene.headers = (0..101).map(|at| (format!("x-{at}"), String::new())).collect();
    let answer = usual.connect_h2(None).await.exchange(scene.request_with(&[])).await.expect("an answer");
    judge(&usual, "too many fields", FieldsTooMany, &answer);
    heard.insert(FieldsTooMany);

    in_other_houses(&mut heard).await;
    introspection::every_refusal(&mut heard).await;
    exchange::every_refusal(&mut heard).await;
    crate::shared_store::every_refusal(&mut heard).await;
    #[cfg(feature = "cel")]
    crate::condition::every_refusal(&mut heard).await;
    // Without CEL there is no condition that could refuse.
    #[cfg(not(feature = "cel"))]
    heard.insert(ConditionRefused);
    let silent: Vec<&Rejection> =
        Rejection::ALL.iter().filter(|rejection| !heard.contains(rejection)).collect();
    assert!(silent.is_empty(), "heard by no row: {silent:?}");
}

async fn in_other_houses(heard: &mut HashSet<Rejection>) {
    // A store for two proofs, one for each key.
    let rules = "replay: { memory: { capacity: 2, per_key: 1, after_restart: accept } }\n";
    let small = House::built(Plan { rules, ..Plan::default() }).await;
    let mut scene = Scene::right(&small);
    assert_eq!(scene.send(&small).await.status, 200);
    scene.proof_claims["jti"] = json!("second");
    let answer = scene.send(&small).await;
    assert_eq!((answer.status, answer.reason().as_str()), (429, KeyShareExhausted.label()));
    assert!(answer.one("retry-after").parse::<u64>().is_ok());
    assert_eq!(Scene::right(&small).send(&small).await.status, 200);
    let answer = Scene::right(&small).send(&small).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, ReplayStoreFull.label()));
    assert!(answer.all("www-authenticate").is_empty() && small.seen().len() == 2);
    heard.extend([KeyShareExhausted, ReplayStoreFull]);

    // Just started, and set to refuse what may have been used before.
    let rules = "replay: { memory: { capacity: 10, per_key: 10, after_restart: refuse } }\n";
    let fresh = House::built(Plan { rules, ..Plan::default() }).await;
    hear(&fresh, &("made before the start", ProofBeforeStart, |_, _| {}), heard).await;
    fresh.pass_time(1);
    assert_eq!(Scene::right(&fresh).send(&fresh).await.status, 200);
    fresh.seen();

    // An issuer nobody answers for.
    let issuer = "    keys: { jwks_url: \"http://127.0.0.1:1/unreachable\" }\n";
    let alone = House::built(Plan { issuer, ..Plan::default() }).await;
    hear(&alone, &("no keys", IssuerUnavailable, |_, _| {}), heard).await;

    // A trusted proxy that talks nonsense.
    let listener = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
    trusted_proxies: [127.0.0.0/8]
    client_certificate_header: client-cert
";
    let behind = House::built(Plan { listener, ..Plan::default() }).await;
    let nonsense: [Row; 2] = [
        ("Client-Cert as PEM", ClientCertInvalid, |s, _| {
            s.headers.push(("client-cert".into(), "-----BEGIN CERTIFICATE-----".into()));
        }),
        ("a forwarded scheme with a path", ForwardedInvalid, |s, _| {
            s.headers.push(("x-forwarded-proto".into(), "https://evil/?".into()));
        }),
    ];
    for row in &nonsense {
        hear(&behind, row, heard).await;
    }

    // A connection that outlives its certificate.
    let (ca, client) = authority("clients");
    let files = vec![("clients.pem", ca)];
    let outlived = House::built(Plan { listener: FROM_A_CA, files, ..Plan::default() }).await;
    let mut connection = connect_as(&outlived, client).await;
    outlived.pass_time(LIFETIME);
    let scene = Scene::right(&outlived);
    let answer = connection.exchange(&scene.bytes(&outlived)).await.expect("an answer");
    judge(&outlived, "an expired certificate", CertificateExpired, &answer);
    heard.insert(CertificateExpired);

    // A page that nobody lists.
    let routes = "  - { name: pages, match: { path_prefix: /pages }, upstream: echo, cors: { origins: [https://app.example.com] } }\n";
    let pages = House::built(Plan { routes, ..Plan::default() }).await;
    let foreign: Row = ("a preflight of another origin", OriginRefused, |s, _| {
        s.using("OPTIONS");
        s.go_to("/pages");
        s.headers.push(("origin".into(), "https://evil.example".into()));
        s.headers.push(("access-control-request-method".into(), "GET".into()));
    });
    hear(&pages, &foreign, heard).await;

    // Routes that ask for more.
    let asking = House::built(Plan { routes: crate::policy::ROUTES, ..Plan::default() }).await;
    let rows: [Row; 6] = [
        ("another client", ClientRefused, |s, _| {
            s.go_to("/client");
            s.token_claims["client_id"] = json!("stranger");
        }),
        ("another subject", SubjectRefused, |s, _| {
            s.go_to("/subject");
            s.token_claims["sub"] = json!("mallory");
        }),
        ("a claim missing", ClaimRefused, |s, _| s.go_to("/text")),
        ("details missing", DetailsInsufficient, |s, _| s.go_to("/details")),
        ("no acr", AcrInsufficient, |s, _| s.go_to("/acr")),
        ("no auth_time", AuthenticationTooOld, |s, _| s.go_to("/age")),
    ];
    for row in &rows {
        hear(&asking, row, heard).await;
    }

    // A spent allowance, and a client that is shut out.
    let routes = "  - { name: rare, match: { path_prefix: /rare }, upstream: echo, limits: { rate: 1/h, burst: 1, by: client } }\n";
    let rare = House::built(Plan { routes, ..Plan::default() }).await;
    assert_eq!(Scene::at(&rare, "/rare").send(&rare).await.status, 200);
    rare.seen();
    hear(&rare, &("a second request", RateExceeded, |s, _| s.go_to("/rare")), heard).await;
    assert_eq!(crate::quarantine::shut(&rare, "{\"client\": \"app\", \"for\": \"1h\"}").await.0, 200);
    hear(&rare, &("a client that is shut out", Quarantined, |_, _| {}), heard).await;

    // A server of MCP, pages, and tokens that live too long.
    let mcp = House::built(Plan { routes: crate::mcp::ROUTES, ..Plan::default() }).await;
    let rows: [Row; 4] = [
        ("an old revision", McpVersion, |s, _| {
            s.go_to("/mcp");
            s.using("POST");
            s.token_claims["scope"] = json!("mcp");
        }),
        ("no method", McpHeaders, |s, _| {
            s.go_to("/mcp");
            s.using("POST");
            s.token_claims["scope"] = json!("mcp");
            s.headers.push(("mcp-protocol-version".into(), "2026-07-28".into()));
        }),
        ("another method", McpRefused, |s, _| {
            s.go_to("/mcp");
            s.using("POST");
            s.token_claims["scope"] = json!("mcp");
            s.headers.push(("mcp-protocol-version".into(), "2026-07-28".into()));
            s.headers.push(("mcp-method".into(), "initialize".into()));
        }),
        ("a page of another origin", OriginUnlisted, |s, _| {
            s.go_to("/paged");
            s.headers.push(("origin".into(), "https://evil.example".into()));
        }),
    ];
    for row in &rows {
        hear(&mcp, row, heard).await;
    }
    let issuer = "    keys: { jwks_file: issuer.jwks.json }\n    max_lifetime: 5m\n";
    let brief = House::built(Plan { issuer, ..Plan::default() }).await;
    assert_eq!(Scene::right(&brief).send(&brief).await.status, 200);
    brief.seen();
    let long: Row = ("a token that lives too long", TokenLifetime, |s, house| {
        s.token_claims["exp"] = json!(house.now() + 301);
    });
    hear(&brief, &long, heard).await;

    // No route for everything.
    let few = House::built(Plan { catch_all: "/only", ..Plan::default() }).await;
    hear(&few, &("no such path", RouteUnknown, |s, _| s.go_to("/nowhere")), heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_scenes_pass() {
    let house = House::usual().await;
    for scene in [Scene::right(&house), Scene::with_certificate(&house), Scene::at(&house, "/a?b=c")] {
        let answer = scene.send(&house).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = house.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].target, scene.target);
        assert!(!seen[0].headers.contains_key("authorization") && !seen[0].headers.contains_key("dpop"));
        assert_eq!(seen[0].headers["x-auth-subject"], "alice");
    }
}
