//! Bodies that take their time: each piece passes as it comes, silence has its limit by route, a token's end is a stream's end, and nothing is gathered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::forwarding::without_credentials;
use crate::house::{HOST, House, Plan};
use crate::piped::{connect, next, piped, request, soon};
use crate::process::{Process, catch_up, wait};
use crate::scene::Scene;
use crate::scripted;

const ROUTES: &str = "
  - { name: events, match: { path_prefix: /events }, upstream: echo, forward: { idle_timeout: 1h, end_at_expiry: true } }
";

/// Longer than `limits.idle_timeout` in these tests, by far.
const QUIET: Duration = Duration::from_millis(1500);
const IMPATIENT: &str = "limits: { idle_timeout: 300ms }\n";

/// An upstream of server-sent events: one for each permit, then the end.
async fn events(count: usize) -> (SocketAddr, Arc<Semaphore>) {
    let next = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&next);
    let upstream = scripted::upstream(move |mut stream| {
        let given = Arc::clone(&given);
        async move {
            while !scripted::read_until(&mut stream, b"\r\n\r\n").await.is_empty() {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head).await.expect("written");
                for at in 0..count {
                    given.acquire().await.expect("open").forget();
                    let event = format!("9\r\ndata: {at}\n\n\r\n");
                    if stream.write_all(event.as_bytes()).await.is_err() {
                        return;
                    }
                }
                stream.write_all(b"0\r\n\r\n").await.expect("written");
            }
        }
    })
    .await;
    (upstream, next)
}

async fn house(upstream: SocketAddr, more: &'static str) -> House {
    House::built(Plan { upstream: Some(upstream), routes: ROUTES, more, ..Plan::default() }).await
}

async fn count(house: &House, route: &str, outcome: &str) -> usize {
    let line = format!("holdfast_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}} ");
    let (_, numbers) = house.ask_admin("/metrics").await;
    numbers.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |n| n.parse().expect("a number"))
}

/// Each event is read before the next is sent, and between them there is more silence than anything else is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn events_pass_as_they_come_and_silence_is_allowed() {
    let (upstream, give) = events(3).await;
    let house = house(upstream, IMPATIENT).await;
    let mut one = house.connect(HOST, None).await;
    one.send(&Scene::at(&house, "/events").bytes(&house)).await.expect("sent");
    give.add_permits(1);
    one.read_until(b"data: 0\n\n\r\n").await.expect("the first");
    tokio::time::sleep(QUIET).await;
    give.add_permits(1);
    one.read_until(b"data: 1\n\n\r\n").await.expect("the second");
    give.add_permits(1);
    one.read_until(b"data: 2\n\n\r\n0\r\n\r\n").await.expect("the third and the end");

    let (pen, paper) = piped();
    drop(pen);
    let answer = connect(&house).await.send_request(request(&house, &Scene::at(&house, "/events"), paper));
    let mut body = soon(answer).await.expect("a head").into_body();
    for at in 0..3 {
        give.add_permits(1);
        let event = next(&mut body).await.expect("more").expect("unbroken").into_data().expect("data");
        assert_eq!(event, format!("data: {at}\n\n"));
        if at == 0 {
            tokio::time::sleep(QUIET).await;
        }
    }
    // The end may come as a frame without data.
    assert!(soon(body.collect()).await.expect("an end").to_bytes().is_empty());
    wait("both have ended well", async || count(&house, "events", "forwarded").await == 2).await;
}

/// Where the route says nothing, silence ends the stream, and what is cut does not look whole.
#[tokio::test(flavor = "multi_thread")]
async fn silence_elsewhere_is_a_fault() {
    let (upstream, give) = events(2).await;
    let house = house(upstream, IMPATIENT).await;
    give.add_permits(2);
    let mut one = house.connect(HOST, None).await;
    one.send(&Scene::at(&house, "/other").bytes(&house)).await.expect("sent");
    one.read_until(b"data: 1\n\n\r\n0\r\n\r\n").await.expect("the whole");
    one.send(&Scene::at(&house, "/other").bytes(&house)).await.expect("sent");
    give.add_permits(1);
    one.read_until(b"data: 0\n\n\r\n").await.expect("the first");
    assert!(one.read_until(b"0\r\n\r\n").await.is_err(), "cut, and no last chunk");
    wait("the reason is noted", async || count(&house, "any", "upstream_timed_out").await == 1).await;
}

