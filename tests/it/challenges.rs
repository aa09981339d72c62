//! What a refused caller is told: which challenges, in which order, with which error, and nothing of what it sent.

use holdfast::caller::key::DpopKey;
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::wire::Answer;

const ALGS: &str = "ES256 ES384 PS256 EdDSA Ed25519";

/// One challenge: its scheme and its parameters, in order.
#[derive(Debug, PartialEq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one header line as exactly one challenge, by the grammar of RFC 9110 §11.6.1 and no more generously:
/// `token [ 1*SP param *( "," SP param ) ]`, `param = token "=" quoted-string`, each name once, values as RFC 6750 §3 allows them.
fn challenge(line: &str) -> Challenge {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let (scheme, mut rest) = line.split_once(' ').unwrap_or((line, ""));
    assert!(is_token(scheme), "{line}");
    let mut parameters = Vec::<(String, String)>::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no quoted parameter: {line}"));
        let (value, behind) = value.split_once('"').unwrap_or_else(|| panic!("no end of the quotes: {line}"));
        assert!(is_token(name) && parameters.iter().all(|(n, _)| n != name), "{name} in {line}");
        // error_description is the narrowest of them: %x20-21 / %x23-5B / %x5D-7E.
        assert!(value.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{line}");
        parameters.push((name.to_owned(), value.to_owned()));
        rest = match behind.strip_prefix(", ") {
            Some(more) if !more.is_empty() => more,
            _ if behind.is_empty() => "",
            _ => panic!("what comes behind a parameter: {line}"),
        };
    }
    Challenge { scheme: scheme.to_owned(), parameters }
}

pub fn challenges(answer: &Answer) -> Vec<Challenge> {
    answer.all("www-authenticate").into_iter().map(challenge).collect()
}

/// Routes for each rule of binding, with a scope that a token may lack.
const ROUTES: &str = "  - { name: r-any, match: { path_prefix: /r/any }, upstream: echo, require: { binding: any, scopes: [accounts:read] } }
  - { name: r-dpop, match: { path_prefix: /r/dpop }, upstream: echo, require: { binding: dpop, scopes: [accounts:read] } }
  - { name: r-mtls, match: { path_prefix: /r/mtls }, upstream: echo, require: { binding: mtls, scopes: [accounts:read] } }
  - { name: r-both, match: { path_prefix: /r/both }, upstream: echo, require: { binding: both, scopes: [accounts:read] } }
  - { name: r-nonce, match: { path_prefix: /r/nonce }, upstream: echo, require: { binding: any, nonce: required } }
";

pub async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// What is expected: the schemes in order, and the error each carries.
type Expected = &'static [(&'static str, Option<&'static str>)];

/// What is wrong, how it is done, and what is then expected at a route with each rule: status, then challenges under any, dpop, mtls, both.
struct Failure {
    what: &'static str,
    status: u16,
    expected: [Expected; 4],
    break_it: fn(&mut Scene, &House),
}

const DPOP_BARE: Expected = &[("DPoP", None)];
const BEARER_BARE: Expected = &[("Bearer", None)];
const BARE: Expected = &[("DPoP", None), ("Bearer", None)];

