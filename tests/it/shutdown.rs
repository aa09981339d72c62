//! SIGTERM: what is in flight ends well, nothing new begins, and the process ends in bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

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
