//! What pages of other origins may do: preflights, and who may read which answer (R-C-07, T-NON-23, T-CHL-10).

use holdfast::verify::rejection::Rejection;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::scripted;
use crate::wire::Answer;

const APP: &str = "https://app.example.com";

const ROUTES: &str = "  - name: pages
    match: { path_prefix: /pages, methods: [GET, PUT] }
    upstream: echo
    require: { scopes: [accounts:read] }
    cors: { origins: [https://App.example.com:443, 'http://localhost:3000'], headers: [dpop, x-trace], expose: [x-total], max_age: 5m }
  - { name: others, match: { path_prefix: /pages, methods: [DELETE] }, upstream: echo }
  - { name: nonce, match: { path_prefix: /nonce }, upstream: echo, require: { nonce: required }, cors: { origins: [https://app.example.com] } }
  - { name: open, match: { path_prefix: /open }, upstream: echo, public: true, cors: { origins: ['*'] } }
  - { name: cookies, match: { path_prefix: /cookies }, upstream: echo, cors: { origins: [https://app.example.com], credentials: true } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// A request without credentials, as browsers send preflights, with these lines.
fn asking(house: &House, method: &str, path: &str, lines: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::at(house, path);
    scene.using(method);
    scene.credentials = Some(Vec::new());
    scene.headers = lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    scene
}

fn named(answer: &Answer, name: &str) -> Vec<String> {
    let lines = answer.all(name).join(",");
    lines.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
}

fn says_nothing_of_cors(answer: &Answer) -> bool {
    answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-"))
}

/// What a preflight hears.
enum Heard {
    /// 204 with this origin, these methods and these headers.
    Allowed(&'static str, &'static str, &'static str),
    /// A refusal that no page can read.
    Refused(Rejection),
    /// It is no preflight, and went to the upstream.
    Forwarded,
}

/// What is asked, at which path, with which lines, and what is heard then.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], Heard);

const METHOD: &str = "access-control-request-method";
const HEADERS: &str = "access-control-request-headers";

#[tokio::test(flavor = "multi_thread")]
async fn preflights() {
    use Heard::{Allowed, Forwarded, Refused};
    let house = house().await;
    let pages = "authorization, dpop, x-trace";
    let plain = "authorization, dpop, content-type";
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("as browsers ask", "/pages/1", &[("origin", APP), (METHOD, "PUT"), (HEADERS, "authorization,dpop")], Allowed(APP, "GET, PUT", pages)),
        ("no headers asked for", "/pages", &[("origin", APP), (METHOD, "GET")], Allowed(APP, "GET, PUT", pages)),
        ("headers that are not allowed: the browser sees it", "/pages", &[("origin", APP), (METHOD, "GET"), (HEADERS, "x-evil")], Allowed(APP, "GET, PUT", pages)),
        ("the second origin", "/pages", &[("origin", "http://localhost:3000"), (METHOD, "GET")], Allowed("http://localhost:3000", "GET, PUT", pages)),
        ("a route for all methods", "/nonce", &[("origin", APP), (METHOD, "PATCH")], Allowed(APP, "PATCH", plain)),
        ("any origin", "/open", &[("origin", "https://evil.example"), (METHOD, "GET")], Allowed("*", "GET", "content-type")),
        ("any origin, from no origin", "/open", &[("origin", "null"), (METHOD, "GET")], Allowed("*", "GET", "content-type")),
        ("another origin", "/pages", &[("origin", "https://evil.example"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("the origin as a prefix", "/pages", &[("origin", "https://app.example.com.evil.example"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("the origin as a suffix", "/pages", &[("origin", "https://evilapp.example.com"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("below the origin", "/pages", &[("origin", "https://x.app.example.com"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("another scheme", "/pages", &[("origin", "http://app.example.com"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("another port", "/pages", &[("origin", "https://app.example.com:444"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("as no browser writes it", "/pages", &[("origin", "https://app.example.com:443"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("with a slash", "/pages", &[("origin", "https://app.example.com/"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("null", "/pages", &[("origin", "null"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("an empty origin", "/pages", &[("origin", ""), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("two origins", "/pages", &[("origin", APP), ("origin", APP), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        ("two origins in one", "/pages", &[("origin", "https://app.example.com http://localhost:3000"), (METHOD, "GET")], Refused(Rejection::OriginRefused)),
        // The route is that of the method that is asked for, not of OPTIONS.
        ("a method of a route without cors", "/pages", &[("origin", APP), (METHOD, "DELETE")], Refused(Rejection::MethodUnknown)),
        ("a method of no route", "/pages", &[("origin", APP), (METHOD, "PATCH")], Refused(Rejection::MethodUnknown)),
        ("methods have one spelling", "/pages", &[("origin", APP), (METHOD, "put")], Refused(Rejection::MethodUnknown)),
        ("a method that no page may use", "/nonce", &[("origin", APP), (METHOD, "TRACE")], Refused(Rejection::CredentialsMissing)),
        ("no method at all", "/nonce", &[("origin", APP), (METHOD, "G ET")], Refused(Rejection::CredentialsMissing)),
        ("two methods", "/nonce", &[("origin", APP), (METHOD, "GET"), (METHOD, "GET")], Refused(Rejection::CredentialsMissing)),
        ("an ambiguous path", "/pages//1", &[("origin", APP), (METHOD, "GET")], Refused(Rejection::PathAmbiguous)),
        ("a route without cors", "/", &[("origin", APP), (METHOD, "GET")], Refused(Rejection::CredentialsMissing)),
        ("a public route without cors", "/public", &[("origin", APP), (METHOD, "GET")], Forwarded),
        ("OPTIONS without an origin", "/open", &[(METHOD, "GET")], Forwarded),
        ("OPTIONS without a method", "/open", &[("origin", APP)], Forwarded),
    ];
    for (what, path, lines, expected) in rows {
        let answer = asking(&house, "OPTIONS", path, lines).send(&house).await;
        let arrived = house.seen().len();
        match expected {
            Allowed(origin, methods, headers) => {
                assert_eq!((answer.status, arrived), (204, 0), "{what}: {answer:?}");
                assert!(answer.body.is_empty(), "{what}");
                assert_eq!(answer.one("access-control-allow-origin"), *origin, "{what}");
                assert_eq!(answer.one("access-control-allow-methods"), *methods, "{what}");
                assert_eq!(answer.one("access-control-allow-headers"), *headers, "{what}");
                let age = if path.starts_with("/pages") { "300" } else { "600" };
                assert_eq!(answer.one("access-control-max-age"), age, "{what}");
                assert!(answer.all("access-control-allow-credentials").is_empty(), "{what}");
                let vary = named(&answer, "vary");
                assert!(vary.iter().any(|name| name == METHOD) && vary.iter().any(|name| name == HEADERS));
                assert_eq!(vary.iter().any(|name| name == "origin"), *origin != "*", "{what}: {answer:?}");
                assert_eq!(answer.all("x-request-id").len(), 1, "{what}");
            }
            Refused(rejection) => {
                assert_eq!((answer.status, arrived), (rejection.status(), 0), "{what}: {answer:?}");
                assert_eq!(answer.reason(), rejection.label(), "{what}");
                // An OPTIONS that is no preflight is a request like others, and its refusal is read like others.
                if *rejection != Rejection::CredentialsMissing {
                    assert!(says_nothing_of_cors(&answer), "{what}: {answer:?}");
                }
            }
            Forwarded => assert_eq!((answer.status, arrived), (200, 1), "{what}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_in_http2_and_with_credentials() {
    let house = house().await;
    let request = Request::builder()
        .method("OPTIONS")
        .uri(format!("https://{HOST}/cookies"))
        .header("origin", APP)
        .header(METHOD, "GET")
        .body(Full::default())
        .expect("a request");
    let answer = house.connect_h2(None).await.exchange(request).await.expect("an answer");
    assert_eq!((answer.status, answer.one("access-control-allow-origin")), (204, APP), "{answer:?}");
    assert_eq!(answer.one("access-control-allow-credentials"), "true");
    assert!(house.seen().is_empty());
    let (_, metrics) = house.ask_admin("/metrics").await;
    assert!(
        metrics.contains("holdfast_requests_total{route=\"cookies\",outcome=\"preflight\"} 1"),
        "{metrics}"
    );
}

/// The page of `origin` may read this answer, and with it everything that it needs to go on.
fn readable(answer: &Answer, origin: &str, what: &str) {
    assert_eq!(answer.one("access-control-allow-origin"), origin, "{what}: {answer:?}");
    assert!(named(answer, "vary").contains(&"origin".to_owned()), "{what}: {answer:?}");
    let exposed = named(answer, "access-control-expose-headers");
    for name in [
        "dpop-nonce",
        "www-authenticate",
        "retry-after",
        "date",
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
    ] {
        assert!(exposed.contains(&name.to_owned()), "{what}: {name} in {exposed:?}");
    }
    for name in ["allow-methods", "allow-headers", "max-age", "allow-credentials"] {
        assert!(answer.all(&format!("access-control-{name}")).is_empty(), "{what}: {answer:?}");
    }
}

/// The page may read nothing, and no cache gives it what is another's.
fn unreadable(answer: &Answer, what: &str) {
    assert!(says_nothing_of_cors(answer), "{what}: {answer:?}");
    assert!(named(answer, "vary").contains(&"origin".to_owned()), "{what}: {answer:?}");
}

/// What is broken in a scene, the status that is heard then, and how to break it.
type Refusal = (&'static str, u16, fn(&mut Scene));

const REFUSALS: &[Refusal] = &[
    ("no credentials", 401, |s| s.credentials = Some(Vec::new())),
    ("an expired token", 401, |s| s.token_claims["exp"] = json!(1)),
    ("a proof for another method", 401, |s| s.proof_claims["htm"] = json!("PUT")),
    ("two tokens", 400, |s| {
        let token = ("authorization".to_owned(), "DPoP a".to_owned());
        s.credentials = Some(vec![token.clone(), token]);
    }),
    ("no scope", 403, |s| s.token_claims["scope"] = json!("other")),
    ("a large body", 413, |s| {
        s.using("PUT");
        s.body = "x".repeat(1025);
    }),
    ("a nonce is needed", 401, |s| s.go_to("/nonce")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_can_be_read() {
    let more = "limits: { body_bytes: 1024 }\n";
    let house = House::built(Plan { routes: ROUTES, more, ..Plan::default() }).await;
    for (what, status, change) in REFUSALS {
        for origin in [Some(APP), Some("https://evil.example"), None] {
            let mut scene = Scene::at(&house, "/pages");
            change(&mut scene);
            scene.headers.extend(origin.map(|origin| ("origin".to_owned(), origin.to_owned())));
            let answer = scene.send(&house).await;
            assert_eq!((answer.status, house.seen().len()), (*status, 0), "{what}: {answer:?}");
            match origin {
                Some(APP) => readable(&answer, APP, what),
                Some(_) | None => unreadable(&answer, what),
            }
            if scene.target == "/nonce" {
                assert_eq!(answer.all("dpop-nonce").len(), 1, "{answer:?}");
            }
        }
    }
    // Before a route is known there are no rules to go by.
    for (what, path, host) in
        [("an ambiguous path", "/pages/../x", HOST), ("another host", "/pages", "x.example")]
    {
        let mut scene = asking(&house, "GET", path, &[("origin", APP)]);
        scene.host = host.into();
        let answer = scene.send(&house).await;
        assert!(answer.status >= 400 && says_nothing_of_cors(&answer), "{what}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_can_trouble_of_ours() {
    // A store for two proofs, one for each key.
    let rules = "replay: { memory: { capacity: 2, per_key: 1, after_restart: accept } }\n";
    let small = House::built(Plan { rules, routes: ROUTES, ..Plan::default() }).await;
    let page = |house: &House| {
        let mut scene = Scene::at(house, "/pages");
        scene.headers.push(("origin".into(), APP.into()));
        scene
    };
    let mut first = page(&small);
    for (jti, status) in [("one", 200), ("one", 401), ("two", 429)] {
        first.proof_claims["jti"] = json!(jti);
        let answer = first.send(&small).await;
        assert_eq!(answer.status, status, "{answer:?}");
        readable(&answer, APP, jti);
    }
    for status in [200, 503] {
        let answer = page(&small).send(&small).await;
        assert_eq!(answer.status, status, "{answer:?}");
        readable(&answer, APP, "a full store");
    }
    for (what, upstream, status) in
        [("nobody there", scripted::nobody().await, 502), ("no answer", scripted::silent().await.0, 504)]
    {
        let timeouts = ", response_timeout: 200ms, connect_timeout: 1s";
        let plan = Plan { upstream: Some(upstream), timeouts, routes: ROUTES, ..Plan::default() };
        let house = House::built(plan).await;
        let answer = page(&house).send(&house).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        readable(&answer, APP, what);
    }
}

/// What an upstream says of CORS holds on the routes where the gateway says nothing, and on no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_allows() {
    let answers = &[
        ("access-control-allow-origin", "*"),
        ("access-control-allow-origin", "https://evil.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET"),
        ("access-control-expose-headers", "x-theirs"),
        ("access-control-allow-private-network", "true"),
        ("vary", "accept"),
        ("x-total", "3"),
    ];
    let house = House::built(Plan { routes: ROUTES, answers, ..Plan::default() }).await;
    let send = async |path: &str, origin: &str| {
        let mut scene = Scene::at(&house, path);
        scene.headers.push(("origin".into(), origin.into()));
        let answer = scene.send(&house).await;
        let seen = house.seen();
        assert_eq!((answer.status, seen.len()), (200, 1), "{answer:?}");
        assert_eq!(seen[0].headers["origin"], origin, "the upstream may want to know");
        answer
    };
    let answer = send("/pages", APP).await;
    readable(&answer, APP, "passed");
    assert!(named(&answer, "access-control-expose-headers").contains(&"x-total".to_owned()));
    assert!(!named(&answer, "access-control-expose-headers").contains(&"x-theirs".to_owned()));
    assert!(named(&answer, "vary").contains(&"accept".to_owned()));
    unreadable(&send("/pages", "https://evil.example").await, "passed, for another page");
    let answer = send("/open", "https://evil.example").await;
    assert_eq!(answer.one("access-control-allow-origin"), "*");
    assert_eq!(named(&answer, "vary"), ["accept"]);
    assert!(answer.all("access-control-allow-credentials").is_empty());
    let answer = send("/cookies", APP).await;
    assert_eq!(answer.one("access-control-allow-credentials"), "true");
    let answer = send("/", APP).await;
    assert_eq!(answer.all("access-control-allow-origin").len(), 2);
    assert_eq!(answer.one("access-control-expose-headers"), "x-theirs");
}
