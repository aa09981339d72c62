//! What reaches the upstream of a request that was let through.

use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::house::{HOST, House, ISSUER, OTHER_HOST, Plan, Seen};
use crate::scene::{Scene, thumbprint};
use crate::scripted;
use crate::wire::Answer;

/// What the one request was that reached the upstream.
fn the_one(house: &House, answer: &Answer) -> Seen {
    let mut seen = house.seen();
    assert_eq!((answer.status, seen.len()), (200, 1), "{answer:?}");
    seen.remove(0)
}

fn line(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A request that carries no credentials at all.
pub fn without_credentials(house: &House, path: &str) -> Scene {
    let mut scene = Scene::at(house, path);
    scene.credentials = Some(Vec::new());
    scene
}

/// Names that only the gateway, or a proxy it trusts, may say.
const FORGED: &[&str] = &[
    "X-Auth-Subject",
    "x_auth_subject",
    "X-AUTH_SUBJECT",
    "X_Auth-Subject",
    "X-Auth-Client-Id",
    "X_Auth_Client_Id",
    "X-Auth-Scope",
    "X-Auth-Issuer",
    "X-Auth-Binding",
    "X-Auth-Key-Thumbprint",
    "X-Auth-Key_Thumbprint",
    "X-Auth-Anything-Else",
    "Client-Cert",
    "Client_Cert",
    "Client-Cert-Chain",
    "X-Client-Cert",
    "X-Client-Cert-Chain",
    "X-Client-Certificate",
    "X-SSL-Client-Cert",
    "X_SSL_Client_Verify",
    "SSL-Client-Cert",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-ARR-ClientCert",
    "X-TLS-Client-Subject",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "X-Forwarded-For",
    "X_Forwarded_For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "Forwarded",
    "X-Real-IP",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X_HTTP_Method_Override",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X_Request_Id",
    "X-Original-Host",
    "X-HTTP-Host-Override",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Forwarded-For",
    "X-Forwarded",
    "Proxy",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Keep-Alive",
    "TE",
    "Upgrade",
];

/// R-L-01, R-F-10, R-A-13, T-PXY-02, T-MTL-21: on bound and on public routes, with identity headers or without.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_forged_reaches_the_upstream() {
    let house = House::usual().await;
    // Twice as many lines are more than a head may have.
    let (some, others) = FORGED.split_at(FORGED.len() / 2);
    for (path, names) in
        ["/", "/dpop", "/public", "/kept"].iter().flat_map(|path| [(*path, some), (*path, others)])
    {
        let mut scene = Scene::at(&house, path);
        if path == "/public" {
            scene.credentials = Some(Vec::new());
        }
        scene.headers =
            names.iter().flat_map(|name| [line(name, "evil"), line(name, "evil, twice")]).collect();
        scene.headers.extend([line("X-Authentic", "fine"), line("Cookie", "a=b"), line("X-Trace_Id", "7")]);
        let seen = the_one(&house, &scene.send(&house).await);
        for (name, value) in &seen.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains("evil"), "{path}: {name}: {value}");
        }
        // What is nobody's business stays.
        for (name, value) in [("x-authentic", "fine"), ("cookie", "a=b"), ("x-trace_id", "7")] {
            assert_eq!(seen.headers[name], value, "{path}");
        }
        let told = seen.headers.keys().filter(|name| name.as_str().starts_with("x-auth-")).count();
        assert_eq!(told, if path == "/" { 6 } else { 0 }, "{path}: {:?}", seen.headers);
    }
}

/// R-L-02, T-PXY-03: `Connection` takes a caller's headers away, none of ours, and no framing.
#[tokio::test(flavor = "multi_thread")]
async fn connection_deletes_nothing_of_ours() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.body = "four".into();
    scene.headers = vec![
        line("Connection", "X-Auth-Subject, x-auth-key-thumbprint,X-Forwarded-For , X-Hop"),
        line("Connection", "host, content-length, x-request-id, via, authorization, dpop"),
        line("X-Hop", "evil"),
        line("x-hop", "evil"),
        line("X-Kept", "fine"),
    ];
    let answer = scene.send(&house).await;
    let seen = the_one(&house, &answer);
    assert_eq!(seen.headers["x-auth-subject"], "alice");
    assert_eq!(seen.headers["x-auth-key-thumbprint"], scene.key.thumbprint().to_base64url());
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen.headers["host"], HOST);
    assert_eq!(seen.headers["x-request-id"], answer.one("x-request-id"));
    assert_eq!(seen.headers["x-kept"], "fine");
    assert!(!seen.headers.contains_key("x-hop") && !seen.headers.contains_key("connection"));
    assert_eq!(seen.body, "four");
}

