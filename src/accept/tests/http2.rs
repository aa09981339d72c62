//! HTTP/2: the limits hyper leaves open, on a pipe with the clock paused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::connection::{self, Ending, Session};
use super::{Answers, limits, rest, the_listener};
use crate::accept::peer::Peer;
use crate::clock::Lapse;

struct Pipe {
    near: DuplexStream,
    served: JoinHandle<()>,
    answers: Arc<Answers>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn pipe() -> Pipe {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (answers, stop, tasks) = (Answers::new(), CancellationToken::new(), TaskTracker::new());
    let peer = Peer::Direct(SocketAddr::from(([192, 0, 2, 1], 1)));
    let listener = the_listener();
    let session = Arc::new(Session {
        peer,
        server_name: None,
        certificate: None,
        tls: true,
        listener,
        overdue: Default::default(),
    });
    let ending = Ending { limits: limits(), stop: stop.clone(), grace: Lapse::new(Duration::from_secs(5)) };
    let served = tokio::spawn(connection::http2(far, session, Arc::clone(&answers), tasks.clone(), ending));
    Pipe { near, served, answers, stop, tasks }
}

async fn client(near: DuplexStream, window: u32) -> SendRequest<Empty<Bytes>> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (send, connection) = builder.handshake(TokioIo::new(near)).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://api.example.com{path}")).body(Empty::new()).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    let answer = send.send_request(get("/a")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(pipe.answers.seen().requests, ["GET /a"]);
}

/// Nothing at all, and frames that never become a request: both end after `idle_timeout`.
#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends() {
    for dripping in [false, true] {
        let since = Instant::now();
        let pipe = pipe();
        let (mut reading, mut writing) = tokio::io::split(pipe.near);
        tokio::spawn(async move { rest(&mut reading).await });
        if dripping {
            tokio::spawn(async move {
                let _ = writing.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
                // A PING every ten seconds.
                while writing.write_all(b"\0\0\x08\x06\0\0\0\0\0abcdefgh").await.is_ok() {
                    sleep(Duration::from_secs(10)).await;
                }
            });
        }
        pipe.served.await.expect("no panic");
        let elapsed = since.elapsed();
        assert!(elapsed >= Duration::from_secs(60) && elapsed < Duration::from_secs(63), "{elapsed:?}");
    }
}

/// Heads that begin and do not end: a piece of the preface, of a HEADERS frame, and CONTINUATION after CONTINUATION.
#[tokio::test(start_paused = true)]
async fn a_slow_head_ends_the_connection_after_header_timeout() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let headers = |length: u8, flags: u8| [PREFACE, &[0, 0, length, 1, flags, 0, 0, 0, 1]].concat();
    let block = b"\x82\x87\x84\x41\x01a";
    for (begun, dripped) in [
        (PREFACE[..10].to_vec(), &b""[..]),
        (headers(10, 4), b"\x82"),
        ([headers(6, 0), block.to_vec()].concat(), b"\0\0\x05\x09\0\0\0\0\x01\0\x01a\x01b"),
    ] {
        let pipe = pipe();
        let (mut reading, mut writing) = tokio::io::split(pipe.near);
        tokio::spawn(async move { rest(&mut reading).await });
        sleep(Duration::from_secs(20)).await;
        let since = Instant::now();
        tokio::spawn(async move {
            let _ = writing.write_all(&begun).await;
            // h2 takes few CONTINUATION frames (CVE-2024-27316), so they come slowly.
            for _ in 0..4 {
                sleep(Duration::from_secs(2)).await;
                let _ = writing.write_all(dripped).await;
            }
            sleep(Duration::from_secs(100)).await;
        });
        pipe.served.await.expect("no panic");
        let elapsed = since.elapsed();
        assert!(elapsed >= Duration::from_secs(10) && elapsed < Duration::from_secs(13), "{elapsed:?}");
        assert!(pipe.answers.seen().requests.is_empty());
    }
}

