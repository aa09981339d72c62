//! A connection without a request is parked: it takes little memory, and nobody can tell otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answers, limits, listening, pipe, pipe_until, plaintext, rest, the_listener, until};
use crate::accept::connection;
use crate::accept::door::Taken;
use crate::accept::http1::QUIET;
use crate::accept::peer::Peer;
use crate::accept::refusal::Refusal;
use crate::clock::Lapse;
use crate::config::Limits;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Long enough for a connection to be parked, and no time limit.
const LONG: Duration = Duration::from_secs(2);

/// In one piece, byte by byte, in two with a pause at each place, and two at once: on the first request and on those after a rest.
#[tokio::test(start_paused = true)]
async fn requests_are_answered_however_they_are_split() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 1024);
    let mut asked = 0;
    for at in 0..REQUEST.len() {
        sleep(LONG).await;
        caller.write_all(&REQUEST[..at]).await.expect("open");
        sleep(LONG).await;
        caller.write_all(&REQUEST[at..]).await.expect("open");
        until(&mut caller, "certificate=-").await;
        asked += 1;
        assert_eq!(answers.seen().requests.len(), asked);
    }
    sleep(LONG).await;
    for byte in REQUEST {
        caller.write_all(&[*byte]).await.expect("open");
        sleep(Duration::from_millis(300)).await;
    }
    until(&mut caller, "certificate=-").await;
    sleep(LONG).await;
    let post = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo";
    caller.write_all(&[REQUEST, REQUEST, post].concat()).await.expect("open");
    until(&mut caller, "certificate=-").await;
    until(&mut caller, "certificate=-").await;
    sleep(LONG).await;
    caller.write_all(b"dyGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    until(&mut caller, "read 4").await;
    until(&mut caller, "/b sni=- certificate=-").await;
    assert_eq!(answers.seen().refused, []);
}

/// A body that is still coming behind its answer is no rest.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_late_is_not_read_as_a_request() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 1024);
    caller.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n").await.expect("open");
    until(&mut caller, "certificate=-").await;
    sleep(LONG).await;
    let _ = caller.write_all(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    rest(&mut caller).await;
    assert_eq!(answers.seen().requests, ["POST /a"]);
}

/// The limits count from where they did: `idle_timeout` from the last answer, `header_timeout` from the first byte.
#[tokio::test(start_paused = true)]
async fn the_limits_count_on() {
    let near = |since: Instant, limit: Duration| {
        assert!(since.elapsed().abs_diff(limit) < Duration::from_millis(100), "{:?}", since.elapsed());
    };
    for idle_timeout in [QUIET / 2, QUIET, QUIET * 3 / 2, Duration::from_secs(60)] {
        let limits = Limits { idle_timeout, ..limits() };
        let (mut caller, _served) = pipe(limits, &Answers::new(), 1024);
        caller.write_all(REQUEST).await.expect("open");
        until(&mut caller, "certificate=-").await;
        let since = Instant::now();
        assert_eq!(rest(&mut caller).await, "");
        near(since, idle_timeout);
    }
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 1024);
    caller.write_all(REQUEST).await.expect("open");
    until(&mut caller, "certificate=-").await;
    sleep(LONG).await;
    caller.write_all(&REQUEST[..9]).await.expect("open");
    let since = Instant::now();
    assert!(until(&mut caller, "\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
    near(since, limits().header_timeout);
    assert_eq!(answers.seen().refused, [Refusal::HeadTimeout]);
}

/// A head that is wrong is refused as it is anywhere, also behind one that is right.
#[tokio::test(start_paused = true)]
async fn a_wrong_head_is_refused() {
    for before in [&b""[..], REQUEST] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 1024);
        sleep(LONG).await;
        caller.write_all(&[before, b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await.expect("open");
        let text = rest(&mut caller).await;
        assert_eq!(text.contains("HTTP/1.1 200 OK"), !before.is_empty(), "{text}");
        assert!(text.contains("HTTP/1.1 400 "), "{text}");
        assert_eq!(answers.seen().refused.len(), 1);
    }
}

/// The caller's end: without a request there is nothing to say, and behind one its answer is still due.
#[tokio::test(start_paused = true)]
async fn a_caller_that_has_said_all() {
    for (said, answered) in [(&b""[..], false), (&REQUEST[..9], false), (REQUEST, true)] {
        let (mut caller, served) = pipe(limits(), &Answers::new(), 1024);
        caller.write_all(REQUEST).await.expect("open");
        until(&mut caller, "certificate=-").await;
        sleep(LONG).await;
        let since = Instant::now();
        caller.write_all(said).await.expect("open");
        caller.shutdown().await.expect("open");
        let text = rest(&mut caller).await;
        assert!(text.is_empty() || (answered && text.ends_with("certificate=-")), "{text}");
        served.await.expect("no panic");
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
}

/// At the stop signal a parked connection closes at once, one in the middle of a head is answered, and the grace counts from the signal.
#[tokio::test(start_paused = true)]
async fn a_parked_connection_hears_of_the_end() {
    let stop = CancellationToken::new();
    let answers = Answers::new();
    let (mut quiet, _a) = pipe_until(limits(), &answers, 1024, stop.clone());
    let (mut half, _b) = pipe_until(limits(), &answers, 1024, stop.clone());
    let (mut late, _c) = pipe_until(limits(), &answers, 1024, stop.clone());
    sleep(LONG + LONG).await;
    half.write_all(&REQUEST[..9]).await.expect("open");
    late.write_all(b"GET /hang HTTP/1.1\r\n").await.expect("open");
    sleep(Duration::from_millis(1)).await;
    stop.cancel();
    let since = Instant::now();
    assert_eq!(rest(&mut quiet).await, "");
    assert!(since.elapsed() < Duration::from_millis(100), "{:?}", since.elapsed());
    half.write_all(&REQUEST[9..]).await.expect("open");
    let text = rest(&mut half).await;
    assert!(text.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{text}");
    sleep(Duration::from_secs(3)).await;
    late.write_all(b"Host: a\r\n\r\n").await.expect("open");
    assert_eq!(rest(&mut late).await, "", "the grace is over before the answer");
    assert!(since.elapsed().abs_diff(Duration::from_secs(5)) < Duration::from_millis(100));
}

/// What thousands of idle connections are multiplied by. hyper is in a box while it is there.
#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("bound");
    let near = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let listening = listening(&plaintext(), limits(), &stop).load_full();
    let taken = Taken { peer: Peer::Direct(SocketAddr::from(([192, 0, 2, 1], 1))), place: None };
    let grace = Lapse::new(Duration::ZERO);
    let whole = connection::serve(near, taken, listening, Answers::new(), tasks, stop, grace);
    let size = std::mem::size_of_val(&whole);
    assert!(size <= 1024, "the outer future has {size} bytes");
    let (near, _far) = tokio::io::duplex(1);
    let session = connection::Session {
        peer: Peer::Direct(address),
        server_name: None,
        certificate: None,
        tls: false,
        listener: the_listener(),
        overdue: Default::default(),
    };
    let ending = connection::Ending {
        limits: limits(),
        stop: CancellationToken::new(),
        grace: Lapse::new(Duration::ZERO),
    };
    let parked = crate::accept::http1::http1(Box::new(near), Arc::new(session), Answers::new(), ending);
    let size = std::mem::size_of_val(&parked);
    // It has 1256. With the tunnel in place, for which few connections need room, it would have 120 more.
    assert!(size <= 1300, "HTTP/1.1 has {size} bytes");
}