/// R-L-04: what the upstream is told about the request is what the gateway knows.
#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_learns_the_public_name_and_the_callers_address() {
    let house = House::usual().await;
    for host in [HOST, OTHER_HOST] {
        let mut scene = Scene::right(&house);
        (scene.host, scene.sni) = (host.into(), host.into());
        scene.go_to("/where?x=y");
        let answer = scene.send(&house).await;
        let seen = the_one(&house, &answer);
        for (name, value) in [
            ("host", host),
            ("x-forwarded-host", host),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "127.0.0.1"),
            ("via", "1.1 holdfast"),
            ("x-request-id", answer.one("x-request-id")),
        ] {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines, [value], "{name}");
        }
    }
}

/// R-B-13, T-PXY-15.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_end_here_unless_the_route_keeps_them() {
    let house = House::usual().await;
    for (path, kept) in [("/", false), ("/dpop", false), ("/public", false), ("/kept", true)] {
        let scene = Scene::at(&house, path);
        let credentials = scene.credentials(&house);
        let answer = scene.send_bytes(&house, &scene.bytes_with(&credentials)).await;
        let seen = the_one(&house, &answer);
        for (name, value) in &credentials {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines, if kept { vec![value.as_str()] } else { Vec::new() }, "{path}: {name}");
        }
    }
}

/// A public route takes anyone, and what looks like credentials there is not judged.
#[tokio::test(flavor = "multi_thread")]
async fn public_routes_ask_for_nothing() {
    let house = House::usual().await;
    let mut scene = without_credentials(&house, "/public/page?access_token=x");
    assert_eq!(the_one(&house, &scene.send(&house).await).target, "/public/page?access_token=x");
    scene.credentials = Some(vec![line("authorization", "Bearer nonsense"), line("authorization", "DPoP x")]);
    let seen = the_one(&house, &scene.send(&house).await);
    assert!(!seen.headers.contains_key("authorization"));
}

/// X-Auth-*, for a key, a certificate and both.
#[tokio::test(flavor = "multi_thread")]
async fn identity_is_the_tokens_and_the_bindings() {
    let house = House::usual().await;
    let by_key = Scene::right(&house);
    let by_certificate = Scene::with_certificate(&house);
    let mut by_both = Scene::right(&house);
    by_both.certificate = Some(0);
    let jkt = by_both.key.thumbprint().to_base64url();
    by_both.token_claims["cnf"] = json!({"jkt": jkt, "x5t#S256": thumbprint(&house, 0)});
    for (scene, binding, key) in [
        (&by_key, "dpop", by_key.key.thumbprint().to_base64url()),
        (&by_certificate, "mtls", thumbprint(&house, 0)),
        (&by_both, "both", jkt),
    ] {
        let seen = the_one(&house, &scene.send(&house).await);
        for (name, value) in [
            ("x-auth-subject", "alice"),
            ("x-auth-client-id", "app"),
            ("x-auth-scope", "accounts:read accounts:write"),
            ("x-auth-issuer", ISSUER),
            ("x-auth-binding", binding),
            ("x-auth-key-thumbprint", &key),
        ] {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines, [value], "{binding}: {name}");
        }
    }
    // One the token has no value for is absent, and nobody else can supply it.
    let mut scene = Scene::right(&house);
    scene.token_claims.as_object_mut().expect("an object").remove("scope");
    scene.headers = vec![line("x-auth-scope", "admin")];
    assert!(!the_one(&house, &scene.send(&house).await).headers.contains_key("x-auth-scope"));
}

/// A claim the upstream would read as another one is not passed on, and then neither is the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_does_not_fit_goes_nowhere() {
    let house = House::usual().await;
    for subject in [" admin", "admin ", "a\r\nX-Auth-Scope: root", "a\u{7f}", "\t", "\u{a0}admin"] {
        let mut scene = Scene::right(&house);
        scene.token_claims["sub"] = json!(subject);
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "identity_unfit"), "{subject:?}");
        assert!(house.seen().is_empty(), "{subject:?}");
    }
    for subject in ["a b", "\u{e9}lodie", "a,b;c=\"d\""] {
        let mut scene = Scene::right(&house);
        scene.token_claims["sub"] = json!(subject);
        let seen = the_one(&house, &scene.send(&house).await);
        assert_eq!(seen.headers["x-auth-subject"].as_bytes(), subject.as_bytes());
    }
}

