//! `enforcement: report-only`: an unbound token passes and is told of; whatever is bound, and whatever else is wrong, is refused as everywhere
//! (T-REQ-26 to T-REQ-33).

use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};

use crate::asked::{AskedIssuer, Said};
use crate::house::{HOST, House, Plan};
use crate::introspection::{active, opaque};
use crate::process::{Process, wait};
use crate::quarantine::shut;
use crate::scene::{Scene, thumbprint};
use crate::table::Heard::{Passed, Refused};
use crate::table::{Row, hear, play};

const ROUTES: &str = "  - name: old
    match: { path_prefix: /old }
    upstream: echo
    enforcement: report-only
    require: { nonce: required, clients: [app, app-2], scopes: [accounts:read] }
    limits: { rate: 1/h, burst: 3, by: client }
    forward: { identity: headers }
  - { name: old-dpop, match: { path_prefix: /old-dpop }, upstream: echo, enforcement: report-only, require: { binding: dpop } }
  - { name: old-mtls, match: { path_prefix: /old-mtls }, upstream: echo, enforcement: report-only, require: { binding: mtls } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// Makes of a right scene one of an old client: an unbound token as a plain bearer.
pub fn unbound(s: &mut Scene) {
    s.token_claims.as_object_mut().expect("an object").remove("cnf");
    s.scheme = "Bearer".into();
}

fn old_client(house: &House, path: &str) -> Scene {
    let mut scene = Scene::at(house, path);
    unbound(&mut scene);
    scene
}

/// The value of a line of `/metrics`.
async fn number(house: &House, line: &str) -> Option<u64> {
    let (_, text) = house.ask_admin("/metrics").await;
    text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok())
}

const UNENFORCED: &str = "holdfast_requests_unenforced_total{route=\"old\",would_refuse=\"token_unbound\"}";

/// T-REQ-30.
#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_token_passes_and_the_upstream_can_tell() {
    let house = house().await;
    assert_eq!(number(&house, UNENFORCED).await, Some(0), "it is there before it counts");
    let mut scene = old_client(&house, "/old/x");
    // What a caller claims of itself is worth nothing.
    scene.headers = vec![
        ("x-auth-binding".into(), "dpop".into()),
        ("x-auth-key-thumbprint".into(), scene.key.thumbprint().to_base64url()),
    ];
    let answer = scene.send(&house).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.all("dpop-nonce").is_empty());
    let seen = house.seen().remove(0).headers;
    assert_eq!(seen.get_all("x-auth-binding").iter().collect::<Vec<_>>(), ["none"]);
    assert_eq!(seen["x-auth-subject"], "alice");
    assert!(!seen.contains_key("x-auth-key-thumbprint") && !seen.contains_key("authorization"), "{seen:?}");
    assert_eq!(number(&house, UNENFORCED).await, Some(1));
    // Nothing is spent: what can be sent once can be sent twice.
    assert_eq!(number(&house, "holdfast_replay_live_claims").await, Some(0));
    let token = scene.bytes(&house);
    for _ in 0..2 {
        assert_eq!(scene.send_bytes(&house, &token).await.status, 200);
    }
    // Its limit is that of its client.
    assert_eq!(scene.send_bytes(&house, &token).await.reason(), RateExceeded.label());
    assert_eq!(number(&house, UNENFORCED).await, Some(3), "what is refused is not counted as let through");
    // The scheme in any case, as everywhere.
    for scheme in ["bearer", "BEARER"] {
        let mut scene = old_client(&house, "/old-dpop");
        scene.scheme = scheme.into();
        house.seen();
        hear(&house, &scene, scheme, Passed).await;
    }
}