/// T-TIM-11: also for a stream that never pauses, in both versions, and before there is an answer.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_token() {
    let flood = scripted::upstream(|mut stream| async move {
        let head = scripted::read_until(&mut stream, b"\r\n\r\n").await;
        if head.starts_with(b"GET /events/never ") {
            return std::future::pending().await;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let quiet = head.starts_with(b"GET /events/quiet ");
        while stream.write_all(b"5\r\nevent\r\n").await.is_ok() {
            if quiet {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let house = house(flood, "").await;
    for path in ["/events/busy", "/events/quiet"] {
        let mut one = house.connect(HOST, None).await;
        one.send(&Scene::at(&house, path).bytes(&house)).await.expect("sent");
        one.read_until(b"5\r\nevent\r\n").await.expect("an event");
        let (pen, paper) = piped();
        drop(pen);
        let answer = connect(&house).await.send_request(request(&house, &Scene::at(&house, path), paper));
        let mut two = soon(answer).await.expect("a head").into_body();
        next(&mut two).await.expect("more").expect("unbroken");
        // `exp` is 300 s from now, and the leeway 5 s.
        house.pass_time(304);
        tokio::time::sleep(QUIET).await;
        if path == "/events/busy" {
            one.read_until(b"5\r\nevent\r\n").await.expect("not yet");
            next(&mut two).await.expect("more").expect("not yet");
        }
        house.pass_time(1);
        assert!(one.read_until(b"0\r\n\r\n").await.is_err(), "{path}: no last chunk");
        let error = soon(two.collect()).await.expect_err("no end");
        assert!(format!("{error:?}").contains("Reset"), "{path}: {error:?}");
    }
    wait("the reasons are noted", async || count(&house, "events", "token_expired").await == 4).await;
    // Nothing has been said yet, so it can be said why.
    let mut one = house.connect(HOST, None).await;
    one.send(&Scene::at(&house, "/events/never").bytes(&house)).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.pass_time(305);
    let answer = one.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "token_expired"));
    assert!(
        answer.all("www-authenticate").iter().any(|line| line.contains("error=\"invalid_token\"")),
        "{answer:?}"
    );
    // Where the route does not say so, a stream may outlive its token.
    let mut one = house.connect(HOST, None).await;
    one.send(&Scene::at(&house, "/busy").bytes(&house)).await.expect("sent");
    one.read_until(b"5\r\nevent\r\n").await.expect("an event");
    house.pass_time(400);
    tokio::time::sleep(QUIET).await;
    one.read_until(b"5\r\nevent\r\n").await.expect("still");
}

/// One line a request, when its answer has ended, and it says how.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_says_how_it_ended() {
    let upstream = scripted::upstream(|mut stream| async move {
        let head = scripted::read_until(&mut stream, b"\r\n\r\n").await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ").await;
        if head.starts_with(b"GET /left ") {
            // Ends when the other side does.
            let _ = stream.read(&mut [0]).await;
        } else if head.starts_with(b"GET /whole ") {
            let _ = stream.write_all(b"whole").await;
        }
    })
    .await;
    let mut house = house(upstream, "").await;
    let process = Process::instead_of(&mut house, "{ level: info, access: json }").await;
    for (at, (path, reason, bytes)) in
        [("/whole", None, 10), ("/broken", Some("upstream_broken"), 5), ("/left", Some("caller_left"), 5)]
            .into_iter()
            .enumerate()
    {
        catch_up(&house);
        let mut client = house.connect(HOST, None).await;
        client.send(&Scene::at(&house, path).bytes(&house)).await.expect("sent");
        client.read_until(b"half ").await.expect("a part");
        if path == "/left" {
            assert_eq!(process.stdout().lines().count(), at, "not before its end");
            drop(client);
        }
        wait("a line is written", async || process.stdout().lines().count() == at + 1).await;
        let out = process.stdout();
        let line: serde_json::Value = serde_json::from_str(out.lines().last().expect("one")).expect("JSON");
        assert_eq!(
            (line["decision"].as_str(), line["status"].as_u64()),
            (Some("forwarded"), Some(200)),
            "{line}"
        );
        assert_eq!(
            (line["reason"].as_str(), line["response_bytes"].as_u64()),
            (reason, Some(bytes)),
            "{line}"
        );
    }
}

/// T-PXY-10: who is refused, or cannot be served, is never asked for its body, and a gigabyte that it has costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_wants_is_not_asked_for() {
    let more = "limits: { body_bytes: 2GiB }\n";
    for (upstream, status) in [(None, 401), (Some(scripted::nobody().await), 502)] {
        let house = House::built(Plan { upstream, more, ..Plan::default() }).await;
        let mut scene = if status == 401 { without_credentials(&house, "/") } else { Scene::right(&house) };
        scene.using("POST");
        scene.headers =
            vec![("expect".into(), "100-continue".into()), ("content-length".into(), "1073741824".into())];
        let mut client = house.connect(HOST, None).await;
        client.send(&scene.bytes(&house)).await.expect("sent");
        let head = client.head().await.expect("a head");
        assert_eq!(head.status, status, "no 100 before it: {head:?}");
        // What follows would be the body or the next request, and nobody could tell: so the connection ends.
        assert_eq!(head.one("connection"), "close");
        client.read_until(b"}").await.expect("the refusal");
        assert!(client.is_closed().await);
        assert!(house.seen().is_empty());
    }
}

