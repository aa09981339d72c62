//! After the stop signal: nothing new, what is in flight ends well if it ends in time, and then it is over.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{limits, plaintext, rest, start, until};

#[tokio::test]
async fn a_request_in_flight_is_answered_and_an_idle_connection_closed() {
    let server = start(&plaintext(), limits(), Duration::from_secs(30)).await;
    let (mut busy, mut idle, mut silent) =
        (server.connect().await, server.connect().await, server.connect().await);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    until(&mut idle, "certificate=-").await;
    busy.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    while server.answers.seen().requests.len() < 2 {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is given back at once");
    assert!(!server.task.is_finished());
    server.answers.release.add_permits(1);
    let text = rest(&mut busy).await;
    assert!(text.ends_with("released"), "{text}");
    assert!(text.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{text}");
    server.task.await.expect("no panic");
}

#[tokio::test]
async fn what_does_not_end_is_ended() {
    let server = start(&plaintext(), limits(), Duration::from_millis(200)).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    while server.answers.seen().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    let since = Instant::now();
    server.stop.cancel();
    server.task.await.expect("no panic");
    assert!(since.elapsed() >= Duration::from_millis(200), "{:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(server.answers.seen().dropped, 1);
}