type Case = (&'static str, Rejection, fn(&mut Scene, &House));

/// One thing wrong with an unbound token, beside its being unbound.
const WRONG: &[Case] = &[
    ("expired", TokenExpired, |s, house| s.token_claims["exp"] = json!(house.now() - 6)),
    ("not yet valid", TokenNotYetValid, |s, house| s.token_claims["nbf"] = json!(house.now() + 60)),
    ("another issuer", TokenIssuer, |s, _| s.token_claims["iss"] = json!("https://evil.example")),
    ("another audience", TokenAudience, |s, _| s.token_claims["aud"] = json!("https://other.example")),
    ("no ending", TokenClaimMissing, |s, _| {
        drop(s.token_claims.as_object_mut().expect("an object").remove("exp"))
    }),
    ("an ID token", TokenTyp, |s, _| s.token_header["typ"] = json!("JWT")),
    ("no signature", TokenAlg, |s, _| s.token_header["alg"] = json!("none")),
    ("an edited signature", TokenSignature, |s, _| {
        s.edit_token = Box::new(|token| {
            let (signed, signature) = token.rsplit_once('.').expect("three parts");
            let flipped = if signature.starts_with('A') { "B" } else { "A" };
            format!("{signed}.{flipped}{}", &signature[1..])
        });
    }),
    ("a client that is not on the list", ClientRefused, |s, _| s.token_claims["client_id"] = json!("other")),
    ("no scope", ScopeInsufficient, |s, _| s.token_claims["scope"] = json!("accounts:write")),
    ("in the query", TokenInQuery, |s, house| {
        let token = s.token(house);
        s.go_to(&format!("/old?access_token={token}"));
        s.credentials = Some(Vec::new());
    }),
    ("no token at all", CredentialsMissing, |s, _| s.credentials = Some(Vec::new())),
    ("another method", MethodOverridden, |s, _| s.go_to("/old?_method=DELETE")),
    ("under the DPoP scheme", TokenUnbound, |s, _| s.scheme = "DPoP".into()),
    // T-REQ-32: in every spelling of a DPoP header.
    ("with a right proof beside it", TokenUnbound, |s, house| {
        let token = s.token(house);
        s.headers = vec![("dpop".into(), s.proof(&token))];
    }),
    ("with an empty DPoP header", TokenUnbound, |s, _| s.headers = vec![("DPoP".into(), String::new())]),
    ("with two", TokenUnbound, |s, _| {
        s.headers = vec![("DPOP".into(), "a.b.c".into()), ("dpop".into(), "a.b.c".into())];
    }),
];

/// Every `cnf` but the right one: present, so bound.
const BOUND: &[(&str, Rejection)] = &[
    ("null", TokenConfirmation),
    ("{}", TokenConfirmation),
    ("[]", TokenConfirmation),
    ("\"\"", TokenConfirmation),
    ("false", TokenConfirmation),
    ("{\"jkt\":null}", TokenConfirmation),
    ("{\"jkt\":\"\"}", TokenConfirmation),
    ("{\"JKT\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}", TokenConfirmation),
    ("{\"kid\":\"x\"}", TokenConfirmation),
    ("{\"x5t\":\"bwcK0esc3ACC3DB2Y5_lESsX\"}", TokenConfirmation),
    ("{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}", BearerForDpop),
    (
        "{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\",\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dgw\"}",
        BearerForDpop,
    ),
    ("{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dgw\"}", CertificateMissing),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_otherwise_is_refused() {
    let house = house().await;
    for (what, expected, change) in WRONG {
        let mut scene = old_client(&house, "/old");
        change(&mut scene, &house);
        hear(&house, &scene, what, Refused(*expected)).await;
    }
    for (cnf, expected) in BOUND {
        for scheme in ["Bearer", "bearer"] {
            let mut scene = old_client(&house, "/old");
            scene.scheme = scheme.into();
            scene.token_claims["cnf"] = serde_json::from_str::<Value>(cnf).expect("JSON");
            hear(&house, &scene, cnf, Refused(*expected)).await;
        }
    }
    // Twice in one token, one of them nothing.
    for claims in ["\"cnf\":{\"jkt\":\"x\"},\"cnf\":null,", "\"\\u0063nf\":{},"] {
        let scene = old_client(&house, "/old");
        let body = scene.token_claims.to_string().replacen('{', &format!("{{{claims}"), 1);
        let token = house.issuer.sign_compact(&scene.token_header.to_string(), &body);
        let mut scene = Scene::at(&house, "/old");
        scene.credentials = Some(vec![("authorization".into(), format!("Bearer {token}"))]);
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, house.seen().len()), (401, 0), "{claims}: {answer:?}");
    }
    assert_eq!(number(&house, UNENFORCED).await, Some(0));
    assert_eq!(shut(&house, "{\"client\": \"app\", \"for\": \"5m\"}").await.0, 200);
    hear(&house, &old_client(&house, "/old"), "quarantined", Refused(Quarantined)).await;
}