/// What passes through is not kept: the process has about the memory that it had before, however slow the other side is.
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat() {
    const LENGTH: usize = 64 << 20;
    let upstream = scripted::upstream(|mut stream| async move {
        let head = scripted::read_until(&mut stream, b"\r\n\r\n").await;
        let mut piece = vec![b'x'; 1 << 16];
        let mut left = LENGTH;
        if head.starts_with(b"GET ") {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("written");
            while left > 0 {
                stream.write_all(&piece).await.expect("written");
                left -= piece.len();
            }
            // What is closed with something unread takes back what was written.
            stream.shutdown().await.expect("shut");
            while !matches!(stream.read(&mut piece).await, Ok(0) | Err(_)) {}
        } else {
            while left > 0 {
                left -= stream.read(&mut piece).await.expect("more");
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("written");
        }
    })
    .await;
    let mut house = house(upstream, "limits: { body_bytes: 1GiB }\n").await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    // Once through each way first, so that buffers and the allocator are as large as they get.
    for _ in 0..2 {
        down(&house, LENGTH).await;
        up(&house, LENGTH).await;
        let before = process.peak_memory();
        down(&house, LENGTH).await;
        up(&house, LENGTH).await;
        // What the system says of a peak is out by some pages, so it may be less than before.
        let grown = process.peak_memory().saturating_sub(before);
        println!("256 MiB through, and {grown} KiB more at the peak of {before} KiB");
        assert!(grown < 8 * 1024, "{grown} KiB more than {before}");
        assert!(before < 120 * 1024, "{before} KiB");
    }
}

/// Reads a large answer in both versions.
async fn down(house: &House, length: usize) {
    catch_up(house);
    let mut one = house.connect(HOST, None).await;
    let answer = one.exchange(&Scene::at(house, "/large").bytes(house)).await.expect("an answer");
    assert_eq!(answer.body.len(), length);
    let (pen, paper) = piped();
    drop(pen);
    let answer = connect(house).await.send_request(request(house, &Scene::at(house, "/large"), paper));
    let mut body = soon(answer).await.expect("a head").into_body();
    let mut read = 0;
    while let Some(frame) = next(&mut body).await {
        read += frame.expect("unbroken").into_data().expect("data").len();
    }
    assert_eq!(read, length);
}

/// Sends a large body in both versions.
async fn up(house: &House, length: usize) {
    catch_up(house);
    let mut scene = Scene::at(house, "/large");
    scene.using("POST");
    let mut one = house.connect(HOST, None).await;
    let mut plain = Scene::at(house, "/large");
    plain.using("POST");
    plain.headers = vec![("content-length".into(), length.to_string())];
    one.send(&plain.bytes(house)).await.expect("sent");
    let piece = bytes::Bytes::from(vec![b'y'; 1 << 16]);
    for _ in 0..length / piece.len() {
        one.send(&piece).await.expect("sent");
    }
    assert_eq!(one.answer().await.expect("an answer").status, 200);
    scene.headers = vec![("content-length".into(), length.to_string())];
    let (pen, paper) = piped();
    let mut gateway = connect(house).await;
    let answer = gateway.send_request(request(house, &scene, paper));
    let sent = async {
        for _ in 0..length / piece.len() {
            assert!(pen.write(piece.clone()).await);
        }
        drop(pen);
    };
    let (answer, ()) = soon(async { tokio::join!(answer, sent) }).await;
    assert_eq!(answer.expect("an answer").status(), 200);
}