/// Bytes with every value in them, so that nothing can be mistaken for text.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).expect("a byte")).collect()
}

/// Bodies arrive as they were sent, however they were framed.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_as_they_were_sent() {
    let house = House::usual().await;
    for length in [0, 1, 70_000, 3 << 20] {
        let sent = bytes(length);
        let mut scene = Scene::right(&house);
        scene.using("POST");
        scene.headers = vec![line("content-length", &length.to_string()), line("content-type", "x/y")];
        let mut request = scene.bytes(&house);
        request.extend_from_slice(&sent);
        let seen = the_one(&house, &scene.send_bytes(&house, &request).await);
        assert!(seen.body == sent, "{length} bytes with a length");
        assert_eq!(seen.headers["content-length"], length.to_string());
        assert_eq!(seen.headers["content-type"], "x/y");

        let mut scene = Scene::right(&house);
        scene.using("PUT");
        scene.headers = vec![line("transfer-encoding", "chunked")];
        let mut request = scene.bytes(&house);
        let mut left = &sent[..];
        for size in [1, 2, 1000, 60_000].into_iter().cycle() {
            let (chunk, rest) = left.split_at(left.len().min(size));
            if chunk.is_empty() {
                break;
            }
            request.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
            left = rest;
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let seen = the_one(&house, &scene.send_bytes(&house, &request).await);
        assert!(seen.body == sent, "{length} bytes in chunks");
    }
}

/// R-L-01, T-PXY-04: a field that comes late gets past no rule.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_dropped() {
    let (upstream, heard) = scripted::silent().await;
    let timeouts = ", response_timeout: 300ms";
    let house = House::built(Plan { upstream: Some(upstream), timeouts, ..Plan::default() }).await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.headers = vec![line("transfer-encoding", "chunked"), line("Trailer", "X-Auth-Subject")];
    let mut request = scene.bytes(&house);
    request.extend_from_slice(b"5\r\nhello\r\n0\r\nX-Auth-Subject: evil\r\nX-Other: evil\r\n\r\n");
    assert_eq!(scene.send_bytes(&house, &request).await.reason(), "upstream_timed_out");
    let heard = String::from_utf8(heard.lock().expect("no one panicked").clone()).expect("text");
    assert!(heard.contains("hello") && heard.ends_with("\r\n0\r\n\r\n"), "{heard}");
    assert!(!heard.contains("evil") && !heard.to_lowercase().contains("\r\ntrailer:"), "{heard}");
}

/// Neither direction waits for the end: the first part passes before the second is there.
#[tokio::test(flavor = "multi_thread")]
async fn both_directions_stream() {
    let (uploaded, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&uploaded), Arc::clone(&go_on));
    let upstream = scripted::upstream(move |mut stream| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            scripted::read_until(&mut stream, b"first").await;
            tell.notify_one();
            scripted::read_until(&mut stream, b"0\r\n\r\n").await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwait\r\n";
            stream.write_all(head).await.expect("written");
            wait.notified().await;
            stream.write_all(b"4\r\ndone\r\n0\r\n\r\n").await.expect("written");
        }
    })
    .await;
    let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.headers = vec![line("transfer-encoding", "chunked")];
    let mut client = house.connect(HOST, None).await;
    client.send(&scene.bytes(&house)).await.expect("sent");
    client.send(b"5\r\nfirst\r\n").await.expect("sent");
    // Only once the upstream has the first part does the second go.
    uploaded.notified().await;
    client.send(b"6\r\nsecond\r\n0\r\n\r\n").await.expect("sent");
    client.read_until(b"4\r\nwait\r\n").await.expect("the first part");
    go_on.notify_one();
    client.read_until(b"4\r\ndone\r\n0\r\n\r\n").await.expect("the second part");
}

/// Invariant 7: the query as it came, the path as it was judged.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_is_what_was_judged() {
    let house = House::usual().await;
    for (sent, forwarded) in [
        ("/a?x=%2f&y=a+b;c=%7e?/..//\\|{}&&=", "/a?x=%2f&y=a+b;c=%7e?/..//\\|{}&&="),
        ("/a?", "/a?"),
        ("/a??", "/a??"),
        ("/%7euser/%4d%2D?%41", "/~user/M-?%41"),
        ("/a;v=1/b,c:d@e!$&'()*+=~", "/a;v=1/b,c:d@e!$&'()*+=~"),
        ("/%c3%a9/%20", "/%C3%A9/%20"),
        ("/a/", "/a/"),
        ("/...", "/..."),
    ] {
        let scene = Scene::at(&house, sent);
        assert_eq!(the_one(&house, &scene.send(&house).await).target, forwarded, "{sent}");
    }
}