const BOUND_AS_EVER: &[Row] = &[
    ("T-REQ-26", "bound, as Bearer", Refused(BearerForDpop), |s, _| {
        s.go_to("/old-dpop");
        s.scheme = "Bearer".into();
    }),
    ("T-REQ-33", "bound to a key where a certificate is asked for", Refused(BearerForDpop), |s, _| {
        s.go_to("/old-mtls");
        s.scheme = "Bearer".into();
    }),
    ("T-REQ-33", "the same with its proof", Refused(BindingInsufficient), |s, _| s.go_to("/old-mtls")),
    ("", "bound to a certificate where a key is asked for", Refused(BindingInsufficient), |s, house| {
        s.go_to("/old-dpop");
        s.scheme = "Bearer".into();
        s.certificate = Some(0);
        s.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
    }),
    ("T-REQ-29", "unbound, as DPoP", Refused(TokenUnbound), |s, _| {
        unbound(s);
        s.scheme = "DPoP".into();
        s.go_to("/old-dpop");
    }),
    ("", "bound and proven", Passed, |s, _| s.go_to("/old-dpop")),
    ("T-REQ-30", "unbound where a certificate is asked for", Passed, |s, _| {
        unbound(s);
        s.go_to("/old-mtls");
    }),
    ("", "unbound, on a route that is enforced", Refused(TokenUnbound), |s, _| {
        unbound(s);
        s.go_to("/dpop");
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_is_enforced_as_everywhere() {
    play(&house().await, BOUND_AS_EVER).await;
}

/// An opaque token is what its issuer says: with any `cnf` it is bound.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_issuer_calls_bound_is_bound() {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let files = vec![("client-secret", "secret\n".to_owned())];
    let more = "      cache_inactive: 0s\n";
    let house =
        House::built(Plan { routes: ROUTES, issuer: issuer.configuration(more), files, ..Plan::default() })
            .await;
    let x5t = thumbprint(&house, 0);
    let jkt = Scene::right(&house).key.thumbprint().to_base64url();
    for (cnf, kind, expected) in [
        (None, Some("Bearer"), Passed),
        (None, None, Passed),
        (None, Some("DPoP"), Refused(TokenTypeMismatch)),
        (Some(json!(null)), None, Refused(TokenConfirmation)),
        (Some(json!({})), Some("Bearer"), Refused(TokenConfirmation)),
        (Some(json!({"kid": "x"})), Some("Bearer"), Refused(TokenConfirmation)),
        (Some(json!({"jkt": jkt})), Some("Bearer"), Refused(TokenTypeMismatch)),
        (Some(json!({"jkt": jkt})), Some("DPoP"), Refused(BearerForDpop)),
        (Some(json!({"jkt": jkt})), None, Refused(BearerForDpop)),
        (Some(json!({"x5t#S256": x5t})), Some("Bearer"), Refused(CertificateMissing)),
    ] {
        let scene = opaque(old_client(&house, "/old-dpop"));
        let mut said = active(&scene);
        let members = said.as_object_mut().expect("an object");
        members.remove("token_type");
        members.extend(cnf.clone().map(|cnf| ("cnf".to_owned(), cnf)));
        members.extend(kind.map(|kind| ("token_type".to_owned(), json!(kind))));
        issuer.say(Said::Json(said));
        hear(&house, &scene, &format!("{cnf:?} {kind:?}"), expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_offer_what_can_succeed() {
    let house = house().await;
    let dpop = "DPoP algs=\"ES256 ES384 PS256 EdDSA Ed25519\"";
    for (path, offered) in
        [("/old", &[dpop, "Bearer"][..]), ("/old-dpop", &[dpop, "Bearer"]), ("/old-mtls", &["Bearer"])]
    {
        let mut scene = Scene::at(&house, path);
        scene.credentials = Some(Vec::new());
        let answer = hear(&house, &scene, path, Refused(CredentialsMissing)).await;
        assert_eq!(answer.all("www-authenticate"), offered, "{path}");
    }
    let mut scene = old_client(&house, "/old-dpop");
    scene.token_claims["aud"] = json!("https://other.example");
    let answer = hear(&house, &scene, "another audience", Refused(TokenAudience)).await;
    let challenges = answer.all("www-authenticate");
    assert!(!challenges[0].contains("error") && challenges[1].contains("error=\"invalid_token\""));
}

/// The metadata says what is enforced: nobody has to have a DPoP-bound token here, and everybody may.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_say_what_is_enforced() {
    const DPOP: &str = "  - { name: r, match: { path_prefix: /r }, upstream: echo, require: { binding: dpop }, resource: { path: /r } }\n";
    const OLD: &str = "  - { name: r, match: { path_prefix: /r }, upstream: echo, require: { binding: dpop }, resource: { path: /r }, enforcement: report-only }\n";
    for (routes, required) in [(DPOP, true), (OLD, false)] {
        let house = House::built(Plan { routes, ..Plan::default() }).await;
        let mut scene = Scene::at(&house, "/.well-known/oauth-protected-resource/r");
        scene.credentials = Some(Vec::new());
        let answer = scene.send(&house).await;
        let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(document["resource"], format!("https://{HOST}/r"));
        assert_eq!(document["dpop_bound_access_tokens_required"], required, "{document}");
        assert_eq!(document["dpop_signing_alg_values_supported"][0], "ES256");
    }
}

/// The log of the real binary: the warning at the start, and a line that says what would have been refused.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_loud() {
    let mut house = house().await;
    let process = Process::instead_of(&mut house, "{ level: info, access: json }").await;
    for route in ["old", "old-dpop", "old-mtls"] {
        let warned =
            |line: &str| line.contains("report-only") && line.contains(&format!("route=\"{route}\""));
        assert!(process.stderr().lines().any(warned), "{route}: {}", process.stderr());
    }
    for path in ["/old", "/old-dpop"] {
        assert_eq!(old_client(&house, path).send(&house).await.status, 200);
    }
    assert_eq!(Scene::at(&house, "/old-dpop").send(&house).await.status, 200);
    assert_eq!(old_client(&house, "/dpop").send(&house).await.status, 401);
    wait("the lines are written", async || process.stdout().lines().count() >= 4).await;
    let lines: Vec<Value> =
        process.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told = |line: &Value| {
        let of = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        ["route", "decision", "client", "binding", "enforcement", "would_refuse", "reason"].map(of).join(" ")
    };
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            "old forwarded app none report-only token_unbound -",
            "old-dpop forwarded app none report-only token_unbound -",
            "old-dpop forwarded app dpop report-only - -",
            "dpop refused app - - - token_unbound",
        ]
    );
}