/// Every failure that is possible under all four rules.
const FAILURES: &[Failure] = &[
    Failure {
        what: "nothing",
        status: 401,
        expected: [BARE, DPOP_BARE, BEARER_BARE, DPOP_BARE],
        break_it: |s, _| s.credentials = Some(Vec::new()),
    },
    Failure {
        what: "another scheme",
        status: 401,
        expected: [BARE, DPOP_BARE, BEARER_BARE, DPOP_BARE],
        break_it: |s, _| s.credentials = Some(vec![("authorization".into(), "Basic eDp5".into())]),
    },
    Failure {
        what: "a proof alone",
        status: 401,
        expected: [BARE, DPOP_BARE, BEARER_BARE, DPOP_BARE],
        break_it: |s, house| s.credentials = Some(vec![s.credentials(house).remove(1)]),
    },
    Failure {
        what: "two Authorization lines (Figure 19)",
        status: 400,
        expected: [
            &[("DPoP", Some("invalid_request")), ("Bearer", Some("invalid_request"))],
            &[("DPoP", Some("invalid_request"))],
            &[("Bearer", Some("invalid_request"))],
            &[("DPoP", Some("invalid_request"))],
        ],
        break_it: |s, house| {
            let mut credentials = s.credentials(house);
            credentials.push(("authorization".into(), "Bearer x".into()));
            s.credentials = Some(credentials);
        },
    },
    Failure {
        what: "a token in the query",
        status: 400,
        expected: [
            &[("DPoP", Some("invalid_request")), ("Bearer", Some("invalid_request"))],
            &[("DPoP", Some("invalid_request"))],
            &[("Bearer", Some("invalid_request"))],
            &[("DPoP", Some("invalid_request"))],
        ],
        break_it: |s, _| s.target.push_str("?access_token=x"),
    },
    Failure {
        what: "a proof without a signature that fits",
        status: 401,
        expected: [
            &[("DPoP", Some("invalid_dpop_proof")), ("Bearer", None)],
            &[("DPoP", Some("invalid_dpop_proof"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_dpop_proof"))],
        ],
        break_it: |s, house| {
            s.key = DpopKey::generate().expect("a key");
            // So that the certificate is not the reason where both are asked for.
            s.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(house, 0));
            s.certificate = Some(0);
        },
    },
    Failure {
        what: "a proof for another URL",
        status: 401,
        expected: [
            &[("DPoP", Some("invalid_dpop_proof")), ("Bearer", None)],
            &[("DPoP", Some("invalid_dpop_proof"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_dpop_proof"))],
        ],
        break_it: |s, _| s.proof_claims["htu"] = json!("https://api.example.com/other"),
    },
    Failure {
        what: "an expired token with a proof (Figure 16)",
        status: 401,
        expected: [
            &[("DPoP", Some("invalid_token")), ("Bearer", None)],
            &[("DPoP", Some("invalid_token"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
        ],
        break_it: |s, house| s.token_claims["exp"] = json!(house.now() - 60),
    },
    Failure {
        what: "another key than the token's (Figure 16)",
        status: 401,
        expected: [
            &[("DPoP", Some("invalid_token")), ("Bearer", None)],
            &[("DPoP", Some("invalid_token"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
        ],
        break_it: |s, _| {
            s.token_claims["cnf"]["jkt"] =
                json!(DpopKey::generate().expect("a key").thumbprint().to_base64url());
        },
    },
    Failure {
        what: "a DPoP-bound token as Bearer (Figure 18)",
        status: 401,
        expected: [
            &[("DPoP", None), ("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
        ],
        break_it: |s, _| s.scheme = "Bearer".into(),
    },
    Failure {
        what: "a made-up token as Bearer",
        status: 401,
        expected: [
            &[("DPoP", None), ("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
        ],
        break_it: |s, _| s.credentials = Some(vec![("authorization".into(), "Bearer opaque".into())]),
    },
    Failure {
        what: "a certificate-bound token without its certificate",
        status: 401,
        expected: [
            &[("DPoP", None), ("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
            &[("Bearer", Some("invalid_token"))],
            &[("DPoP", Some("invalid_token"))],
        ],
        break_it: |s, house| {
            s.scheme = "Bearer".into();
            s.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
        },
    },
];

/// R-C-01 to R-C-06, T-CHL-01 to T-CHL-11, RFC 9449 Figures 15 to 19.
#[tokio::test(flavor = "multi_thread")]
async fn each_rule_challenges_what_could_succeed() {
    let house = house().await;
    for failure in FAILURES {
        for (rule, expected) in ["any", "dpop", "mtls", "both"].iter().zip(failure.expected) {
            let mut scene = Scene::at(&house, &format!("/r/{rule}"));
            (failure.break_it)(&mut scene, &house);
            let answer = scene.send(&house).await;
            let what = format!("{} under {rule}: {answer:?}", failure.what);
            assert_eq!(answer.status, failure.status, "{what}");
            assert!(house.seen().is_empty(), "{what}");
            let heard = challenges(&answer);
            let shape: Vec<_> = heard.iter().map(|c| (c.scheme.as_str(), c.get("error"))).collect();
            assert_eq!(shape, expected, "{what}");
            judge(&answer, &heard, &what);
        }
    }
}

/// What holds for every challenge, whatever the failure.
pub fn judge(answer: &Answer, heard: &[Challenge], what: &str) {
    assert_eq!(answer.one("cache-control"), "no-store", "{what}");
    httpdate::parse_http_date(answer.one("date")).unwrap_or_else(|error| panic!("{error} {what}"));
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["request_id"], answer.one("x-request-id"), "{what}");
    for challenge in heard {
        assert_eq!(challenge.get("algs"), (challenge.scheme == "DPoP").then_some(ALGS), "{what}");
        match challenge.get("error") {
            None => assert_eq!(challenge.get("error_description"), None, "{what}"),
            Some(error) => {
                // The reason stands first, and is the one in the body.
                let description = challenge.get("error_description").expect("a description");
                assert!(description.starts_with(&format!("{}: ", answer.reason())), "{what}");
                assert_eq!(
                    (&body["error"], &body["error_description"]),
                    (&json!(error), &json!(description))
                );
            }
        }
        for (name, _) in &challenge.parameters {
            assert!(["error", "error_description", "algs", "scope"].contains(&name.as_str()), "{what}");
        }
    }
}

/// R-H-22, T-JWT-29: the needed scope is named, on the challenge that carries the error.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_named() {
    let house = house().await;
    let by_key = |path: &str| Scene::at(&house, path);
    let by_certificate = |path: &str| {
        let mut scene = Scene::with_certificate(&house);
        scene.go_to(path);
        scene
    };
    let by_both = |path: &str| {
        let mut scene = Scene::at(&house, path);
        scene.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&house, 0));
        scene.certificate = Some(0);
        scene
    };
    for (mut scene, scope, expected) in [
        (by_key("/r/any"), "accounts:read", &[("DPoP", true), ("Bearer", false)][..]),
        (by_key("/r/dpop"), "accounts:read", &[("DPoP", true)]),
        (by_both("/r/both"), "accounts:read", &[("DPoP", true)]),
        (by_certificate("/r/any"), "accounts:read", &[("DPoP", false), ("Bearer", true)]),
        (by_certificate("/r/mtls"), "accounts:read", &[("Bearer", true)]),
        (by_key("/scoped"), "accounts:read accounts:write", &[("DPoP", true), ("Bearer", false)]),
    ] {
        scene.token_claims["scope"] = json!("accounts:readall other");
        let answer = scene.send(&house).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        let heard = challenges(&answer);
        let shape: Vec<_> = heard.iter().map(|c| (c.scheme.as_str(), c.get("scope").is_some())).collect();
        assert_eq!(shape, expected, "{answer:?}");
        for challenge in &heard {
            let error = challenge.get("scope").map(|_| "insufficient_scope");
            assert_eq!(challenge.get("error"), error);
            assert!(challenge.get("scope").is_none_or(|named| named == scope), "{answer:?}");
        }
        judge(&answer, &heard, "a scope");
    }
}

/// RFC 9449 §9, R-D-02: a nonce challenge is DPoP alone, with one nonce beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_challenge_is_dpop_alone() {
    let house = house().await;
    let answer = Scene::at(&house, "/r/nonce").send(&house).await;
    let heard = challenges(&answer);
    let shape: Vec<_> = heard.iter().map(|c| (c.scheme.as_str(), c.get("error"))).collect();
    assert_eq!((answer.status, shape), (401, vec![("DPoP", Some("use_dpop_nonce"))]));
    let nonce = answer.one("dpop-nonce");
    // NQCHAR (R-D-01).
    assert!(
        !nonce.is_empty() && nonce.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
        "{nonce}"
    );
    judge(&answer, &heard, "a nonce");
}

/// RFC 9449 Figure 15 and 17, RFC 6750 §3: the bare challenges to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn bare_challenges_as_printed() {
    let house = house().await;
    for (path, lines) in [
        ("/r/any", vec![format!("DPoP algs=\"{ALGS}\""), "Bearer".to_owned()]),
        ("/r/dpop", vec![format!("DPoP algs=\"{ALGS}\"")]),
        ("/r/mtls", vec!["Bearer".to_owned()]),
        ("/r/both", vec![format!("DPoP algs=\"{ALGS}\"")]),
    ] {
        let mut scene = Scene::at(&house, path);
        scene.credentials = Some(Vec::new());
        assert_eq!(scene.send(&house).await.all("www-authenticate"), lines, "{path}");
    }
}

/// R-C-04, T-CHL-11, T-ALG-17: `algs` is the list of the configuration, no more and no less.
#[tokio::test(flavor = "multi_thread")]
async fn algs_is_the_list_that_is_enforced() {
    for (rules, algs) in [
        ("dpop: { algorithms: [PS256] }\n", "PS256"),
        ("dpop: { algorithms: [RS256, ES512, ES256] }\n", "RS256 ES512 ES256"),
        ("dpop: { algorithms: [EdDSA] }\n", "EdDSA Ed25519"),
    ] {
        let house = House::built(Plan { rules, ..Plan::default() }).await;
        let mut scene = Scene::right(&house);
        if !algs.contains("ES256") {
            assert_eq!(scene.send(&house).await.reason(), "proof_alg", "{algs}");
        }
        scene.credentials = Some(Vec::new());
        let heard = challenges(&scene.send(&house).await);
        let mut listed: Vec<_> = heard[0].get("algs").expect("algs").split(' ').collect();
        let mut expected: Vec<_> = algs.split(' ').collect();
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected);
    }
}

/// A good token must not be thrown away for what is not its fault, nor a login begun: no challenge where credentials do not matter.
#[tokio::test(flavor = "multi_thread")]
async fn no_challenge_without_a_reason() {
    let house = house().await;
    for (what, method, target, status) in [
        ("path", "GET", "/a/../b", 400),
        ("method", "TRACE", "/", 501),
        ("method of the route", "POST", "/get-only", 405),
        ("a public route", "GET", "/public", 200),
    ] {
        for credentials in [None, Some(Vec::new())] {
            let mut scene = Scene::right(&house);
            (scene.method, scene.target) = (method.into(), target.into());
            scene.credentials = credentials;
            let answer = scene.send(&house).await;
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            assert!(
                answer.all("www-authenticate").is_empty() && answer.all("dpop-nonce").is_empty(),
                "{what}"
            );
            answer.one("date");
            if status != 200 {
                assert_eq!(answer.one("cache-control"), "no-store", "{what}");
            }
        }
    }
    // RFC 9110 §15.5.6: a 405 says what would do.
    let mut scene = Scene::at(&house, "/get-only");
    scene.using("DELETE");
    assert_eq!(scene.send(&house).await.one("allow"), "GET");
    // Another host's 421, whose credentials nobody looks at.
    let mut scene = Scene::right(&house);
    (scene.host, scene.sni) = ("other.example".into(), "other.example".into());
    assert!(scene.send(&house).await.all("www-authenticate").is_empty());
}
