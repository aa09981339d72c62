//! SIGTERM: what is in flight ends well, nothing new begins, and the process ends in bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::forwarding::without_credentials;
use crate::house::{HOST, House, Plan};
use crate::process::{Process, wait};
use crate::scene::Scene;
use crate::scripted;

const LOG: &str = "{ level: info, access: none }";

/// Far less than the grace, and far more than an end takes.
const PROMPTLY: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_well_and_nothing_new_begins() {
    let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, hear) = (Arc::clone(&arrived), Arc::clone(&answer));
    let upstream = scripted::upstream(move |mut stream| {
        let (tell, hear) = (Arc::clone(&tell), Arc::clone(&hear));
        async move {
            scripted::read_until(&mut stream, b"\r\n\r\n").await;
            tell.notify_one();
            hear.notified().await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.expect("written");
        }
    })
    .await;
    let more = "shutdown: { grace: 30s }\n";
    for signal in ["TERM", "INT"] {
        let mut house = House::built(Plan { upstream: Some(upstream), more, ..Plan::default() }).await;
        let mut process = Process::instead_of(&mut house, LOG).await;
        let mut client = house.connect(HOST, None).await;
        client.send(&Scene::right(&house).bytes(&house)).await.expect("sent");
        arrived.notified().await;
        // A connection kept alive must not keep the process.
        let mut idle = house.connect(HOST, None).await;
        assert_eq!(house.ask_admin("/readyz").await.0, 200);

        process.signal(signal);
        let begin = Instant::now();
        wait("readiness ends", async || house.ask_admin("/readyz").await.0 == 503).await;
        assert_eq!(house.ask_admin("/livez").await.0, 200);
        wait("nobody is let in", async || TcpStream::connect(house.address).await.is_err()).await;
        assert!(idle.is_closed().await);

        answer.notify_one();
        let answer = client.answer().await.expect("the answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        assert!(client.is_closed().await);
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
        assert!(begin.elapsed() < PROMPTLY, "{:?} after everything had ended", begin.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut() {
    let (upstream, heard) = scripted::silent().await;
    let more = "shutdown: { grace: 500ms }\n";
    let mut house = House::built(Plan { upstream: Some(upstream), more, ..Plan::default() }).await;
    let mut process = Process::instead_of(&mut house, LOG).await;
    let mut client = house.connect(HOST, None).await;
    client.send(&Scene::right(&house).bytes(&house)).await.expect("sent");
    wait("it is at the upstream", async || !heard.lock().expect("no one panicked").is_empty()).await;
    process.signal("TERM");
    let begin = Instant::now();
    client.answer().await.expect_err("no answer");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    assert!(
        begin.elapsed() >= Duration::from_millis(500) && begin.elapsed() < PROMPTLY,
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_request_it_ends_at_once() {
    let mut house = House::usual().await;
    let mut process = Process::instead_of(&mut house, LOG).await;
    // One that has not even begun to speak.
    let _silent = TcpStream::connect(house.address).await.expect("connected");
    process.signal("TERM");
    let begin = Instant::now();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    assert!(begin.elapsed() < PROMPTLY, "{:?} with nothing to do", begin.elapsed());
}

/// Whoever asks twice does not want to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (upstream, heard) = scripted::silent().await;
    let more = "shutdown: { delay: 1h, grace: 1h }\n";
    let mut house = House::built(Plan { upstream: Some(upstream), more, ..Plan::default() }).await;
    let mut process = Process::instead_of(&mut house, LOG).await;
    let mut client = house.connect(HOST, None).await;
    client.send(&Scene::right(&house).bytes(&house)).await.expect("sent");
    wait("it is at the upstream", async || !heard.lock().expect("no one panicked").is_empty()).await;
    process.signal("TERM");
    wait("readiness ends", async || house.ask_admin("/readyz").await.0 == 503).await;
    let begin = Instant::now();
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    assert!(begin.elapsed() < PROMPTLY, "{:?}", begin.elapsed());
    assert!(process.stderr().contains("ended at once"), "{}", process.stderr());
}

/// For as long as `shutdown.delay` says, connections are taken as before, while readiness sends everyone elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_taken_for_a_while() {
    let more = "shutdown: { delay: 1s }\n";
    let mut house = House::built(Plan { more, ..Plan::default() }).await;
    let mut process = Process::instead_of(&mut house, LOG).await;
    process.signal("TERM");
    let begin = Instant::now();
    wait("readiness ends", async || house.ask_admin("/readyz").await.0 == 503).await;
    let mut scene = Scene::at(&house, "/public");
    scene.credentials = Some(Vec::new());
    assert_eq!(scene.send(&house).await.status, 200);
    assert!(begin.elapsed() < Duration::from_secs(1), "too slow to tell: {:?}", begin.elapsed());
    wait("nobody is let in", async || TcpStream::connect(house.address).await.is_err()).await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
}

/// A configuration that is wrong is exit code 1, an address that is taken 2; nothing is served then.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_so() {
    let house = House::usual().await;
    let text = std::fs::read_to_string(house.directory.path().join("gateway.yaml")).expect("a file");
    let taken = house.address.to_string();
    for (file, text, code, said) in [
        ("unknown.yaml", text.replace("admin:", "amdin:"), 1, "amdin"),
        ("taken.yaml", text.replacen("127.0.0.1:0", &taken, 1), 2, taken.as_str()),
    ] {
        let file = house.directory.path().join(file);
        std::fs::write(&file, text).expect("written");
        let mut process = Process::serve(&file);
        assert_eq!(process.ended().await.code(), Some(code));
        wait("it says why", async || process.stderr().contains(said)).await;
    }
}

/// What the end of the grace cuts is neither the caller's doing nor the upstream's, and the log says so: of an answer, and of a request without one.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_grace_cuts_is_logged_as_that() {
    let upstream = scripted::upstream(|mut stream| async move {
        let head = scripted::read_until(&mut stream, b"\r\n\r\n").await;
        if head.starts_with(b"GET /public/begun") {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
            stream.write_all(answer).await.expect("written");
        }
        std::future::pending().await
    })
    .await;
    let more = "shutdown: { delay: 0s, grace: 500ms }\n";
    let mut house = House::built(Plan { upstream: Some(upstream), more, ..Plan::default() }).await;
    let mut process = Process::instead_of(&mut house, "{ level: info, access: json }").await;
    let mut kept = Vec::new();
    let h2 = house.connect_h2(None).await;
    for path in ["/public/begun", "/public/silent"] {
        let mut client = house.connect(HOST, None).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        client.send(request.as_bytes()).await.expect("sent");
        kept.push(client);
    }
    kept[0].head().await.expect("the head of an answer");
    let requests = [h2_get(&house, "/public/begun"), h2_get(&house, "/public/silent")];
    let [begun, silent] = requests;
    let exchanges = tokio::spawn(async move { tokio::join!(h2.exchange(begun), h2.exchange(silent)) });
    wait("all are at the upstream", async || {
        let (_, numbers) = house.ask_admin("/metrics").await;
        numbers.contains("holdfast_upstream_requests_in_flight{upstream=\"echo\"} 4\n")
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    drop((kept, exchanges));
    let told = process.stdout();
    let mut lines: Vec<(String, String)> = told
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{told}"));
            assert_eq!(line["reason"], "drained", "{line}");
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("path"), text("decision"))
        })
        .collect();
    lines.sort();
    let expected =
        [("begun", "forwarded"), ("begun", "forwarded"), ("silent", "abandoned"), ("silent", "abandoned")];
    assert_eq!(lines, expected.map(|(path, decision)| (format!("/public/{path}"), decision.to_owned())));
}

fn h2_get(house: &House, path: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    without_credentials(house, path).request_with(&[])
}
