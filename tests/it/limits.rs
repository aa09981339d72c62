//! Every limit at its edge, every wait with an end (R-L-08, R-A-25, R-H-17).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::scripted;
use crate::wire::{Client, settings, tls};

/// Shorter than the time of any test that waits for it.
const SOON: Duration = Duration::from_secs(10);

async fn limited(more: &'static str) -> House {
    House::built(Plan { more, ..Plan::default() }).await
}

/// A head of exactly so many bytes, on a public route.
fn head_of(length: usize) -> Vec<u8> {
    let mut head = format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\nx-pad: ").into_bytes();
    head.resize(length - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let house = limited("limits: { header_bytes: 8KiB, token_bytes: 4KiB, proof_bytes: 4KiB }\n").await;
    for (length, status) in [(8191, 200), (8192, 200), (8193, 431), (20_000, 431), (1 << 20, 431)] {
        let mut client = house.connect(HOST, None).await;
        // So much may be refused before all of it was sent.
        let _ = client.send(&head_of(length)).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{length} bytes: {answer:?}");
        if status == 431 {
            assert!(client.is_closed().await, "{length} bytes");
            assert_eq!(answer.one("cache-control"), "no-store");
        }
        assert_eq!(house.seen().len(), usize::from(status == 200), "{length} bytes");
    }
    for (fields, status) in [(99, 401), (100, 431)] {
        // Host is one of the hundred.
        let lines: String = (0..fields).map(|at| format!("x-{at}: y\r\n")).collect();
        let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n");
        let answer = house.connect(HOST, None).await.exchange(request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, status, "{fields} fields: {answer:?}");
    }
    let house = limited("limits: { header_bytes: 256KiB }\n").await;
    let target = format!("GET /public/{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "x".repeat(70_000));
    let answer = house.connect(HOST, None).await.exchange(target.as_bytes()).await.expect("an answer");
    assert_eq!(answer.status, 414);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let more = "limits: { body_bytes: 1000 }\n";
    let house = limited(more).await;
    for (length, status) in
        [(1000_u64, 200), (1001, 413), ((1 << 63) - 1, 413), (1 << 63, 400), (u64::MAX, 400)]
    {
        let mut scene = Scene::right(&house);
        scene.using("POST");
        scene.headers = vec![("content-length".into(), length.to_string())];
        let mut request = scene.bytes(&house);
        request.extend(vec![b'x'; 1000]);
        let answer = scene.send_bytes(&house, &request).await;
        assert_eq!(answer.status, status, "{length} bytes: {answer:?}");
        assert_eq!(house.seen().len(), usize::from(status == 200), "{length} bytes");
    }
    // Without a declared length it is found out on the way, and what was sent on until then must not look like all of it.
    let (upstream, heard) = scripted::silent().await;
    let watched = House::built(Plan { more, upstream: Some(upstream), ..Plan::default() }).await;
    for house in [&house, &watched] {
        let mut scene = Scene::right(house);
        scene.using("POST");
        scene.headers = vec![("transfer-encoding".into(), "chunked".into())];
        let mut client = house.connect(HOST, None).await;
        client.send(&scene.bytes(house)).await.expect("sent");
        let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
        client.send(chunk.as_bytes()).await.expect("sent");
        client.send(chunk.as_bytes()).await.expect("sent");
        let answer = client.exchange(b"1\r\nx\r\n0\r\n\r\n").await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (413, "body_too_large"));
        assert!(house.seen().is_empty());
        // What follows on the connection, if anything, is a request of its own.
        let mut without = Scene::right(house);
        without.credentials = Some(Vec::new());
        if let Ok(answer) = client.exchange(&without.bytes(house)).await {
            assert_eq!(answer.status, 401, "{answer:?}");
        }
    }
    let heard = heard.lock().expect("no one panicked").clone();
    assert!(!heard.windows(7).any(|bytes| bytes == b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end() {
    let house = limited("limits: { header_timeout: 300ms }\n").await;
    for start in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: api.example.com\r\nx: y\r\n"] {
        let mut client = house.connect(HOST, None).await;
        client.send(start.as_bytes()).await.expect("sent");
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 408, "{start:?}");
        assert!(client.is_closed().await, "{start:?}");
    }
    // A byte now and then does not begin the time again.
    let mut client = house.connect(HOST, None).await;
    let begin = Instant::now();
    client.send(b"GET / HTTP/1.1\r\nx: ").await.expect("sent");
    while client.send(b"y").await.is_ok() {
        assert!(begin.elapsed() < SOON, "it may go on for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The second request of a connection has no more time than the first.
    let mut client = house.connect(HOST, None).await;
    assert_eq!(client.exchange(&head_of(100)).await.expect("an answer").status, 200);
    client.send(b"GET /").await.expect("sent");
    assert_eq!(client.answer().await.expect("an answer").status, 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing() {
    let house = limited("limits: { handshake_timeout: 300ms, idle_timeout: 300ms }\n").await;
    let begin = Instant::now();
    // Before the handshake, in the middle of it, after it, and after a request.
    let mut silent = TcpStream::connect(house.address).await.expect("connected");
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
    let mut half = TcpStream::connect(house.address).await.expect("connected");
    tokio::io::AsyncWriteExt::write_all(&mut half, &[22, 3, 1, 0, 200, 1]).await.expect("sent");
    assert!(matches!(half.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(house.connect(HOST, None).await.is_closed().await);
    let mut client = house.connect(HOST, None).await;
    assert_eq!(client.exchange(&head_of(100)).await.expect("an answer").status, 200);
    assert!(client.is_closed().await);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

/// CASES.md: a body that stalls ends after `idle_timeout`; one that only is slow does not.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stall() {
    let more = "limits: { idle_timeout: 1s }\n";
    let (upstream, heard) = scripted::silent().await;
    let watched = House::built(Plan { more, upstream: Some(upstream), ..Plan::default() }).await;
    let begin = Instant::now();
    for (name, value, part) in [
        ("content-length", "10", "half"),
        ("transfer-encoding", "chunked", "4\r\nhalf\r\n"),
        ("content-length", "10", ""),
    ] {
        let mut scene = Scene::right(&watched);
        scene.using("POST");
        scene.headers = vec![(name.into(), value.into())];
        let mut client = watched.connect(HOST, None).await;
        client.send(&scene.bytes(&watched)).await.expect("sent");
        client.send(part.as_bytes()).await.expect("sent");
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (408, "body_stalled"), "{name} {part}");
    }
    assert!(begin.elapsed() < SOON * 2, "{:?}", begin.elapsed());
    let heard = heard.lock().expect("no one panicked").clone();
    assert!(!heard.windows(7).any(|bytes| bytes == b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));

    let house = limited(more).await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.headers = vec![("content-length".into(), "6".into())];
    let mut client = house.connect(HOST, None).await;
    client.send(&scene.bytes(&house)).await.expect("sent");
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send(b"x").await.expect("sent");
    }
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    assert_eq!(house.seen()[0].body, "xxxxxx");
}

/// A caller that goes away in the middle of its body leaves nothing whole behind.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away() {
    let ended = std::sync::Arc::new(tokio::sync::Notify::new());
    let heard = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let (tell, into) = (ended.clone(), heard.clone());
    let upstream = scripted::upstream(move |mut stream| {
        let (tell, into) = (tell.clone(), into.clone());
        async move {
            let half = scripted::read_until(&mut stream, b"half").await;
            into.lock().expect("no one panicked").extend(half);
            tell.notify_one();
            let mut rest = Vec::new();
            // An end or a reset: either way, no last chunk.
            let _ = stream.read_to_end(&mut rest).await;
            into.lock().expect("no one panicked").extend(rest);
            tell.notify_one();
        }
    })
    .await;
    let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.headers = vec![("transfer-encoding".into(), "chunked".into())];
    let mut client = house.connect(HOST, None).await;
    client.send(&scene.bytes(&house)).await.expect("sent");
    client.send(b"4\r\nhalf\r\n").await.expect("sent");
    ended.notified().await;
    drop(client);
    tokio::time::timeout(SOON, ended.notified()).await.expect("the upstream hears of it");
    let heard = heard.lock().expect("no one panicked").clone();
    assert!(!heard.windows(7).any(|bytes| bytes == b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));
}

/// `limits.connections`: the next one waits, and is served as soon as there is room.
#[tokio::test(flavor = "multi_thread")]
async fn connections_at_once() {
    let house = limited("limits: { connections: 2 }\n").await;
    let first = house.connect(HOST, None).await;
    let mut second = house.connect(HOST, None).await;
    let settings = std::sync::Arc::new(settings(rustls::ALL_VERSIONS, None));
    let mut third = Box::pin(tls(house.address, HOST, settings));
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(waits.is_err(), "a third connection was served");
    // Those that are in are served meanwhile.
    assert_eq!(second.exchange(&head_of(100)).await.expect("an answer").status, 200);
    drop(first);
    let mut third = Client::over(third.await.expect("the handshake"));
    assert_eq!(third.exchange(&head_of(100)).await.expect("an answer").status, 200);
}

/// The length of a compact JWS with an ES256 signature.
fn compact_length(header: &Value, claims: &Value) -> usize {
    let encoded = |text: &Value| (text.to_string().len() * 4).div_ceil(3);
    encoded(header) + 1 + encoded(claims) + 1 + 86
}

/// Pads both until the compact form is exactly so long. Lengths of one base64url part skip every fourth number, those of two do not.
fn pad(header: &mut Value, claims: &mut Value, length: usize) {
    for header_pad in 0..3 {
        header["pad"] = json!("x".repeat(header_pad));
        for claims_pad in 0..length {
            claims["pad"] = json!("x".repeat(claims_pad));
            match compact_length(header, claims) {
                reached if reached == length => return,
                reached if reached > length => break,
                _ => {}
            }
        }
    }
    panic!("no padding makes {length}");
}

/// R-A-25, R-H-17: at the exact edge.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_proofs() {
    let house = limited("limits: { token_bytes: 1200, proof_bytes: 1100 }\n").await;
    for (length, reason) in [(1199, ""), (1200, ""), (1201, "token_too_large"), (8000, "token_too_large")] {
        let mut scene = Scene::right(&house);
        pad(&mut scene.token_header, &mut scene.token_claims, length);
        assert_eq!(scene.token(&house).len(), length);
        let answer = scene.send(&house).await;
        assert_eq!(answer.reason(), reason, "a token of {length}: {answer:?}");
        assert_eq!(answer.status, if reason.is_empty() { 200 } else { 401 });
    }
    for (length, reason) in [(1099, ""), (1100, ""), (1101, "proof_too_large"), (8000, "proof_too_large")] {
        let mut scene = Scene::right(&house);
        let token = scene.token(&house);
        // As long as the hash that is put in its place.
        scene.proof_claims["ath"] = json!("x".repeat(43));
        pad(&mut scene.proof_header, &mut scene.proof_claims, length);
        scene.proof_claims.as_object_mut().expect("an object").remove("ath");
        assert_eq!(scene.proof(&token).len(), length);
        let answer = scene.send(&house).await;
        assert_eq!(answer.reason(), reason, "a proof of {length}: {answer:?}");
        assert_eq!(answer.status, if reason.is_empty() { 200 } else { 401 });
    }
}

/// T-PRF-02, T-PRF-40: what is large or deep costs no more than what is small.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_at_once() {
    let house = House::usual().await;
    let begin = Instant::now();
    let deep = |depth: usize| {
        use base64::Engine as _;
        let text = format!("{{\"jwk\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    for nonsense in [
        ".".repeat(8000),
        "a.".repeat(4000),
        "A".repeat(8000),
        format!("{}.e30.AA", deep(2900)),
        format!("e30.{}.AA", deep(2900)),
        "..".to_owned(),
        "=.=.=".to_owned(),
        "{\"protected\":\"\"}".to_owned(),
    ] {
        let mut scene = Scene::right(&house);
        let edit = nonsense.clone();
        scene.edit_proof = Box::new(move |_| edit.clone());
        assert_eq!(scene.send(&house).await.status, 401);
        let mut scene = Scene::right(&house);
        scene.edit_token = Box::new(move |_| nonsense.clone());
        let status = scene.send(&house).await.status;
        assert!([400, 401].contains(&status), "{status}");
    }
    assert!(house.seen().is_empty());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

/// A route has a limit of bodies of its own, larger or smaller than that of all others, whether the length is declared or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_limits_its_bodies() {
    let routes = "
  - { name: large, match: { path_prefix: /large }, upstream: echo, public: true, forward: { body_bytes: 30B } }
  - { name: small, match: { path_prefix: /small }, upstream: echo, public: true, forward: { body_bytes: 10B } }
";
    let more = "limits: { body_bytes: 20B }\n";
    let house = House::built(Plan { routes, more, ..Plan::default() }).await;
    for (path, most) in [("/public", 20), ("/large", 30), ("/small", 10)] {
        for (length, status) in [(most, 200), (most + 1, 413)] {
            let body = "x".repeat(length);
            let declared = format!("content-length: {length}\r\n\r\n{body}");
            let chunked = format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
            for rest in [declared, chunked] {
                let request = format!("POST {path} HTTP/1.1\r\nhost: {HOST}\r\n{rest}");
                let mut client = house.connect(HOST, None).await;
                let answer = client.exchange(request.as_bytes()).await.expect("an answer");
                assert_eq!(answer.status, status, "{request}");
                assert_eq!(answer.reason(), if status == 200 { "" } else { "body_too_large" }, "{request}");
            }
        }
    }
}
