//! What of an upstream's answer reaches the caller, and what is said when there is none.

use crate::forwarding::without_credentials;
use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::scripted;

/// R-C-08, R-C-10, R-D-05, T-PXY-16, T-NON-24.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_callers_alone_and_challenge_nobody() {
    let answers = &[
        ("cache-control", "public, max-age=60"),
        ("www-authenticate", "Bearer realm=\"upstream\""),
        ("dpop-nonce", "theirs"),
        ("x-request-id", "theirs"),
        ("connection", "x-internal"),
        ("x-internal", "secret"),
        ("proxy-authenticate", "Basic"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];
    let house = House::built(Plan { answers, ..Plan::default() }).await;
    for (path, foreign, private) in [("/", 0, true), ("/kept", 1, true), ("/public", 1, false)] {
        let answer = Scene::at(&house, path).send(&house).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let caching = answer.all("cache-control").join(", ");
        assert_eq!(caching.contains("private"), private, "{path}: {caching}");
        assert_eq!(answer.all("www-authenticate").len(), foreign, "{path}");
        assert_eq!(answer.all("dpop-nonce").len(), foreign, "{path}");
        assert_ne!(answer.one("x-request-id"), "theirs", "{path}");
        assert!(answer.all("x-internal").is_empty() && answer.all("proxy-authenticate").is_empty(), "{path}");
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"], "{path}");
        assert_eq!(answer.all("date").len(), 1, "{path}");
    }
    // An upstream that says nothing about caching: not for shared caches either.
    let house = House::usual().await;
    assert_eq!(Scene::right(&house).send(&house).await.one("cache-control"), "private");
    assert!(Scene::at(&house, "/public").send(&house).await.all("cache-control").is_empty());
}

/// T-PXY-19: an upstream's trouble has a reason, is no challenge, and says nothing about the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_the_upstream_has_a_name() {
    let closing = scripted::upstream(|mut stream| async move {
        scripted::read_until(&mut stream, b"\r\n\r\n").await;
    })
    .await;
    let switching: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (what, upstream, status, reason) in [
        ("nobody there", scripted::nobody().await, 502, "upstream_unreachable"),
        ("no answer", scripted::silent().await.0, 504, "upstream_timed_out"),
        ("closed", closing, 502, "upstream_broken"),
        ("not HTTP", scripted::answering(b"SSH-2.0-OpenSSH\r\n\r\n").await, 502, "upstream_broken"),
        ("101 nobody asked for", scripted::answering(switching).await, 502, "upstream_broken"),
        (
            "two lengths",
            scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx").await,
            502,
            "upstream_broken",
        ),
    ] {
        let timeouts = ", response_timeout: 200ms, connect_timeout: 1s";
        let house = House::built(Plan { upstream: Some(upstream), timeouts, ..Plan::default() }).await;
        let answer = Scene::right(&house).send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{what}: {answer:?}");
        assert!(answer.all("www-authenticate").is_empty(), "{what}");
        assert_eq!(answer.one("cache-control"), "no-store", "{what}");
        assert_eq!(answer.all("date").len(), 1, "{what}");
        let port = upstream.port().to_string();
        assert!(!format!("{answer:?}").contains(&port), "{what} tells where the upstream is: {answer:?}");
    }
}

/// What is said of a body's coding and length is true, or it is not said; and every answer is of our version, whatever the upstream's.
#[tokio::test(flavor = "multi_thread")]
async fn framing_is_ours() {
    let chunks = "\r\n\r\n4\r\nfour\r\n0\r\n\r\n";
    for coding in ["gzip, chunked", "chunked, gzip", "identity", "chunked\r\ntransfer-encoding: chunked", ""]
    {
        let answer = crate::served::leaked(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}{chunks}"));
        let upstream = scripted::answering(answer.as_bytes()).await;
        let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
        let answer = Scene::right(&house).send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_broken"), "{coding}");
    }
    for (length, said) in [
        ("1.1 200 OK\r\ncontent-length: 4, 4", "4"),
        ("1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4", "4"),
        ("1.1 200 OK\r\ncontent-length: 004", "4"),
        ("1.0 200 OK\r\ncontent-length: 4", "4"),
    ] {
        let answer = crate::served::leaked(format!("HTTP/{length}\r\n\r\nfour"));
        let upstream = scripted::answering(answer.as_bytes()).await;
        let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
        let mut client = house.connect(HOST, None).await;
        client.send(&Scene::right(&house).bytes(&house)).await.expect("sent");
        let line = client.read_until(b"\r\n").await.expect("a line");
        assert!(line.starts_with(b"HTTP/1.1 200 "), "{length}: {}", String::from_utf8_lossy(&line));
        let answer = Scene::right(&house).send(&house).await;
        assert_eq!((answer.all("content-length"), answer.text().as_str()), (vec![said], "four"), "{length}");
    }
}

/// HEAD, 204 and 304 have no body, and the connection goes on behind them.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body() {
    for (method, answer, status) in [
        ("HEAD", &b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\nx-of: upstream\r\n\r\n"[..], 200),
        ("GET", b"HTTP/1.1 204 No Content\r\nx-of: upstream\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\nx-of: upstream\r\n\r\n", 304),
    ] {
        let upstream = scripted::answering(answer).await;
        let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
        let mut client = house.connect(HOST, None).await;
        for _ in 0..2 {
            let mut scene = Scene::right(&house);
            scene.using(method);
            client.send(&scene.bytes(&house)).await.expect("sent");
            let head = client.head().await.expect("a head");
            assert_eq!((head.status, head.one("x-of")), (status, "upstream"));
            if method == "HEAD" {
                assert_eq!(head.one("content-length"), "12345");
            }
        }
    }
    // A refusal of HEAD has none either.
    let house = House::usual().await;
    let mut scene = without_credentials(&house, "/");
    scene.using("HEAD");
    let mut client = house.connect(HOST, None).await;
    for _ in 0..2 {
        client.send(&scene.bytes(&house)).await.expect("sent");
        assert_eq!(client.head().await.expect("a head").status, 401);
    }
}
