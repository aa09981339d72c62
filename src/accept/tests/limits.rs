//! R-L-08: every wait has an end, and the end comes when it should.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::super::refusal::Refusal;
use super::{Answers, exchange, limits, pipe, plaintext, rest, start, until};
use crate::accept::body::BodyFault;
use crate::config::Limits;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// How long a wait took, to the half second: the clock is paused, so it is exact but for the timer's own milliseconds.
fn took(since: Instant, seconds: u64) -> bool {
    since.elapsed().abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(500)
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_after_idle_timeout() {
    let since = Instant::now();
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 1024);
    assert_eq!(rest(&mut caller).await, "", "nothing was asked, so nothing is answered");
    assert!(took(since, 60), "{:?}", since.elapsed());
    assert_eq!(answers.seen().refused, []);
}

#[tokio::test(start_paused = true)]
async fn a_connection_kept_alive_ends_after_idle_timeout() {
    let (mut caller, _served) = pipe(limits(), &Answers::new(), 1024);
    for _ in 0..3 {
        sleep(Duration::from_secs(55)).await;
        caller.write_all(REQUEST).await.expect("still open");
        until(&mut caller, "certificate=-").await;
    }
    let since = Instant::now();
    assert_eq!(rest(&mut caller).await, "");
    assert!(took(since, 60), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_after_header_timeout() {
    // One byte a second: the time counts from the first byte, not from the last.
    let answers = Answers::new();
    let (caller, _served) = pipe(limits(), &answers, 1024);
    let (mut reading, mut writing) = tokio::io::split(caller);
    sleep(Duration::from_secs(30)).await;
    let since = Instant::now();
    let dripping = tokio::spawn(async move {
        for &byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: a very long time\r\n\r\n" {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    let text = until(&mut reading, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(took(since, 10), "{:?}", since.elapsed());
    assert_eq!(answers.seen().requests, Vec::<String>::new());
    assert_eq!(answers.seen().refused, [Refusal::HeadTimeout]);
    dripping.abort();
}

/// The second head on a connection has a time of its own.
#[tokio::test(start_paused = true)]
async fn a_slow_second_head_is_refused_too() {
    let (mut caller, _served) = pipe(limits(), &Answers::new(), 1024);
    caller.write_all(REQUEST).await.expect("open");
    until(&mut caller, "certificate=-").await;
    sleep(Duration::from_secs(7)).await;
    caller.write_all(b"GET").await.expect("open");
    let since = Instant::now();
    assert!(until(&mut caller, "\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
    assert!(took(since, 10), "{:?}", since.elapsed());
}

/// A handler may take its time: neither limit is about it.
#[tokio::test(start_paused = true)]
async fn a_long_answer_is_waited_for() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 1024);
    caller.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\nGET ").await.expect("open");
    sleep(Duration::from_secs(1000)).await;
    answers.release.add_permits(1);
    assert!(until(&mut caller, "released").await.starts_with("HTTP/1.1 200 OK"));
    // The half head behind it was waiting all the time, and its own limit is long over.
    let since = Instant::now();
    assert!(rest(&mut caller).await.starts_with("HTTP/1.1 408 "));
    assert!(since.elapsed() < limits().header_timeout + Duration::from_secs(3), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_fails_after_idle_timeout() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(Limits { least_rate: 0, ..limits() }, &answers, 1024);
    caller.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await.expect("open");
    // A byte now and then is no stall.
    for _ in 0..3 {
        sleep(Duration::from_secs(50)).await;
        caller.write_all(b"x").await.expect("open");
    }
    let since = Instant::now();
    assert!(until(&mut caller, "Stalled").await.starts_with("HTTP/1.1 200 OK"));
    assert!(took(since, 60), "{:?}", since.elapsed());
    assert_eq!(answers.seen().faults, [BodyFault::Stalled]);
}

/// T-PXY-18: a byte every 59 s keeps up with every limit on silence.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_fails_however_steady() {
    for framing in ["Content-Length: 400\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 1024);
        caller
            .write_all(format!("POST /body HTTP/1.1\r\nHost: a\r\n{framing}").as_bytes())
            .await
            .expect("open");
        let since = Instant::now();
        while answers.seen().faults.is_empty() {
            assert!(since.elapsed() < Duration::from_secs(60), "it goes on for ever");
            sleep(Duration::from_secs(3)).await;
            let byte: &[u8] = if framing.starts_with('C') { b"x" } else { b"1\r\nx\r\n" };
            // The other side may have had enough.
            let _ = caller.write_all(byte).await;
        }
        assert_eq!(answers.seen().faults, [BodyFault::Stalled]);
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    }
    // The end of a body may be late, as long as it is not too late.
    let (mut caller, _served) = pipe(limits(), &Answers::new(), 1024);
    caller.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").await.expect("open");
    sleep(Duration::from_secs(50)).await;
    caller.write_all(b"y").await.expect("open");
    assert!(until(&mut caller, "read 2").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_body_has_a_size() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for (request, answer, faults) in [
        (format!("Content-Length: 1024\r\n\r\n{}", "x".repeat(1024)), "read 1024", vec![]),
        (format!("Content-Length: 1025\r\n\r\n{}", "x".repeat(1025)), "TooLarge", vec![BodyFault::TooLarge]),
        (format!("{chunked}400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024)), "read 1024", vec![]),
        (
            format!("{chunked}1\r\nx\r\n400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024)),
            "TooLarge",
            vec![BodyFault::TooLarge],
        ),
    ] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 8192);
        let request = format!("POST /body HTTP/1.1\r\nHost: a\r\n{request}");
        caller.write_all(request.as_bytes()).await.expect("open");
        assert!(until(&mut caller, answer).await.starts_with("HTTP/1.1 200 OK"));
        assert_eq!(answers.seen().faults, faults);
    }
}

/// What is declared too large is known before anything is read.
#[tokio::test(start_paused = true)]
async fn a_declared_length_is_judged_first() {
    for (fields, declared) in [
        ("", "Ok(Some(0))"),
        ("Content-Length: 1024\r\n", "Ok(Some(1024))"),
        ("Content-Length: 1025\r\n", "Err(BodyTooLarge)"),
        ("Transfer-Encoding: chunked\r\n", "Ok(None)"),
    ] {
        let (mut caller, _served) = pipe(limits(), &Answers::new(), 8192);
        let head = format!("POST /declared HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        caller.write_all(head.as_bytes()).await.expect("open");
        until(&mut caller, declared).await;
    }
}

/// A client that sends a body on wraps the errors of the body.
#[test]
fn a_fault_is_found_behind_other_errors() {
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] Box<dyn std::error::Error + Send + Sync>);
    let wrapped = Wrapped(Box::new(Wrapped(BodyFault::Stalled.into())));
    assert_eq!(BodyFault::behind(&wrapped), Some(BodyFault::Stalled));
    assert_eq!(BodyFault::behind(&Wrapped("other".into())), None);
}

/// Half a body is no body.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_fails() {
    for request in ["Content-Length: 3\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 8192);
        let head = format!("POST /body HTTP/1.1\r\nHost: a\r\n{request}");
        caller.write_all(head.as_bytes()).await.expect("open");
        caller.shutdown().await.expect("open");
        rest(&mut caller).await;
        assert_eq!(answers.seen().faults, [BodyFault::Broken], "{request}");
    }
}

/// A caller that reads nothing of a large answer is let go of, and so is the handler's body.
#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_is_let_go() {
    let (mut caller, served) = pipe(limits(), &Answers::new(), 1024);
    caller.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    let since = Instant::now();
    let ended = timeout(Duration::from_secs(1000), served).await;
    ended.expect("in time").expect("no panic");
    assert!(took(since, 60), "{:?}", since.elapsed());
}

/// A slow reader that reads is no such caller: each read starts the time again.
#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_slowly_is_served() {
    let (mut caller, _served) = pipe(limits(), &Answers::new(), 64 * 1024);
    caller.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("open");
    let (mut piece, mut total) = (vec![0; 64 * 1024], 0);
    loop {
        sleep(Duration::from_secs(50)).await;
        match caller.read(&mut piece).await.expect("open") {
            0 => break,
            length => total += length,
        }
    }
    assert!(total > 1024 * 1024, "{total}");
}

/// `connections` counts served connections over all listeners; the next one waits, and is served when a place is free.
#[tokio::test]
async fn connections_have_a_number() {
    let limits = crate::config::Limits { connections: 2, ..limits() };
    let server = start(&plaintext(), limits, Duration::ZERO).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(REQUEST).await.expect("open");
        until(stream, "certificate=-").await;
    }
    let mut third = server.connect().await;
    third.write_all(REQUEST).await.expect("queued");
    let waiting = timeout(Duration::from_millis(200), third.read_u8()).await;
    assert!(waiting.is_err(), "the third was served beside two others");
    drop(first);
    until(&mut third, "certificate=-").await;
    server.stop.cancel();
    server.task.await.expect("no panic");
}

#[tokio::test]
async fn nothing_is_left_of_a_caller_that_goes_away() {
    let server = start(&plaintext(), limits(), Duration::from_secs(5)).await;
    let mut caller = server.connect().await;
    caller.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    while server.answers.seen().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(caller);
    while server.answers.seen().dropped == 0 {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    server.task.await.expect("no panic");
    let mut again = tokio::net::TcpStream::connect(server.address).await;
    assert!(again.is_err() || exchange(again.as_mut().expect("connected"), REQUEST).await.is_empty());
}
