//! Which memory a server has, by its marker: what others write there, and what comes back.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::Redis;
use super::super::batch;
use super::super::state::Health;
use super::connecting::at;
use super::process::Server;
use super::{LONG, Refused, bounds, claim, proof, settings, start, usable};
use crate::clock::Clock;
use crate::config::{self, RedisServer, RedisServers, RedisWire};

const KEY: &str = "hf:since";

fn store(server: &Server) -> Redis {
    let servers = RedisServers::Alone(RedisServer::Network(at(server.port)));
    start(config::Redis { connections: 1, ..settings(servers, RedisWire::Plain) })
}

/// The second that is named in the marker, and the rest of it.
fn marker(server: &Server) -> (u64, String) {
    let marker = server.command(&["GET", KEY]);
    let (begins, rest) = marker.split_once(':').expect("two parts");
    (begins.parse().expect("a second"), rest.to_owned())
}

/// Waits until it is away for this reason, and gives what operators are told.
async fn away(store: &Redis, label: &str) -> String {
    let end = Instant::now() + LONG;
    loop {
        let state = store.state();
        match &state.servers[0].health {
            Health::Away { trouble, .. } if trouble.label() == label => return trouble.to_string(),
            Health::Away { .. } | Health::Connecting | Health::Usable => {}
        }
        assert!(Instant::now() < end, "{state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was seen to be gone is not believed when it is there again: others may have used another memory in between.
#[tokio::test]
async fn a_marker_that_comes_back_is_not_believed() {
    let server = Server::start(&[]);
    let store = store(&server);
    usable(&store, proof("a")).await;
    let line = store.line().expect("a line");
    let (begins, rest) = marker(&server);
    server.command(&["DEL", KEY]);
    assert_eq!(claim(&store, proof("a")).await, Err(Refused::Unavailable));
    // Sooner than it is looked for.
    server.command(&["SET", KEY, &format!("{begins}:{rest}")]);
    usable(&store, proof("a")).await;
    assert!(store.line().is_some_and(|now| now > line), "it is another memory");
    assert_eq!(claim(&store, proof("a")).await, Err(Refused::Replayed));
}

/// Written by clocks that were a year ahead, gateways' and server's, and set right since.
#[tokio::test]
async fn a_marker_far_ahead_is_told_as_such() {
    let server = Server::start(&[]);
    let first = store(&server);
    usable(&first, proof("a")).await;
    drop(first);
    let (begins, rest) = marker(&server);
    let year = 365 * 24 * 60 * 60;
    server.command(&["SET", KEY, &format!("{}:{rest}", begins + year)]);
    let late = store(&server);
    let told = away(&late, "not_begun").await;
    assert!(told.contains(KEY) && told.contains("stop the gateways, delete the key"), "{told}");
    let seconds: u64 = told.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    assert!((year - 60..=year + 1).contains(&seconds), "{told}");
    assert_eq!(late.state().servers[0].clock_difference, None, "no clock is wrong");
    // As the operator is told.
    drop(late);
    server.command(&["DEL", KEY]);
    let mended = store(&server);
    usable(&mended, proof("a")).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(marker(&server).0 <= now + 1);
}

/// A way to the server on which what ends a transaction takes longer than `timeout` for as long as `slow` says so, and comes all the same.
async fn slow_way(server: &Server, slow: Arc<AtomicBool>) -> u16 {
    let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let (port, there) = (here.local_addr().expect("an address").port(), server.port);
    tokio::spawn(async move {
        loop {
            let (near, _) = here.accept().await.expect("a connection");
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, there)).await.expect("it listens");
            let ((mut asks, mut hears), (mut answers, mut listens)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
            let slow = Arc::clone(&slow);
            tokio::spawn(async move {
                let mut room = [0; 1024];
                while let Ok(count @ 1..) = asks.read(&mut room).await {
                    if slow.load(Ordering::Relaxed) && room[..count].ends_with(b"EXEC\r\n") {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    listens.write_all(&room[..count]).await.expect("it listens");
                }
            });
        }
    });
    port
}

/// Its line would be too early: others may have used the memory before it for longer than it says.
#[tokio::test]
async fn a_marker_that_would_come_late_is_not_written() {
    let server = Server::start(&[]);
    let slow = Arc::new(AtomicBool::new(true));
    let port = slow_way(&server, Arc::clone(&slow)).await;
    let servers = RedisServers::Alone(RedisServer::Network(at(port)));
    let store = start(config::Redis { connections: 1, ..settings(servers, RedisWire::Plain) });
    away(&store, "late").await;
    let end = Instant::now() + LONG;
    while !server.command(&["INFO", "commandstats"]).contains("cmdstat_exec:") {
        assert!(Instant::now() < end, "it does not come at all");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.command(&["EXISTS", KEY]), "0");
    slow.store(false, Ordering::Relaxed);
    usable(&store, proof("a")).await;
}

/// A way to the server on which its clock seems to be so many seconds ahead; and how often it was looked at. Where it is `shut`, nobody gets through anew meanwhile: as with TLS, when
/// certificates have ended by a clock that is ahead.
async fn way_ahead(server: &Server, ahead: Arc<AtomicU64>, shut: bool) -> (u16, Arc<AtomicU64>) {
    let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let (port, there) = (here.local_addr().expect("an address").port(), server.port);
    let looks = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&looks);
    tokio::spawn(async move {
        loop {
            let (near, _) = here.accept().await.expect("a connection");
            if shut && ahead.load(Ordering::Relaxed) > 0 {
                continue;
            }
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, there)).await.expect("it listens");
            let ((mut asks, mut hears), (mut answers, mut listens)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut listens).await });
            let (ahead, looks) = (Arc::clone(&ahead), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut room = vec![0; 1 << 16];
                while let Ok(count @ 1..) = answers.read(&mut room).await {
                    let begins = b"*2\r\n$10\r\n";
                    if let Some(at) = room[..count].windows(begins.len()).position(|piece| piece == begins) {
                        let digits = at + begins.len()..at + begins.len() + 10;
                        let text = std::str::from_utf8(&room[digits.clone()]).expect("digits");
                        let time: u64 = text.parse().expect("a second");
                        let seems = (time + ahead.load(Ordering::Relaxed)).to_string();
                        room[digits].copy_from_slice(seems.as_bytes());
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                    hears.write_all(&room[..count]).await.expect("it listens");
                }
            });
        }
    });
    (port, looks)
}