/// A head in several frames that comes in time is a request like any other, and what follows it is seen in its place.
#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_is_a_request() {
    let pipe = pipe();
    let (mut reading, mut writing) = tokio::io::split(pipe.near);
    tokio::spawn(async move { rest(&mut reading).await });
    let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x03\x01\x01\0\0\0\x01\x82\x87\x84\0\0\x03\x09\x04\0\0\0\x01\x41\x01a\
        \0\0\x08\x06\0\0\0\0\0abcdefgh";
    let since = Instant::now();
    for byte in bytes {
        writing.write_all(&[*byte]).await.expect("open");
        sleep(Duration::from_millis(100)).await;
    }
    let sent = since.elapsed();
    assert_eq!(pipe.answers.seen().requests, ["GET /"]);
    pipe.served.await.expect("no panic");
    let idle = since.elapsed() - sent;
    assert!(idle > Duration::from_secs(55) && idle < Duration::from_secs(63), "{idle:?}");
}

/// A stream whose window stays shut, on a connection that is otherwise alive.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_ends() {
    let pipe = pipe();
    let mut send = client(pipe.near, 1000).await;
    let mut unread = send.send_request(get("/big")).await.expect("a head").into_body();
    unread.frame().await.expect("a frame").expect("data");
    for _ in 0..7 {
        sleep(Duration::from_secs(10)).await;
        send.ready().await.expect("open");
        assert_eq!(send.send_request(get("/b")).await.expect("others are served").status(), 200);
    }
    let mut last = unread.frame().await;
    while let Some(Ok(_)) = last {
        last = unread.frame().await;
    }
    assert!(matches!(last, Some(Err(_))), "the stream was reset");
    assert!(!pipe.served.is_finished());
}

/// A handler that takes its time is not taken for such a stream.
#[tokio::test(start_paused = true)]
async fn a_long_answer_is_waited_for() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    let answer = tokio::spawn(send.send_request(get("/hang")));
    sleep(Duration::from_secs(1000)).await;
    pipe.answers.release.add_permits(1);
    assert_eq!(answer.await.expect("no panic").expect("an answer").status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_answers() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    let answer = tokio::spawn(send.send_request(get("/hang")));
    while pipe.answers.seen().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    pipe.stop.cancel();
    sleep(Duration::from_secs(1)).await;
    assert!(send.send_request(get("/late")).await.is_err(), "nothing new after GOAWAY");
    pipe.answers.release.add_permits(1);
    assert_eq!(answer.await.expect("no panic").expect("an answer").status(), 200);
    pipe.served.await.expect("no panic");
    assert_eq!(pipe.answers.seen().requests, ["GET /hang"]);
}

/// A caller that asks all the time, and is answered each time before anyone looks, hears of the end with its next request.
#[tokio::test(start_paused = true)]
async fn a_drain_is_heard_of_in_steady_use() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    send.send_request(get("/a")).await.expect("an answer");
    pipe.stop.cancel();
    let since = Instant::now();
    while send.send_request(get("/a")).await.is_ok() {
        assert!(since.elapsed() < Duration::from_secs(1), "requests go on during the drain");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(pipe.answers.seen().requests.len() > 1, "the one after the signal was answered");
    pipe.served.await.expect("no panic");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_without_them_after_its_grace() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    let answer = tokio::spawn(send.send_request(get("/hang")));
    while pipe.answers.seen().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    let since = Instant::now();
    pipe.stop.cancel();
    pipe.served.await.expect("no panic");
    pipe.tasks.close();
    pipe.tasks.wait().await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    assert!(answer.await.expect("no panic").is_err());
    assert_eq!(pipe.answers.seen().dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn heads_have_a_size() {
    let pipe = pipe();
    let mut send = client(pipe.near, 65_535).await;
    let mut request = get("/a");
    request.headers_mut().insert("x", "y".repeat(limits().header_bytes).parse().expect("a value"));
    let answer = send.send_request(request).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    assert_eq!(pipe.answers.seen().requests, Vec::<String>::new());
}
