//! When a connection is parked and when it is not, seen from below: parked it reads in pieces of another size than hyper does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Answers, limits, pipe, rest, session, until};
use crate::accept::connection::{Ending, TIME_TO_SPEAK};
use crate::accept::framing::PIECE;
use crate::accept::http1::{QUIET, http1};
use crate::accept::refusal::Refusal;
use crate::clock::Lapse;

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Long enough for a connection to be parked, and no time limit.
const LONG: Duration = Duration::from_secs(2);

/// A pipe that notes how much its reader has room for while it waits, and nothing when it does not.
struct Noted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let room = buf.remaining();
        let outcome = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.store(if outcome.is_pending() { room } else { 0 }, Ordering::Relaxed);
        outcome
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection of which can be told whether it is parked.
struct Watched {
    caller: DuplexStream,
    room: Arc<AtomicUsize>,
    answers: Arc<Answers>,
}

impl Watched {
    fn open(stop: CancellationToken) -> Self {
        let (caller, far) = tokio::io::duplex(64 * 1024);
        let (room, answers) = (Arc::new(AtomicUsize::new(0)), Answers::new());
        let ending = Ending { limits: limits(), stop, grace: Lapse::new(Duration::from_secs(5)) };
        let stream = Noted(far, Arc::clone(&room));
        tokio::spawn(http1(stream, Arc::new(session()), Arc::clone(&answers), ending));
        Self { caller, room, answers }
    }

    fn is_parked(&self) -> bool {
        self.room.load(Ordering::Relaxed) == PIECE
    }

    /// How long it takes from now until it is parked.
    async fn until_parked(&self) -> Duration {
        let since = Instant::now();
        while !self.is_parked() {
            assert!(since.elapsed() < Duration::from_secs(60), "it is never parked");
            sleep(Duration::from_millis(1)).await;
        }
        since.elapsed()
    }

    async fn say(&mut self, text: &str) {
        self.caller.write_all(text.as_bytes()).await.expect("open");
    }
}