/// The clocks of the server and of the gateway are set an hour ahead together, on one machine or by one source of time, and set right again. They never differ, and claims have ended.
#[tokio::test]
async fn clocks_that_are_set_together_have_ended_claims() {
    for claims_come in [false, true] {
        let server = Server::start(&[]);
        let ahead = Arc::<AtomicU64>::default();
        let (port, looks) = way_ahead(&server, Arc::clone(&ahead), false).await;
        let servers = RedisServers::Alone(RedisServer::Network(at(port)));
        let settings = config::Redis { connections: 1, ..settings(servers, RedisWire::Plain) };
        let (bounds, theirs) = (bounds(&settings), Arc::clone(&ahead));
        let clock =
            Clock::new(move || SystemTime::now() + Duration::from_secs(theirs.load(Ordering::Relaxed)));
        let store = Redis::start(Arc::new(settings), bounds, clock);
        let looked = async || {
            let until = looks.load(Ordering::Relaxed) + 2;
            while looks.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        usable(&store, proof("a")).await;
        let line = store.line();
        assert_eq!(claim(&store, proof("a")).await, Ok(()));
        ahead.store(3600, Ordering::Relaxed);
        looked().await;
        usable(&store, proof("a")).await;
        assert_eq!(store.line(), line, "nothing is lost yet that could pass");
        // What the server would do by itself, had its own clock been set.
        let key = [b"hf:".as_slice(), &batch::key(&proof("a"))].concat();
        assert_eq!(server.ask(&[b"DEL", &key]), b":1\r\n");
        ahead.store(0, Ordering::Relaxed);
        if claims_come {
            // It is noticed that our own clock was set, and that is all; unless a look came first.
            let answer = claim(&store, proof("b")).await;
            assert!(answer == Err(Refused::Unavailable) || store.line() > line, "{answer:?}");
        }
        looked().await;
        usable(&store, proof("a")).await;
        assert!(store.line() > line, "{claims_come}: {:?}", claim(&store, proof("a")).await);
        // Once is enough.
        let line = store.line();
        looked().await;
        assert!(store.is_usable(proof("a")) && store.line() == line);
    }
}

/// The same, when the connection ends before the next look. Nobody is let in until the clocks are right, so the server was never heard to be ahead; or it is the server's alone that is set, and
/// all that is heard of it is why it is not used. A reload meanwhile forgets nothing.
#[tokio::test]
async fn clocks_that_are_set_while_nobody_looks_have_ended_claims() {
    for (together, reloaded) in [(true, false), (true, true), (false, false)] {
        let server = Server::start(&[]);
        let ahead = Arc::<AtomicU64>::default();
        let (port, looks) = way_ahead(&server, Arc::clone(&ahead), together).await;
        let servers = RedisServers::Alone(RedisServer::Network(at(port)));
        let settings = config::Redis { connections: 1, ..settings(servers, RedisWire::Plain) };
        let (bounds, theirs) = (bounds(&settings), Arc::clone(&ahead));
        let ours = move || if together { theirs.load(Ordering::Relaxed) } else { 0 };
        let clock = Clock::new(move || SystemTime::now() + Duration::from_secs(ours()));
        let settings = Arc::new(settings);
        let mut store = Redis::start(Arc::clone(&settings), bounds, clock);
        usable(&store, proof("a")).await;
        assert_eq!(claim(&store, proof("a")).await, Ok(()));
        let line = store.line();
        let seen = looks.load(Ordering::Relaxed);
        while looks.load(Ordering::Relaxed) == seen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ahead.store(100_000_000, Ordering::Relaxed);
        if together {
            assert_eq!(claim(&store, proof("b")).await, Err(Refused::Unavailable));
            away(&store, "unreachable").await;
            if reloaded {
                store = store.followed_by(settings, bounds);
            }
        } else {
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            away(&store, "clock_differs").await;
        }
        // What the server would do by itself.
        let key = [b"hf:".as_slice(), &batch::key(&proof("a"))].concat();
        assert_eq!(server.ask(&[b"DEL", &key]), b":1\r\n");
        ahead.store(0, Ordering::Relaxed);
        usable(&store, proof("a")).await;
        assert!(store.line() > line, "{together}, {reloaded}: {:?}", claim(&store, proof("a")).await);
    }
}
