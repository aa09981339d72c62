//! What comes behind a request to switch protocols: nobody's before the answer, the other protocol's behind a 101, and no request ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::tunnel::{End, Ended};
use super::{Answers, exchange, limits, pipe, pipe_until, rest, until};

const SWITCH: &str = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// A request that would be answered if anyone took it for one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// An open tunnel: the caller's end, the upstream's, and word of its end.
struct Opened {
    caller: DuplexStream,
    upstream: DuplexStream,
    ended: Receiver<Ended>,
    served: JoinHandle<()>,
    answers: Arc<Answers>,
}

/// Opens a tunnel; `early` comes with the request.
async fn opened(early: &str, stop: CancellationToken) -> Opened {
    let answers = Answers::new();
    let (mut caller, served) = pipe_until(limits(), &answers, 64 * 1024, stop);
    caller.write_all(format!("{SWITCH}{early}").as_bytes()).await.expect("open");
    sleep(Duration::from_secs(1)).await;
    answers.release.add_permits(1);
    let head = until(&mut caller, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    let (upstream, ended) = answers.upstream.lock().expect("unpoisoned").take().expect("a tunnel");
    Opened { caller, upstream, ended, served, answers }
}

async fn plainly_opened() -> Opened {
    opened("", CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_both_ways_and_each_way_ends_by_itself() {
    let Opened { mut caller, mut upstream, ended, served, answers } = plainly_opened().await;
    // Neither of them is HTTP, and nothing reads it as that.
    for text in ["\0\x01\n\n", SMUGGLED] {
        caller.write_all(text.as_bytes()).await.expect("open");
        assert_eq!(until(&mut upstream, text).await, text);
        upstream.write_all(text.as_bytes()).await.expect("open");
        assert_eq!(until(&mut caller, text).await, text);
    }
    caller.shutdown().await.expect("open");
    assert_eq!(rest(&mut upstream).await, "");
    upstream.write_all(b"last words").await.expect("open");
    upstream.shutdown().await.expect("open");
    assert_eq!(rest(&mut caller).await, "last words");
    let sent = 4 + SMUGGLED.len() as u64;
    let expected = Ended { end: End::Closed, from_caller: sent, from_upstream: sent + 10 };
    assert_eq!(ended.await.expect("heard"), expected);
    served.await.expect("no panic");
    assert_eq!(answers.seen().requests, ["GET /switch"]);
}

/// T-PXY-08. What came before the 101 belongs to the protocol that the 101 began.
#[tokio::test(start_paused = true)]
async fn what_came_early_is_the_other_protocols_behind_a_101() {
    let Opened { mut caller, mut upstream, answers, .. } = opened(SMUGGLED, CancellationToken::new()).await;
    caller.write_all(b"later").await.expect("open");
    assert_eq!(until(&mut upstream, "later").await, format!("{SMUGGLED}later"));
    assert_eq!(answers.seen().requests, ["GET /switch"]);
}

/// T-PXY-08, RFC 9931 §4. Behind any other answer it has no meaning, least of all that of a request.
#[tokio::test(start_paused = true)]
async fn what_came_early_is_thrown_away_behind_any_other_answer() {
    let declined = SWITCH.replace("/switch", "/plain");
    for pieces in
        [&[&declined, SMUGGLED][..], &[&format!("{declined}{SMUGGLED}")], &[&format!("{declined}G")]]
    {
        let answers = Answers::new();
        let (mut caller, served) = pipe(limits(), &answers, 64 * 1024);
        let mut text = String::new();
        // In one piece and in two the handler is at work when the second comes.
        let hanging: Vec<String> = pieces.iter().map(|piece| piece.replace("/plain", "/hang")).collect();
        for piece in &hanging {
            caller.write_all(piece.as_bytes()).await.expect("open");
            sleep(Duration::from_secs(1)).await;
        }
        answers.release.add_permits(1);
        let _ = tokio::time::timeout(Duration::from_secs(1), caller.read_to_string(&mut text)).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{text}");
        assert!(text.ends_with("released"), "{text}");
        assert_eq!(rest(&mut caller).await, "");
        served.await.expect("no panic");
        assert_eq!(answers.seen().requests, ["GET /hang"]);
        assert!(answers.seen().refused.is_empty());
    }
}

/// The caller that waits for its answer loses nothing: the connection stays HTTP.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_switch_was_declined_goes_on() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 64 * 1024);
    for _ in 0..3 {
        caller.write_all(SWITCH.replace("/switch", "/plain").as_bytes()).await.expect("open");
        assert!(until(&mut caller, "certificate=-").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    // Requests that ask for nothing of the kind are read ahead as ever, before and behind one that does.
    let pair = format!("{SMUGGLED}{}", SWITCH.replace("/switch", "/plain"));
    caller.write_all(pair.as_bytes()).await.expect("open");
    let text = until(&mut caller, "/plain sni=- certificate=-").await;
    assert!(text.contains("/smuggled sni=-"), "{text}");
    assert!(exchange(&mut caller, b"GET /after HTTP/1.0\r\nHost: a\r\n\r\n").await.contains("/after"));
}

/// RFC 9110 §7.8: in HTTP/1.0 the field means nothing; and a request with a body is over before anything else begins.
#[tokio::test(start_paused = true)]
async fn only_a_request_without_a_body_in_http_11_asks() {
    let behind = SMUGGLED.replace("/smuggled", "/behind");
    for request in [
        "POST /plain HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 1\r\n\r\nx",
        "GET /plain HTTP/1.0\r\nHost: a\r\nConnection: upgrade, keep-alive\r\nUpgrade: echo\r\n\r\n",
    ] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 64 * 1024);
        caller.write_all(format!("{request}{behind}").as_bytes()).await.expect("open");
        until(&mut caller, "/plain sni=- certificate=-").await;
        until(&mut caller, "/behind sni=- certificate=-").await;
    }
}

/// A caller may say as much as it likes before it is answered; it is not all taken in.
#[tokio::test(start_paused = true)]
async fn what_comes_early_is_bounded_and_arrives() {
    let flood = "x".repeat(300 * 1024);
    let answers = Answers::new();
    let (caller, _served) = pipe(limits(), &answers, 1024);
    let (mut reading, mut writing) = tokio::io::split(caller);
    let text = format!("{SWITCH}{flood}");
    let sent = tokio::spawn(async move { writing.write_all(text.as_bytes()).await });
    sleep(Duration::from_secs(1)).await;
    assert!(!sent.is_finished(), "everything was taken in");
    answers.release.add_permits(1);
    until(&mut reading, "\r\n\r\n").await;
    let (mut upstream, _) = answers.upstream.lock().expect("unpoisoned").take().expect("a tunnel");
    let mut arrived = vec![0; flood.len()];
    upstream.read_exact(&mut arrived).await.expect("everything");
    assert_eq!(arrived, flood.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_holds_the_other_back() {
    let Opened { mut caller, mut upstream, .. } = plainly_opened().await;
    let text = vec![b'x'; 1024 * 1024];
    let sent = tokio::spawn({
        let text = text.clone();
        async move { caller.write_all(&text).await.map(|()| caller) }
    });
    sleep(Duration::from_secs(1)).await;
    assert!(!sent.is_finished(), "a megabyte is waiting somewhere");
    let mut arrived = vec![0; text.len()];
    upstream.read_exact(&mut arrived).await.expect("everything");
    assert!(sent.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_and_a_half_closed_one_sooner() {
    let Opened { mut caller, mut upstream, ended, .. } = plainly_opened().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(290)).await;
        upstream.write_all(b"x").await.expect("open");
        until(&mut caller, "x").await;
    }
    let since = Instant::now();
    assert_eq!(ended.await.expect("heard").end, End::Idle);
    assert!(
        since.elapsed().abs_diff(Duration::from_secs(300)) < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );

    let Opened { mut caller, upstream: _upstream, ended, .. } = plainly_opened().await;
    caller.shutdown().await.expect("open");
    let since = Instant::now();
    assert_eq!(ended.await.expect("heard").end, End::Idle);
    assert!(
        since.elapsed().abs_diff(limits().idle_timeout) < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_given_the_grace_and_no_more() {
    let stop = CancellationToken::new();
    let Opened { mut caller, mut upstream, ended, served, .. } = opened("", stop.clone()).await;
    stop.cancel();
    sleep(Duration::from_secs(4)).await;
    caller.write_all(b"still").await.expect("open");
    until(&mut upstream, "still").await;
    assert_eq!(ended.await.expect("heard").end, End::Drained);
    served.await.expect("no panic");
    assert_eq!(rest(&mut upstream).await, "");
}

#[tokio::test(start_paused = true)]
async fn it_is_known_who_broke_it() {
    let Opened { mut caller, upstream, ended, .. } = plainly_opened().await;
    // An end in order at first; then there is nobody to write to.
    drop(upstream);
    assert_eq!(rest(&mut caller).await, "");
    caller.write_all(b"x").await.expect("open");
    assert_eq!(ended.await.expect("heard").end, End::UpstreamBroken);

    let Opened { caller, mut upstream, ended, .. } = plainly_opened().await;
    drop(caller);
    assert_eq!(rest(&mut upstream).await, "");
    upstream.write_all(b"x").await.expect("open");
    assert_eq!(ended.await.expect("heard").end, End::CallerLeft);
}
