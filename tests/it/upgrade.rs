//! Upgraded connections: who gets one, what opens it, what goes through, and when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::forwarding::without_credentials;
use crate::house::{HOST, House, Plan};
use crate::process::{Process, wait};
use crate::scene::Scene;
use crate::scripted;
use crate::wire::Client;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const ROUTES: &str = "
  - name: ws
    match: { path_prefix: /ws }
    upstream: echo
    forward: { identity: headers, upgrade: [websocket], idle_timeout: 1h, end_at_expiry: true }
  - { name: ws-public, match: { path_prefix: /public/ws }, upstream: echo, public: true, forward: { upgrade: [websocket] } }
";

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// A WebSocket server as far as the handshake goes; behind it, everything comes back. It says what head it got, once, in front.
async fn echo() -> SocketAddr {
    scripted::upstream(|mut stream| async move {
        let head = String::from_utf8(scripted::read_until(&mut stream, b"\r\n\r\n").await).expect("text");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\
             www-authenticate: Bearer\r\n\r\n",
            accept(KEY)
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
        stream.write_all(head.to_ascii_lowercase().as_bytes()).await.expect("written");
        let (mut reading, mut writing) = stream.split();
        // Ends when the other side has.
        let _ = tokio::io::copy(&mut reading, &mut writing).await;
    })
    .await
}

fn handshake(mut scene: Scene) -> Scene {
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ] {
        scene.headers.push((name.to_owned(), value.to_owned()));
    }
    scene
}

async fn house(upstream: SocketAddr, more: &'static str) -> House {
    House::built(Plan { upstream: Some(upstream), routes: ROUTES, more, ..Plan::default() }).await
}

/// An open WebSocket at this path, and the head that its upstream got.
async fn opened(house: &House, path: &str) -> (Client, String) {
    let mut client = house.connect(HOST, None).await;
    client.send(&handshake(Scene::at(house, path)).bytes(house)).await.expect("sent");
    let answer = client.head().await.expect("a head");
    assert_eq!((answer.status, answer.one("upgrade")), (101, "websocket"), "{answer:?}");
    assert_eq!(answer.one("connection").to_ascii_lowercase(), "upgrade");
    assert_eq!(answer.one("sec-websocket-accept"), accept(KEY));
    assert!(answer.all("content-length").is_empty() && answer.all("transfer-encoding").is_empty());
    assert_eq!(answer.all("www-authenticate").is_empty(), !path.starts_with("/public"), "{answer:?}");
    let head = client.read_until(b"\r\n\r\n").await.expect("the head");
    (client, String::from_utf8(head).expect("text"))
}

/// How often requests of the route have ended so.
async fn count(house: &House, route: &str, outcome: &str) -> usize {
    let line = format!("holdfast_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}} ");
    let (_, numbers) = house.ask_admin("/metrics").await;
    numbers.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |n| n.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_caller_gets_its_websocket() {
    let house = house(echo().await, "").await;
    for (path, route) in [("/ws/chat", "ws"), ("/public/ws", "ws-public")] {
        let (mut client, head) = opened(&house, path).await;
        assert!(head.starts_with(&format!("get {path} http/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"));
        assert_eq!(head.contains("x-auth-subject: alice"), route == "ws", "{head}");
        assert!(!head.contains("authorization: ") && !head.contains("dpop: "), "{head}");
        // Nothing of it is HTTP, whatever it looks like.
        for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "\0\x01\n\n"] {
            client.send(text.as_bytes()).await.expect("sent");
            assert_eq!(client.read_until(text.as_bytes()).await.expect("the echo"), text.as_bytes());
        }
        assert_eq!(count(&house, route, "forwarded").await, 0, "it is still open");
        drop(client);
        wait("its end is noted", async || {
            count(&house, route, "forwarded").await + count(&house, route, "caller_left").await == 1
        })
        .await;
    }
}

/// T-REQ-41, T-PXY-08: nothing of a caller that is not let in reaches the upstream, whatever it sends behind its request.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_one() {
    let (silent, heard) = scripted::silent().await;
    let house = house(silent, "").await;
    let mut request = handshake(without_credentials(&house, "/ws")).bytes(&house);
    request.extend_from_slice(b"GET /ws/smuggled HTTP/1.1\r\nhost: api.example.com\r\n\r\n");
    let mut client = house.connect(HOST, None).await;
    let answer = client.exchange(&request).await.expect("an answer");
    assert_eq!((answer.status, answer.one("connection")), (401, "close"));
    assert!(client.is_closed().await);
    assert!(heard.lock().expect("unpoisoned").is_empty());
    // Where the caller waits, a refusal costs it nothing: the nonce dance of a browser goes on on the same connection.
    let mut client = house.connect(HOST, None).await;
    for _ in 0..3 {
        let request = handshake(without_credentials(&house, "/ws")).bytes(&house);
        assert_eq!(client.exchange(&request).await.expect("an answer").status, 401);
    }
}

