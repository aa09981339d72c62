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
use crate::wire::{self, Client};

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

/// What a peer writes to take a connection for itself. It then reads nothing and holds on.
enum Hold {
    Tcp(&'static [u8]),
    Http1(String),
    Http2(Vec<u8>),
}

/// RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request for `/public`, as a header block without a table.
fn block(method: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in
        [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", "/public")]
    {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Ways to hold a connection, or to make the gateway work for nothing.
fn holds() -> Vec<(&'static str, Hold)> {
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    let http2 = |frames: Vec<u8>| Hold::Http2([&preface[..], &frames].concat());
    let streams = |count: u32| (0..count).map(|position| 2 * position + 1);
    let get = block("GET");
    vec![
        ("silence before the handshake", Hold::Tcp(b"")),
        ("no handshake", Hold::Tcp(b"GET / HTTP/1.1\r\n\r\n")),
        ("half a handshake", Hold::Tcp(b"\x16\x03\x01\x02\x00\x01\x00")),
        ("silence", Hold::Http1(String::new())),
        ("half a head", Hold::Http1("GET / HTTP/1.1\r\nhost: a".into())),
        ("empty lines", Hold::Http1("\r\n".repeat(10_000))),
        (
            "a body that does not come",
            Hold::Http1(format!("POST /public HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 9\r\n\r\n")),
        ),
        (
            "a chunk that does not end",
            Hold::Http1(format!(
                "POST /public HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\nx"
            )),
        ),
        (
            "requests without reading",
            Hold::Http1(format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\n\r\n").repeat(2_000)),
        ),
        (
            "a request and nonsense",
            Hold::Http1(format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\n\r\nnonsense\r\n\r\n")),
        ),
        ("HTTP/2 silence", http2(Vec::new())),
        (
            "a head that goes on",
            http2([frame(1, 0, 1, &get), frame(9, 0, 1, &[0; 16]).repeat(20_000)].concat()),
        ),
        (
            "rapid reset",
            http2(
                streams(20_000)
                    .flat_map(|id| [frame(1, 5, id, &get), frame(3, 0, id, &[0, 0, 0, 8])].concat())
                    .collect(),
            ),
        ),
        (
            "bodies that do not come",
            http2(streams(100).flat_map(|id| frame(1, 4, id, &block("POST"))).collect()),
        ),
        (
            "empty bodies that do not end",
            http2([frame(1, 4, 1, &block("POST")), frame(0, 0, 1, &[]).repeat(100_000)].concat()),
        ),
        ("pings", http2(frame(6, 0, 0, &[0; 8]).repeat(100_000))),
        ("settings", http2(frame(4, 0, 0, &[]).repeat(100_000))),
        ("too many streams", http2(streams(20_000).flat_map(|id| frame(1, 5, id, &get)).collect())),
        (
            "streams without a window",
            http2(
                [
                    frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
                    streams(100).flat_map(|id| frame(1, 5, id, &get)).collect(),
                ]
                .concat(),
            ),
        ),
    ]
}

/// However a peer holds on to its connection, it loses it in the end, and others are served.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_held_for_ever() {
    let tried: Vec<_> =
        holds().into_iter().map(|(what, hold)| tokio::spawn(others_are_served(what, hold))).collect();
    for one in tried {
        one.await.expect("others are served");
    }
}

async fn others_are_served(what: &str, hold: Hold) {
    const CONNECTIONS: usize = 4;
    let more =
        "limits: { connections: 4, handshake_timeout: 500ms, header_timeout: 500ms, idle_timeout: 500ms }\n";
    let house = House::built(Plan { more, ..Plan::default() }).await;
    let mut held: Vec<Box<dyn Send>> = Vec::new();
    for _ in 0..CONNECTIONS {
        let (bytes, protocol) = match &hold {
            Hold::Tcp(bytes) => {
                let mut stream = TcpStream::connect(house.address).await.expect("a connection");
                stream.write_all(bytes).await.expect("sent");
                held.push(Box::new(stream));
                continue;
            }
            Hold::Http1(text) => (text.as_bytes(), &b"http/1.1"[..]),
            Hold::Http2(bytes) => (&bytes[..], &b"h2"[..]),
        };
        let mut settings = wire::settings(rustls::ALL_VERSIONS, None);
        settings.alpn_protocols = vec![protocol.to_vec()];
        let settings = Arc::new(settings);
        let mut stream = loop {
            if let Ok(stream) = wire::tls(house.address, HOST, Arc::clone(&settings)).await {
                break stream;
            }
        };
        // Until nothing more is taken, or the gateway has had enough.
        drop(tokio::time::timeout(Duration::from_millis(200), stream.write_all(bytes)).await);
        held.push(Box::new(stream));
    }
    let served = tokio::time::timeout(Duration::from_secs(60), someone_is_served(&house)).await;
    assert!(served.is_ok(), "{what}: nobody else is served");
    house.gateway.stop();
    let ended = tokio::time::timeout(Duration::from_secs(20), house.gateway.ended()).await;
    assert!(ended.is_ok(), "{what}: the gateway does not stop");
    drop(held);
}

/// Half a second is short on a busy machine, so whoever is cut off by these limits comes again, as callers do.
async fn someone_is_served(house: &House) {
    loop {
        let request = Scene::right(house).bytes(house);
        if let Ok(mut client) = Client::connect(house.address, HOST, None).await
            && let Ok(answer) = client.exchange(&request).await
        {
            assert_eq!(answer.status, 200, "{answer:?}");
            return;
        }
    }
}

/// What stands behind a request that was refused, or that hyper would read in another way, is never a request of its own.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_behind_a_doubtful_head_is_a_request() {
    let house = House::usual().await;
    let inner = format!("GET /public/inner HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let length = inner.len();
    for (line, fields, body) in [
        ("POST /public", "content-length: 18446744073709551615".to_owned(), inner.clone()),
        ("POST /public", "content-length: 18446744073709551614".to_owned(), inner.clone()),
        ("POST /", format!("content-length: {length}"), inner.clone()),
        ("POST /", format!("expect: 100-continue\r\ncontent-length: {length}"), inner.clone()),
        ("CONNECT api.example.com:443", format!("content-length: {length}"), inner.clone()),
        ("OPTIONS *", format!("content-length: {length}"), inner.clone()),
        (
            "GET /public",
            format!("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: {length}"),
            inner.clone(),
        ),
        ("HEAD /public", format!("connection: content-length\r\ncontent-length: {length}"), inner.clone()),
        (
            "POST /",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x};a=\"\r\n{inner}\r\n0\r\n\r\n"),
        ),
        ("POST /", "transfer-encoding: chunked".to_owned(), format!("1\r\nxx\r\n0\r\n\r\n{inner}")),
        ("POST /", "transfer-encoding: chunked\r\ncontent-length: 1".to_owned(), format!("0\r\n\r\n{inner}")),
    ] {
        let mut client = house.connect(HOST, None).await;
        let request = format!("{line} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n\r\n{body}nonsense\r\n\r\n");
        client.send(request.as_bytes()).await.expect("sent");
        let first = client.head().await.expect("an answer");
        while client.head().await.is_ok() {}
        assert!(first.status >= 200, "{line} {fields}");
        let inner: Vec<_> = house.seen().into_iter().filter(|seen| seen.target == "/public/inner").collect();
        assert!(inner.is_empty(), "{line} {fields}: {inner:?}");
    }
}
