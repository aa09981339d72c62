//! Floods against the real process: however much is sent, what it keeps of it is bounded, what reaches the upstream is bounded, and others
//! are served meanwhile and afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::h2frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, frame, get, post, request,
};
use crate::house::{HOST, House, Plan};
use crate::process::{Process, wait};
use crate::scene::Scene;
use crate::scripted;

/// Connections that take part in a flood.
const CONNECTIONS: usize = 8;
/// HTTP/2: requests at once on a connection, as the gateway says in its settings.
const STREAMS: usize = 128;
/// How much more memory a flood may take at most, in KiB. Each sends several times as much, or asks for it.
const BOUND: u64 = 48 * 1024;

const LIMITS: &str =
    "limits: { connections: 2000, header_timeout: 2s, handshake_timeout: 2s, idle_timeout: 2s }\n";

fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| 2 * at + 1)
}

/// On each of many streams a request, and behind it what this makes of the stream's number.
fn each(count: u32, provoke: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    ids(count).flat_map(|id| [get(id), provoke(id)].concat()).collect()
}

/// One field of 4,000 bytes in the table, and then thousands of references of a byte each: 16 KiB that stand for 60 MiB (RFC 7541 §7.3).
fn bomb(stream: u32) -> Vec<u8> {
    let mut block = request("GET", &[]);
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend(vec![b'y'; 127 + 0x21 + 0x1e * 128]);
    block.extend(vec![0xbe; 16_000 - block.len()]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// What is sent on each connection.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    const HIGHEST: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
    vec![
        // CVE-2023-44487: reset by the caller as soon as they are opened.
        ("rapid reset", each(20_000, |id| frame(RST_STREAM, 0, id, &[0, 0, 0, 8]))),
        // CVE-2025-8671: the caller makes the gateway reset them. The requests count as gone, and their work may go on.
        (
            "made to reset: window too large",
            each(5_000, |id| frame(WINDOW_UPDATE, 0, id, &HIGHEST).repeat(2)),
        ),
        ("made to reset: increment 0", each(5_000, |id| frame(WINDOW_UPDATE, 0, id, &[0; 4]))),
        ("made to reset: DATA behind the end", each(5_000, |id| frame(DATA, END_STREAM, id, b"x"))),
        ("made to reset: HEADERS behind the end", each(5_000, get)),
        ("made to reset: PRIORITY of 4 bytes", each(5_000, |id| frame(PRIORITY, 0, id, &[0; 4]))),
        (
            "made to reset: a stream before itself",
            each(5_000, |id| frame(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[9]].concat())),
        ),
        (
            "made to reset: more than its length",
            ids(5_000)
                .flat_map(|id| {
                    let head = request("POST", &[("content-length", "1")]);
                    [frame(HEADERS, END_HEADERS, id, &head), frame(DATA, END_STREAM, id, b"xyz")].concat()
                })
                .collect(),
        ),
        ("too many streams", ids(20_000).flat_map(get).collect()),
        ("bodies that do not come", ids(20_000).flat_map(post).collect()),
        (
            "a head that goes on",
            [
                frame(HEADERS, END_STREAM, 1, &request("GET", &[])),
                frame(CONTINUATION, 0, 1, &[0; 16]).repeat(200_000),
            ]
            .concat(),
        ),
        (
            "a head that goes on with nothing",
            [
                frame(HEADERS, END_STREAM, 1, &request("GET", &[])),
                frame(CONTINUATION, 0, 1, &[]).repeat(200_000),
            ]
            .concat(),
        ),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9].repeat(100)).repeat(10_000)),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(400_000)),
        ("priorities", ids(300_000).flat_map(|id| frame(PRIORITY, 0, id, &[0, 0, 0, 0, 9])).collect()),
        ("empty bodies that do not end", [post(1), frame(DATA, 0, 1, &[]).repeat(500_000)].concat()),
        ("padding", [post(1), frame(DATA, 8, 1, &[255; 256]).repeat(20_000)].concat()),
        (
            "windows by the byte",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(300_000)].concat(),
        ),
        ("a bomb of references", ids(200).flat_map(bomb).collect()),
    ]
}