/// T-PXY-10: `100 Continue` is an invitation, so it goes to those that are let in.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_let_in_is_asked_for_the_body() {
    let house = House::usual().await;
    let expecting = |mut scene: Scene| {
        scene.using("POST");
        scene.headers = vec![line("expect", "100-continue"), line("content-length", "4")];
        scene.bytes(&house)
    };
    let mut client = house.connect(HOST, None).await;
    client.send(&expecting(without_credentials(&house, "/"))).await.expect("sent");
    assert_eq!(client.head().await.expect("a head").status, 401);
    assert!(house.seen().is_empty());

    let mut client = house.connect(HOST, None).await;
    client.send(&expecting(Scene::right(&house))).await.expect("sent");
    assert_eq!(client.head().await.expect("a head").status, 100);
    let answer = client.exchange(b"body").await.expect("an answer");
    let seen = the_one(&house, &answer);
    assert_eq!(seen.body, "body");
    assert!(!seen.headers.contains_key("expect"));
}

/// RFC 9112 §9.6: behind a body that nobody reads the connection ends, and the answer says so. One that has come by then is read away: a caller
/// that is told to prove again with a nonce need not connect again.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_go_on_says_so() {
    let early = scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let early = House::built(Plan { upstream: Some(early), ..Plan::default() }).await;
    let house = House::usual().await;
    let posts = |mut scene: Scene, framing: (&str, &str), body: &str| {
        scene.using("POST");
        scene.headers = vec![line(framing.0, framing.1)];
        [&scene.bytes(&house)[..], body.as_bytes()].concat()
    };
    let (length, chunked) = (("content-length", "9"), ("transfer-encoding", "chunked"));
    for (at, framing, body, closes) in [
        (&house, length, "all of it", false),
        (&house, length, "", true),
        (&house, length, "half", true),
        (&house, chunked, "3\r\nabc\r\n", true),
        (&house, chunked, "3\r\nabc\r\n0\r\n\r\n", true),
        (&early, length, "half", true),
    ] {
        let scene =
            if closes && std::ptr::eq(at, &early) { Scene::right(at) } else { without_credentials(at, "/") };
        let mut client = at.connect(HOST, None).await;
        let answer = client.exchange(&posts(scene, framing, body)).await.expect("an answer");
        let told: &[&str] = if closes { &["close"] } else { &[] };
        assert_eq!(answer.all("connection"), told, "{framing:?} {body:?}");
        if !closes {
            let next = client.exchange(&Scene::right(at).bytes(at)).await.expect("an answer");
            assert_eq!(next.status, 200);
        }
    }
}

/// T-REQ-41, T-PXY-08: on a route that lists no protocol nothing is ever a tunnel. An upgrade goes on as a plain request; what came behind it
/// without waiting for the answer is thrown away, since only a tunnel could give it a meaning.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_a_plain_request() {
    let house = House::usual().await;
    let upgrade =
        [line("connection", "upgrade"), line("upgrade", "websocket"), line("sec-websocket-version", "13")];
    let mut scene = without_credentials(&house, "/");
    scene.headers = upgrade.to_vec();
    assert_eq!(scene.send(&house).await.status, 401);
    let mut client = house.connect(HOST, None).await;
    for _ in 0..2 {
        let mut scene = Scene::right(&house);
        scene.headers = upgrade.to_vec();
        let seen = the_one(&house, &client.exchange(&scene.bytes(&house)).await.expect("an answer"));
        assert!(!seen.headers.contains_key("upgrade") && !seen.headers.contains_key("connection"));
    }
    let mut scene = Scene::right(&house);
    scene.headers = upgrade.to_vec();
    let mut both = scene.bytes(&house);
    both.extend(Scene::at(&house, "/behind").bytes(&house));
    let answer = client.exchange(&both).await.expect("an answer");
    assert_eq!(answer.one("connection"), "close");
    assert_eq!(the_one(&house, &answer).target, "/");
    assert!(client.is_closed().await && house.seen().is_empty());
}
