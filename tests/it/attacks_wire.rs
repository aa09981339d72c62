//! What was tried from the wire: requests that two readers could understand differently, and peers that never finish.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::scripted;
use crate::wire;

/// An HTTP/2 connection.
async fn http2(house: &House) -> http2::SendRequest<Full<Bytes>> {
    let mut settings = wire::settings(rustls::ALL_VERSIONS, None);
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let stream = wire::tls(house.address, HOST, Arc::new(settings)).await.expect("the handshake");
    let (send, connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

/// HTTP/2 frames a body by itself, so several lengths, or an empty one, are no error there; to an HTTP/1 upstream they are where requests
/// are told apart.
#[tokio::test(flavor = "multi_thread")]
async fn one_length_reaches_the_upstream() {
    for (lengths, body, expected) in [
        (&["0", "0"][..], "", &["content-length: 0"][..]),
        (&[""], "", &["content-length: 0"]),
        (&["5", "5"], "hello", &["content-length: 5"]),
        (&["05"], "hello", &["content-length: 5"]),
    ] {
        let (upstream, heard) = scripted::silent().await;
        let timeouts = ", response_timeout: 200ms";
        let house = House::built(Plan { upstream: Some(upstream), timeouts, ..Plan::default() }).await;
        let mut request = Request::post(format!("https://{HOST}/public")).version(Version::HTTP_2);
        for length in lengths {
            request = request.header("content-length", *length);
        }
        let request = request.body(Full::from(body)).expect("a request");
        let answer = http2(&house).await.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 504, "{lengths:?}");
        let heard = String::from_utf8_lossy(&heard.lock().expect("no one panicked")).into_owned();
        let framing: Vec<&str> = heard
            .lines()
            .filter(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding"))
            .collect();
        assert_eq!(framing, expected, "{heard}");
        assert!(heard.ends_with(&format!("\r\n\r\n{body}")), "{heard}");
    }
}

/// A body whose length is not known is no less a body for coming with GET.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_lost_on_the_way() {
    let house = House::usual().await;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let mut client = house.connect(HOST, None).await;
        let request = format!(
            "{method} /public HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        client.send(request.as_bytes()).await.expect("sent");
        assert_eq!(client.head().await.expect("an answer").status, 200, "{method}");
        let seen = house.seen();
        assert_eq!((seen.len(), &seen[0].body[..]), (1, &b"hello"[..]), "{method}");
    }
}

/// RFC 9113 §8.2.3: crumbs of a cookie are one line in HTTP/1.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_put_together() {
    let house = House::usual().await;
    let request = Request::get(format!("https://{HOST}/public"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::default())
        .expect("a request");
    assert_eq!(http2(&house).await.send_request(request).await.expect("an answer").status(), 200);
    let seen = house.seen();
    let cookies: Vec<_> = seen[0].headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

/// Some servers make `_` of whatever is no letter and no digit in a header's name.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_no_second_spelling() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    for name in ["x.auth.subject", "x~auth-subject", "X!Auth!Subject", "client.cert", "content+length"] {
        scene.headers.push((name.into(), "admin".into()));
    }
    assert_eq!(scene.send(&house).await.status, 200);
    let seen = house.seen();
    let twins: Vec<_> = seen[0].headers.iter().filter(|(_, value)| *value == "admin").collect();
    assert!(twins.is_empty(), "{twins:?}");
}

/// `limits.idle_timeout` is for the upstream's body as well, or one silent answer holds a connection for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_answer_ends() {
    let upstream = scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let more = "limits: { idle_timeout: 300ms }\n";
    let house = House::built(Plan { upstream: Some(upstream), more, ..Plan::default() }).await;
    let request = format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let broken = house.connect(HOST, None).await.exchange(request.as_bytes()).await.expect_err("broken off");
    assert_eq!(broken.kind(), std::io::ErrorKind::UnexpectedEof);
    let request = Request::get(format!("https://{HOST}/public")).body(Full::default()).expect("a request");
    let answer = http2(&house).await.send_request(request).await.expect("a head");
    assert!(answer.into_body().collect().await.is_err());
}

/// An answer with two framings: the length that does not count is not passed on, nor is a field that comes behind the body.
#[tokio::test(flavor = "multi_thread")]
async fn one_framing_reaches_the_caller() {
    let upstream = scripted::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\ntrailer: dpop-nonce\r\n\r\n5\r\nhello\r\n0\r\ndpop-nonce: x\r\n\r\n",
    )
    .await;
    let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
    let request = format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let answer = house.connect(HOST, None).await.exchange(request.as_bytes()).await.expect("an answer");
    assert_eq!((answer.text().as_str(), answer.all("content-length").len()), ("hello", 0));
    let request = Request::get(format!("https://{HOST}/public")).body(Full::default()).expect("a request");
    let answer = http2(&house).await.send_request(request).await.expect("a head");
    let whole = answer.into_body().collect().await.expect("a body");
    assert!(whole.trailers().is_none());
    assert_eq!(whole.to_bytes(), "hello");
}

/// Whoever asks for numbers and never reads them may not keep the probes out: the process would be taken for dead.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_outlives_those_who_do_not_read() {
    let house = House::usual().await;
    let requests = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(30_000);
    let mut kept = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(house.admin).await.expect("a connection");
        // Written until nothing more is taken; what the gateway says to it is never read.
        let writing = tokio::time::timeout(Duration::from_millis(50), stream.write_all(requests.as_bytes()));
        drop(writing.await);
        kept.push(stream);
    }
    assert_eq!(house.ask_admin("/livez").await.0, 200);
}

/// An upstream decodes `%3A`, and a servlet container cuts off `;x`: neither may lead to a route that asks for less.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_no_second_spelling() {
    let routes = "  - { name: commit, match: { path: \"/public/docs:commit\" }, upstream: echo }
  - { name: inner, match: { path_prefix: /public/inner }, upstream: echo }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    for (path, reason) in [
        ("/public/docs:commit", "credentials_missing"),
        ("/public/inner", "credentials_missing"),
        ("/public/docs%3Acommit", "path_ambiguous"),
        ("/public/docs%3acommit", "path_ambiguous"),
        ("/public/docs:commit;x", "path_ambiguous"),
        ("/public/inner;x=1", "path_ambiguous"),
        ("/public/inner;x=1/y", "path_ambiguous"),
        ("/public;a/inner", "path_ambiguous"),
        ("/public/;x/inner", "path_ambiguous"),
        ("/;x/public/inner", "path_ambiguous"),
    ] {
        let mut scene = Scene::at(&house, path);
        scene.credentials = Some(Vec::new());
        let answer = scene.send(&house).await;
        assert_eq!(answer.reason(), reason, "{path}: {answer:?}");
        assert!(house.seen().is_empty(), "{path}");
    }
}