/// A flood from several connections, of which one half is read from and the other is not; then whether an honest caller is served.
async fn flood(house: &House, bytes: &[u8]) {
    let mut tasks = JoinSet::new();
    for at in 0..CONNECTIONS {
        let raw = Raw::connect(house).await.expect("a handshake");
        let bytes = [PREFACE, bytes].concat();
        tasks.spawn(async move {
            let (mut reading, mut writing) = tokio::io::split(raw.0);
            let reads = async {
                let mut buffer = vec![0; 64 * 1024];
                while at % 2 == 0 && matches!(reading.read(&mut buffer).await, Ok(1..)) {}
                std::future::pending::<()>().await;
            };
            let writes = async {
                // Until the gateway has had enough, or takes no more; and then it holds on, or what it asked for would go with it.
                let _ = tokio::time::timeout(Duration::from_secs(3), writing.write_all(&bytes)).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            };
            tokio::select! {
                () = writes => {}
                () = reads => {}
            }
        });
    }
    let meanwhile = house.connect(HOST, None).await.exchange(&Scene::right(house).bytes(house)).await;
    assert_eq!(meanwhile.expect("an answer meanwhile").status, 200);
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_work_are_bounded() {
    let mut house = House::built(Plan { more: LIMITS, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    flood(&house, &get(1)).await;
    house.seen();
    let mut last = process.peak_memory();
    let mut report = String::new();
    for (what, bytes) in floods() {
        let sent = bytes.len() * CONNECTIONS / 1024;
        let before = last;
        flood(&house, &bytes).await;
        // The kernel counts in batches, so a peak can seem to sink a little.
        last = process.peak_memory().max(before);
        let reached = house.seen().len();
        report
            .push_str(&format!("{what}: sent {sent} KiB, {} KiB more, {reached} requests\n", last - before));
        assert!(last - before < BOUND, "{report}");
        // Those that may be at once, as many that the gateway resets before it has had enough, and the honest one.
        assert!(reached <= CONNECTIONS * 2 * STREAMS + 1, "{report}");
    }
    println!("{report}");
}

/// Requests that an upstream has at this moment, and the most that it had.
#[derive(Default)]
struct Work {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// An upstream that takes a request and works on it for as long as the connection is there.
async fn working(work: &Arc<Work>) -> std::net::SocketAddr {
    let work = Arc::clone(work);
    scripted::upstream(move |mut stream| {
        let work = Arc::clone(&work);
        async move {
            if scripted::read_until(&mut stream, b"\r\n\r\n").await.is_empty() {
                return;
            }
            let now = work.now.fetch_add(1, Ordering::SeqCst) + 1;
            work.most.fetch_max(now, Ordering::SeqCst);
            // Whatever else comes, the end does.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            work.now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await
}

/// What CVE-2023-44487 and CVE-2025-8671 are about: a stream that was reset no longer counts, so the work that it began must not go on.
/// The attacker waits until each request is at work, so that no limit of resets in one go helps.
#[tokio::test(flavor = "multi_thread")]
async fn work_ends_with_its_stream() {
    type Provoke = fn(u32) -> Vec<u8>;
    let provocations: [(&str, Provoke); 6] = [
        ("reset by the caller", |id| frame(RST_STREAM, 0, id, &[0, 0, 0, 8])),
        ("window too large", |id| frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)),
        ("increment 0", |id| frame(WINDOW_UPDATE, 0, id, &[0; 4])),
        ("DATA behind the end", |id| frame(DATA, END_STREAM, id, b"x")),
        ("HEADERS behind the end", get),
        ("PRIORITY of 4 bytes", |id| frame(PRIORITY, 0, id, &[0; 4])),
    ];
    for (what, provoke) in provocations {
        let work = Arc::<Work>::default();
        let upstream = working(&work).await;
        let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
        let mut raw = Raw::connect(&house).await.expect("a handshake");
        raw.send(PREFACE).await;
        let mut begun = 0;
        for id in ids(400) {
            raw.send(&get(id)).await;
            let at_work = async || work.now.load(Ordering::SeqCst) > 0;
            let come = async {
                while !at_work().await {
                    tokio::task::yield_now().await;
                }
            };
            // The gateway has had enough of this connection.
            if tokio::time::timeout(Duration::from_millis(300), come).await.is_err() {
                break;
            }
            begun += 1;
            raw.send(&provoke(id)).await;
            wait("its work has ended", async || work.now.load(Ordering::SeqCst) == 0).await;
        }
        assert!(begun > 0, "{what}");
        assert_eq!(work.most.load(Ordering::SeqCst), 1, "{what}: {begun}");
    }
}

/// Many requests at once for answers that nobody reads: what is kept of each is bounded (RFC 9113 §5.2), and so is what is read of the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads() {
    static LARGE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        [&b"HTTP/1.1 200 OK\r\ncontent-length: 4194304\r\n\r\n"[..], &vec![b'x'; 4 << 20]].concat()
    });
    let upstream = scripted::answering(&LARGE).await;
    let mut house = House::built(Plan { upstream: Some(upstream), more: LIMITS, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    let before = process.peak_memory();
    let mut kept = Vec::new();
    for window in [0_u32, 65_535] {
        for _ in 0..2 {
            let mut raw = Raw::connect(&house).await.expect("a handshake");
            let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
            let requests: Vec<u8> = ids(100).flat_map(get).collect();
            raw.send(
                &[PREFACE, &settings, &frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0]), &requests].concat(),
            )
            .await;
            kept.push(raw);
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = process.peak_memory().saturating_sub(before);
    println!("answers that nobody reads: 1600 MiB, {more} KiB more");
    assert!(more < 4 * 100 * 256, "{more} KiB");
}

/// Connections that never finish their handshake, or their head.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_get_nowhere() {
    const MANY: usize = 400;
    let mut house = House::built(Plan { more: LIMITS, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    let before = process.peak_memory();
    let mut kept = Vec::new();
    for _ in 0..MANY {
        let mut stream = tokio::net::TcpStream::connect(house.address).await.expect("connected");
        // A ClientHello that says it is 512 bytes long, and 300 of them.
        let _ = stream.write_all(&[&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat()).await;
        kept.push(stream);
    }
    let half_open = process.peak_memory().saturating_sub(before);
    let mut heads = Vec::new();
    for _ in 0..100 {
        let mut client = house.connect(HOST, None).await;
        let head = format!("GET /public HTTP/1.1\r\nhost: {HOST}\r\nx: {}", "y".repeat(32_000));
        let _ = client.send(head.as_bytes()).await;
        heads.push(client);
    }
    let honest = house.connect(HOST, None).await.exchange(&Scene::right(&house).bytes(&house)).await;
    assert_eq!(honest.expect("an answer").status, 200);
    let half_heads = process.peak_memory().saturating_sub(before + half_open);
    println!("{MANY} half handshakes: {half_open} KiB; 100 half heads of 32 KiB: {half_heads} KiB");
    assert!(half_open < (MANY * 32) as u64, "{half_open} KiB");
    assert!(half_heads < 100 * 256, "{half_heads} KiB");
    for mut stream in kept {
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "handshake_timeout");
    }
}