/// However long the request took, hyper's buffers are given back soon after it, and not before: at most as long after as it took, and never longer than the
/// shortest limit.
#[tokio::test(start_paused = true)]
async fn a_connection_is_parked_soon_after_it_gets_quiet() {
    for busy in [0, 300, 499, 500, 501, 700, 1200, 3300, 9000, 50_000].map(Duration::from_millis) {
        let mut watched = Watched::open(CancellationToken::new());
        sleep(Duration::from_millis(1)).await;
        assert!(watched.is_parked(), "before its first request");
        // Not only the first time.
        for _ in 0..2 {
            watched.say("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
            sleep(busy).await;
            assert!(busy.is_zero() || !watched.is_parked(), "{busy:?}");
            watched.answers.release.add_permits(1);
            until(&mut watched.caller, "released").await;
            let quiet = watched.until_parked().await;
            let most = QUIET + busy.min(limits().header_timeout) + Duration::from_millis(20);
            assert!((QUIET..=most).contains(&quiet), "{busy:?}: {quiet:?}");
        }
        // In steady use it is not.
        for _ in 0..50 {
            watched.say(REQUEST).await;
            until(&mut watched.caller, "certificate=-").await;
            sleep(QUIET - Duration::from_millis(20)).await;
            assert!(!watched.is_parked());
        }
        let quiet = watched.until_parked().await;
        assert!(quiet < Duration::from_secs(1), "{quiet:?}");
    }
}

/// What an upstream that answered early still reads of a body is neither lost nor taken for a request, wherever it is when the connection gets quiet.
#[tokio::test(start_paused = true)]
async fn a_body_behind_its_answer_is_left_where_it_is() {
    let length = SMUGGLED.len();
    let counted = format!("POST /keep HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
    let (one, other) = SMUGGLED.split_at(9);
    let chunked = format!(
        "POST /keep HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{one}\r\n{:x}\r\n{other}\r\n0\r\n\r\n",
        other.len()
    );
    for (request, body, wire) in
        [(&counted, length, 1), (&chunked, chunked.len() - chunked.find("9\r\n").expect("there"), 2)]
    {
        for missing in [0, 1, body / 2, body - 1, body] {
            for parked_before in [true, false] {
                let what = format!("{wire} {missing} {parked_before}");
                let mut watched = Watched::open(CancellationToken::new());
                if !parked_before {
                    watched.say(REQUEST).await;
                    until(&mut watched.caller, "certificate=-").await;
                }
                let (now, later) = request.split_at(request.len() - missing);
                watched.say(now).await;
                let answer = until(&mut watched.caller, "kept").await;
                sleep(LONG).await;
                // Two chunks do not fit between hyper and whoever reads them, so the second waits in hyper.
                let at_rest = missing == 0 && wire == 1;
                assert_eq!(watched.is_parked(), at_rest, "{what}");
                watched.say(later).await;
                sleep(LONG).await;
                let kept = watched.answers.kept.lock().expect("unpoisoned").take().expect("a body");
                let read = kept.collect().await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
                assert_eq!(read.to_bytes(), SMUGGLED, "{what}");
                if at_rest {
                    watched.say(REQUEST).await;
                    until(&mut watched.caller, "certificate=-").await;
                } else {
                    // The rest of it stood between this request and the next, so the answer was the last.
                    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
                    assert_eq!(rest(&mut watched.caller).await, "");
                }
                assert!(!watched.answers.seen().requests.contains(&"GET /smuggled".to_owned()), "{what}");
            }
        }
    }
}

/// Half a head has its own time, also when the head before it came in one piece with it.
#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_time() {
    for first in [Duration::ZERO, LONG] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 1024);
        sleep(first).await;
        // The first half of each comes with the second half of the one before.
        caller.write_all(&REQUEST.as_bytes()[..9]).await.expect("open");
        for _ in 0..4 {
            sleep(limits().header_timeout - Duration::from_millis(100)).await;
            let piece = format!("{}{}", &REQUEST[9..], &REQUEST[..9]);
            caller.write_all(piece.as_bytes()).await.expect("open");
            until(&mut caller, "certificate=-").await;
        }
        let since = Instant::now();
        assert!(until(&mut caller, "\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
        assert!(since.elapsed().abs_diff(limits().header_timeout) < Duration::from_millis(100));
        assert_eq!(answers.seen().requests.len(), 4);
        assert_eq!(answers.seen().refused, [Refusal::HeadTimeout]);
    }
}

/// The signal at any moment around parking: who has just been answered has the same time to speak, and then it is over.
#[tokio::test(start_paused = true)]
async fn the_stop_signal_is_heard_at_any_moment() {
    for after in [0, 1, 400, 499, 500, 501, 510, 1000, 1999, 2001, 3000, 30_000].map(Duration::from_millis) {
        for speaks in [false, true] {
            let stop = CancellationToken::new();
            let mut watched = Watched::open(stop.clone());
            watched.say(REQUEST).await;
            until(&mut watched.caller, "certificate=-").await;
            let answered = Instant::now();
            sleep(after).await;
            stop.cancel();
            let until_closed = TIME_TO_SPEAK.saturating_sub(after);
            if speaks && until_closed > Duration::from_millis(300) {
                sleep(until_closed - Duration::from_millis(200)).await;
                watched.say(REQUEST).await;
                let text = rest(&mut watched.caller).await.to_ascii_lowercase();
                assert!(text.contains("\r\nconnection: close\r\n"), "{after:?}: {text}");
                assert!(text.ends_with("certificate=-"), "{after:?}: {text}");
            } else {
                assert_eq!(rest(&mut watched.caller).await, "", "{after:?}");
                let late = answered.elapsed().abs_diff(after.max(TIME_TO_SPEAK));
                assert!(late < Duration::from_millis(100), "{after:?}: {late:?}");
            }
        }
    }
}

/// Numbers that are the same each time and as good as any.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// Requests of all kinds in any pieces, with pauses around the moment of parking: each is answered once and in its turn, and none is made of another's body.
#[tokio::test(start_paused = true)]
async fn every_request_is_answered_once_and_in_its_turn() {
    const PAUSES: [u64; 8] = [0, 0, 1, 250, 499, 500, 501, 2000];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let (mut said, mut asked, mut answers_due) = (String::new(), Vec::new(), Vec::new());
        let number = 1 + dice.below(6);
        for index in 0..number {
            let body = SMUGGLED.repeat(dice.below(3));
            match dice.below(4) {
                0 => {
                    said += &format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n");
                    asked.push(format!("GET /{index}"));
                    answers_due.push(format!("/{index} sni"));
                }
                1 => {
                    let length = body.len();
                    said += &format!(
                        "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}\r\n"
                    );
                    asked.push("POST /body".to_owned());
                    answers_due.push(format!("read {length}"));
                }
                2 => {
                    let length = body.len();
                    let chunk = if length == 0 { String::new() } else { format!("{length:x}\r\n{body}\r\n") };
                    said += &format!(
                        "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
                    );
                    asked.push("POST /body".to_owned());
                    answers_due.push(format!("read {length}"));
                }
                // Longer than a piece, and answered before its body is read.
                _ => {
                    let name = "x".repeat(dice.below(6000));
                    said += &format!("GET /{index} HTTP/1.1\r\nHost: a\r\nX-Long: {name}\r\n\r\n");
                    asked.push(format!("GET /{index}"));
                    answers_due.push(format!("/{index} sni"));
                }
            }
        }
        let last = dice.below(3);
        match last {
            0 => said += "GET /bad x HTTP/1.1\r\nHost: a\r\n\r\n",
            1 => said += "GET /half HT",
            _ => {}
        }
        let answers = Answers::new();
        let (caller, served) = pipe(limits(), &answers, 256 + dice.below(8192));
        let (mut reading, mut writing) = tokio::io::split(caller);
        let heard = tokio::spawn(async move { rest(&mut reading).await });
        let mut left = said.as_bytes();
        while !left.is_empty() {
            let most = [1, 40, 500, 5000][dice.below(4)];
            let (piece, behind) = left.split_at((1 + dice.below(most)).min(left.len()));
            // One byte at a time may take longer than a head may.
            let pause = if most == 1 { 0 } else { PAUSES[dice.below(PAUSES.len())] };
            if writing.write_all(piece).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(pause)).await;
            left = behind;
        }
        let text = heard.await.expect("no panic");
        served.await.expect("no panic");
        let seen = answers.seen();
        if seen.refused.contains(&Refusal::HeadTimeout) && last != 1 {
            // Its pauses were too long together.
            assert!(asked.starts_with(&seen.requests), "{seed}");
            continue;
        }
        assert_eq!(seen.requests, asked, "{seed}: {text}");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), number, "{seed}: {text}");
        let mut rest_of_text = text.as_str();
        for due in &answers_due {
            let (_, behind) =
                rest_of_text.split_once(due.as_str()).unwrap_or_else(|| panic!("{seed}: {due}"));
            rest_of_text = behind;
        }
        assert_eq!(rest_of_text.contains("HTTP/1.1 400 "), last == 0, "{seed}: {text}");
        assert_eq!(seen.faults, []);
    }
}
