//! Whether a peer that says nothing is still there, is asked on both sides of the gateway: read from the system's own table of connections.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;

use crate::house::{House, Plan};
use crate::process::wait;
use crate::scripted;
use crate::wire::Client;

/// A row of `/proc/net/tcp`, for IPv4.
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    established: bool,
    /// Seconds until the next probe, where that is the timer that runs.
    probe: Option<u64>,
}

fn rows() -> Vec<Row> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the table");
    let address = |text: &str| {
        let (ip, port) = text.split_once(':').expect("an address");
        // As the machine has it in memory.
        let ip = u32::from_str_radix(ip, 16).expect("hex").to_ne_bytes();
        SocketAddr::from((ip, u16::from_str_radix(port, 16).expect("hex")))
    };
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // 2 is the keepalive timer; its time is in hundredths of a second.
        let (timer, when) = columns[5].split_once(':').expect("a timer");
        let probe = (timer == "02").then(|| u64::from_str_radix(when, 16).expect("hex") / 100);
        Row {
            local: address(columns[1]),
            remote: address(columns[2]),
            established: columns[3] == "01",
            probe,
        }
    };
    table.lines().skip(1).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_asked_whether_they_are_there() {
    let upstream = scripted::upstream(|mut stream| async move {
        scripted::read_until(&mut stream, b"\r\n\r\n").await;
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.expect("written");
        std::future::pending().await
    })
    .await;
    let listener = "    tls: plaintext\n";
    let house = House::built(Plan { upstream: Some(upstream), listener, ..Plan::default() }).await;
    let mut caller = Client::plain(house.address).await.expect("a connection");
    caller.send(b"GET /public HTTP/1.1\r\nhost: api.example.com\r\n\r\n").await.expect("sent");
    caller.head().await.expect("the head of a stream that says nothing");
    for (what, is_it) in [
        ("the caller", Box::new(|row: &Row| row.local == house.address) as Box<dyn Fn(&Row) -> bool>),
        ("the upstream", Box::new(|row: &Row| row.remote == upstream)),
    ] {
        wait(what, async || {
            let found: Vec<Row> = rows().into_iter().filter(|row| row.established && is_it(row)).collect();
            !found.is_empty()
                && found.iter().all(|row| row.probe.is_some_and(|seconds| (1..=60).contains(&seconds)))
        })
        .await;
    }
}