/// RFC 9110 §7.8: only the upstream's own 101 with the same protocol.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_101_opens_it() {
    let right = format!("sec-websocket-accept: {}\r\n", accept(KEY));
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n";
    for (what, answer) in [
        ("another protocol", format!("{switching}upgrade: h2c\r\n{right}\r\n")),
        ("no protocol", format!("{switching}{right}\r\n")),
        ("two", format!("{switching}upgrade: websocket\r\nupgrade: h2c\r\n{right}\r\n")),
        ("no answer to the key", format!("{switching}upgrade: websocket\r\n\r\n")),
        ("a wrong one", format!("{switching}upgrade: websocket\r\nsec-websocket-accept: {KEY}\r\n\r\n")),
    ] {
        let house = house(scripted::answering(answer.leak().as_bytes()).await, "").await;
        let mut client = house.connect(HOST, None).await;
        let request = handshake(Scene::at(&house, "/ws")).bytes(&house);
        let answer = client.exchange(&request).await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_broken"), "{what}");
    }
}

/// Any other answer is an ordinary one: the upstream hears nothing but requests of callers that were let in.
#[tokio::test(flavor = "multi_thread")]
async fn any_other_answer_leaves_http() {
    for status in ["200 OK", "426 Upgrade Required", "403 Forbidden", "404 Not Found"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nupgrade: websocket\r\n\r\nno");
        let answer: &'static str = answer.leak();
        let heard = Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let remembered = Arc::clone(&heard);
        let upstream = scripted::upstream(move |mut stream| {
            let heard = Arc::clone(&remembered);
            async move {
                loop {
                    let head = scripted::read_until(&mut stream, b"\r\n\r\n").await;
                    heard.lock().expect("unpoisoned").extend(&head);
                    if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        let house = house(upstream, "").await;
        let mut client = house.connect(HOST, None).await;
        for _ in 0..2 {
            let request = handshake(Scene::at(&house, "/ws")).bytes(&house);
            let answer = client.exchange(&request).await.expect("an answer");
            assert_eq!((answer.status.to_string(), answer.text().as_str()), (status[..3].to_owned(), "no"));
            // RFC 9110 §15.5.22: a demand says for what.
            let said: (&[&str], &[&str]) =
                if answer.status == 426 { (&["websocket"], &["upgrade"]) } else { (&[], &[]) };
            assert_eq!((&answer.all("upgrade")[..], &answer.all("connection")[..]), said, "{answer:?}");
        }
        // RFC 9931 §4: a caller that did not wait. Neither a tunnel nor a request, be it one that would be let in.
        let mut request = handshake(Scene::at(&house, "/ws")).bytes(&house);
        request.extend(Scene::at(&house, "/smuggled").bytes(&house));
        let answer = client.exchange(&request).await.expect("an answer");
        let said = if answer.status == 426 { "upgrade, close" } else { "close" };
        assert_eq!((answer.one("connection"), answer.text().as_str()), (said, "no"));
        assert!(client.is_closed().await);
        let heard = String::from_utf8(heard.lock().expect("unpoisoned").clone()).expect("text");
        assert_eq!(heard.matches("GET /ws ").count(), 3, "{heard}");
        assert!(!heard.contains("smuggled"), "{heard}");
    }
}

/// What the route does not list is not asked for: h2c behind a gateway was how requests got past it.
#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_ordinary_requests() {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    for (protocol, version, key) in
        [("h2c", "13", KEY), ("websocket", "12", KEY), ("websocket", "13", "short")]
    {
        let mut scene = Scene::at(&house, "/ws");
        scene.headers = vec![
            ("connection".into(), "Upgrade, HTTP2-Settings".into()),
            ("upgrade".into(), protocol.into()),
            ("http2-settings".into(), "AAMAAABkAAQCAAAAAAIAAAAA".into()),
            ("sec-websocket-version".into(), version.into()),
            ("sec-websocket-key".into(), key.into()),
        ];
        assert_eq!(scene.send(&house).await.status, 200, "{protocol} {version} {key}");
        let [seen] = &house.seen()[..] else { panic!("one request") };
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(!seen.headers.contains_key(name), "{name}");
        }
    }
}

/// T-TIM-11. The clock is moved; the tunnel notices within its second, though nothing is said.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_token() {
    let house = house(echo().await, "").await;
    let (mut client, _) = opened(&house, "/ws").await;
    house.pass_time(303);
    client.send(b"still").await.expect("sent");
    assert_eq!(client.read_until(b"still").await.expect("the echo"), b"still");
    house.pass_time(2);
    assert!(client.is_closed().await, "exp and 5 s of leeway are over");
    wait("the reason is noted", async || count(&house, "ws", "token_expired").await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_has_its_routes_limit() {
    let upstream = echo().await;
    let house = house(upstream, "limits: { idle_timeout: 300ms }\n").await;
    let (mut quiet, _) = opened(&house, "/ws").await;
    let (mut silent, _) = opened(&house, "/public/ws").await;
    assert!(silent.is_closed().await);
    wait("the reason is noted", async || count(&house, "ws-public", "stream_idle").await == 1).await;
    quiet.send(b"here").await.expect("sent");
    quiet.read_until(b"here").await.expect("the echo");
}

/// A tunnel is a connection: it keeps its slot, and what waits for one gets it when the tunnel ends.
#[tokio::test(flavor = "multi_thread")]
async fn it_holds_its_slot() {
    let house = house(echo().await, "limits: { connections: 1 }\n").await;
    let (client, _) = opened(&house, "/ws").await;
    let waiting = house.connect(HOST, None);
    tokio::pin!(waiting);
    let soon = Duration::from_millis(300);
    assert!(tokio::time::timeout(soon, &mut waiting).await.is_err(), "a second connection was taken");
    drop(client);
    let mut second = waiting.await;
    second.send(&handshake(Scene::at(&house, "/ws")).bytes(&house)).await.expect("sent");
    assert_eq!(second.head().await.expect("a head").status, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_may_finish_by_itself() {
    let finished = Arc::new(Notify::new());
    let tell = Arc::clone(&finished);
    let upstream = scripted::upstream(move |mut stream| {
        let tell = Arc::clone(&tell);
        async move {
            scripted::read_until(&mut stream, b"\r\n\r\n").await;
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept";
            stream.write_all(format!("{head}: {}\r\n\r\nbye", accept(KEY)).as_bytes()).await.expect("written");
            stream.shutdown().await.expect("shut");
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.expect("the caller's end");
            assert_eq!(rest, "last words");
            tell.notify_one();
        }
    })
    .await;
    let house = house(upstream, "").await;
    let mut client = house.connect(HOST, None).await;
    client.send(&handshake(Scene::at(&house, "/ws")).bytes(&house)).await.expect("sent");
    client.read_until(b"\r\n\r\nbye").await.expect("the 101");
    client.send(b"last words").await.expect("sent");
    drop(client);
    finished.notified().await;
}

/// Draining gives it the grace, and the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_it_the_grace() {
    let mut house = house(echo().await, "shutdown: { grace: 2s }\n").await;
    let mut process = Process::instead_of(&mut house, "{ level: info, access: json }").await;
    let (mut client, _) = opened(&house, "/ws").await;
    process.signal("TERM");
    wait("readiness ends", async || house.ask_admin("/readyz").await.0 == 503).await;
    client.send(b"still").await.expect("sent");
    client.read_until(b"still").await.expect("the echo");
    assert!(client.is_closed().await);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    let line = process.stdout();
    let line: serde_json::Value =
        serde_json::from_str(line.trim()).unwrap_or_else(|_| panic!("one line: {line}"));
    assert_eq!((&line["decision"], &line["reason"]), (&"forwarded".into(), &"drained".into()), "{line}");
    assert_eq!((&line["status"], &line["request_bytes"]), (&101.into(), &5.into()), "{line}");
    assert!(line["response_bytes"].as_u64() > Some(5), "{line}");
    assert!(line["total_ms"].as_f64() > Some(1000.0), "{line}");
}

/// A server that answers nothing until another protocol is spoken: callers hear which, and that the field is for this hop. In HTTP/2 nothing is upgraded.
#[tokio::test(flavor = "multi_thread")]
async fn a_demand_for_an_upgrade_says_for_which() {
    for (status, demanded) in [("426 Upgrade Required", true), ("403 Forbidden", false)] {
        let upstream = scripted::upstream(move |mut stream| async move {
            while !scripted::read_until(&mut stream, b"\r\n\r\n").await.is_empty() {
                let head = format!("HTTP/1.1 {status}\r\nupgrade: example/2\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.expect("written");
            }
        })
        .await;
        let house = house(upstream, "").await;
        let scene = without_credentials(&house, "/public");
        let answer = scene.send(&house).await;
        let expected: (&[&str], &[&str]) = if demanded { (&["example/2"], &["upgrade"]) } else { (&[], &[]) };
        assert_eq!((&answer.all("upgrade")[..], &answer.all("connection")[..]), expected, "{answer:?}");
        let answer = house.connect_h2(None).await.exchange(scene.request_with(&[])).await.expect("an answer");
        assert!(answer.all("upgrade").is_empty() && answer.all("connection").is_empty(), "{answer:?}");
        assert_eq!(answer.status.to_string(), status[..3]);
    }
}
