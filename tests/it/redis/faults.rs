//! What can be wrong with a server: each with its own reason, no claim passed, and back by itself once it is mended.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast::clock::Clock;
use holdfast::config::{Redis as Settings, RedisEndpoint, RedisServers};
use holdfast::replay::redis::trouble::Trouble;
use holdfast::replay::redis::{Redis, Refused};
use holdfast::verify::digest::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::server::{Server, bounds, login, settings, store};
use super::{KEEP, at_once, claim, fresh, until_away, until_usable};
use crate::process::wait;
use crate::scripted::nobody;

/// A `timeout` that is waited for.
const SHORT: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_evict_is_not_used() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let redis = store(server.settings());
    let told = until_away(&redis, "may_evict").await;
    assert!(told.contains("allkeys-lru") && told.contains("maxmemory-policy noeviction"), "{told}");
    assert!(!redis.first_contact());
    server.order(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Ok(()));
    // And when it is changed while it is used.
    server.order(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    until_away(&redis, "may_evict").await;
    assert_eq!(claim(&redis, 1).await, Err(Refused::Unavailable));
    server.order(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Err(Refused::Replayed), "it is the same memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_users() {
    let server = Server::start(&["--requirepass", "right"]);
    let open = Server::start(&[]);
    let with = |server: &Server, login| {
        let mut settings = server.settings();
        settings.login = login;
        store(settings)
    };
    for (server, login) in [
        (&server, None),
        (&server, login(None, "wrong")),
        (&server, login(Some("holdfast"), "right")),
        (&open, login(None, "right")),
    ] {
        let told = until_away(&with(server, login), "wrong_password").await;
        assert!(!told.contains("right") && !told.contains("\"wrong"), "{told}");
    }
    for login in [login(None, "right"), login(Some("default"), "right")] {
        until_usable(&with(&server, login)).await;
    }

    // One that knows no AUTH repeats what it was sent.
    let without = Server::start(&["--rename-command", "AUTH", ""]);
    let told = until_away(&with(&without, login(Some("holdfast"), "secret")), "wrong_password").await;
    assert!(!told.contains("secret") && !told.contains("holdfast"), "{told}");
}

/// The ACL user that the README names is enough, and each of its commands is needed.
#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_readme_may_what_is_needed() {
    // Asked before anybody is logged in; after a look in between which another replica has written the marker; and while a slot is moved.
    const SELDOM: [&str; 3] = ["+ping", "+unwatch", "+asking"];
    let readme = include_str!("../../../README.md");
    let user =
        readme.lines().find_map(|line| line.strip_prefix("    user holdfast on ")).expect("it names one");
    let all: Vec<_> = user.split(' ').collect();
    let allow = |server: &Server, rules: &[&str]| {
        server.order(&[&["ACL", "SETUSER", "holdfast", "reset", "on"], rules].concat());
    };
    let alone = Server::start(&[]);
    let _copy = Server::start(&["--replicaof", &alone.host_and_port().join(" ")]);
    let node = Server::start(&["--cluster-enabled", "yes"]);
    node.order(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let in_cluster = Settings {
        servers: RedisServers::Cluster(vec![RedisEndpoint {
            host: node.address.ip().to_string(),
            port: node.address.port(),
        }]),
        ..node.settings()
    };
    for (server, settings) in [(&alone, Settings { replicas: 1, ..alone.settings() }), (&node, in_cluster)] {
        let used = || store(Settings { login: login(Some("holdfast"), "password"), ..settings.clone() });
        allow(server, &all);
        let redis = used();
        until_usable(&redis).await;
        assert_eq!(claim(&redis, 0).await, Ok(()));
        assert_eq!(redis.count(Digest::of(b"0"), KEEP).await, Some(1));
        for needed in all.iter().filter(|rule| rule.starts_with('+') && !SELDOM.contains(rule)) {
            let of_clusters = needed.starts_with("+cluster|");
            if of_clusters != (server.address == node.address) {
                continue;
            }
            allow(server, &all.iter().copied().filter(|rule| rule != needed).collect::<Vec<_>>());
            server.say(&["FLUSHALL"]);
            let redis = used();
            if *needed == "+incr" {
                // It is missed by none but what counts.
                until_usable(&redis).await;
                assert_eq!(redis.count(Digest::of(b"0"), KEEP).await, None);
                assert_eq!(claim(&redis, 0).await, Ok(()));
                assert_eq!(troubles(&redis, "not_permitted"), 0);
                continue;
            }
            let told = until_away(&redis, "not_permitted").await;
            assert!(told.replace('\\', "").contains(&format!("'{}'", &needed[1..])), "{needed}: {told}");
        }
        // Taken away while it is used: what it may do is looked at with each command.
        allow(server, &all);
        until_usable(&redis).await;
        allow(server, &all.iter().copied().filter(|rule| *rule != "+set").collect::<Vec<_>>());
        assert_eq!(claim(&redis, 1).await, Err(Refused::Unavailable));
        until_away(&redis, "not_permitted").await;
    }
}

/// How often it was in this trouble.
fn troubles(redis: &Redis, label: &str) -> u64 {
    let place = Trouble::LABELS.iter().position(|known| *known == label).expect("a label");
    redis.state().counts.troubles[place]
}

/// Something that takes connections and says `words` to each, once it was asked.
async fn speaker(words: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let (heard, hear) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let _ = heard.send(buffer[..count].to_vec());
                    if !words.is_empty() && stream.write_all(words).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, hear)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_redis_is_given_no_password() {
    for (words, label) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "not_redis"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "not_redis"),
        (b"\xff\x00\x9c random \r\n", "not_redis"),
        (b"$99999999999\r\n", "not_redis"),
        (b"*1048575\r\n*1048575\r\n*1048575\r\n", "late"),
        (b"+OK\r\n", "not_redis"),
        (b"-ERR max number of clients reached\r\n", "broken"),
        (b"", "late"),
    ] {
        let (address, mut hear) = speaker(words).await;
        let mut settings = settings(address);
        settings.login = login(Some("holdfast"), "secret");
        let redis = store(settings);
        let told = until_away(&redis, label).await;
        assert!(label != "broken" || told.contains("max number of clients"), "{told}");
        drop(redis);
        while let Ok(heard) = hear.try_recv() {
            assert_eq!(heard.escape_ascii().to_string(), "*1\\r\\n$4\\r\\nPING\\r\\n", "{words:?}");
        }
    }
    until_away(&store(settings(nobody().await)), "unreachable").await;
}

/// What says all the right things until it comes to its memory: replies that nobody asked for would become the next one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_too_many_ends_the_connection() {
    let (address, _hear) = speaker(b"+PONG\r\n+PONG\r\n").await;
    until_away(&store(settings(address)), "not_redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_not_used() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &master.host_and_port().join(" ")]);
    until_away(&store(replica.settings()), "read_only").await;
    // What is written there is there alone, and only until the master sends all anew.
    replica.order(&["CONFIG", "SET", "replica-read-only", "no"]);
    until_away(&store(replica.settings()), "read_only").await;
    // One that becomes a replica while it is used.
    let redis = store(master.settings());
    until_usable(&redis).await;
    let [host, port] = replica.host_and_port();
    master.order(&["REPLICAOF", &host, &port]);
    assert_eq!(claim(&redis, 0).await, Err(Refused::Unavailable));
    until_away(&redis, "read_only").await;
    let node = Server::start(&["--cluster-enabled", "yes"]);
    until_away(&store(node.settings()), "in_cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_and_forgets_nothing() {
    let (server, redis, _) = fresh().await;
    assert_eq!(claim(&redis, 0).await, Ok(()));
    server.order(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(claim(&redis, 1).await, Err(Refused::Unavailable));
    let told = until_away(&redis, "full").await;
    assert!(told.contains("maxmemory"), "{told}");
    server.order(&["CONFIG", "SET", "maxmemory", "0"]);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Err(Refused::Replayed));
    assert_eq!(claim(&redis, 1).await, Ok(()), "it was not made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_save_takes_no_writes() {
    let server = Server::start(&["--save", "3600", "1"]);
    let redis = store(server.settings());
    until_usable(&redis).await;
    // A directory where the file ought to be.
    let in_its_place = server.directory.path().join("dump.rdb");
    std::fs::create_dir(&in_its_place).expect("a directory");
    server.say(&["BGSAVE"]);
    wait("it has failed", async || server.say(&["INFO"]).contains("rdb_last_bgsave_status:err")).await;
    until_away(&redis, "cannot_persist").await;
    assert_eq!(claim(&redis, 0).await, Err(Refused::Unavailable));
    std::fs::remove_dir(&in_its_place).expect("it is empty");
    server.say(&["BGSAVE"]);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Ok(()), "it was not made");
}

/// A pause of the server, and of its whole process. Nobody waits longer than `timeout`, and after the first nobody at all.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_late_is_left_alone_until_it_is_back() {
    let server = Server::start(&[]);
    let redis = store(Settings { timeout: SHORT, ..server.settings() });
    for number in 0..2 {
        until_usable(&redis).await;
        assert_eq!(claim(&redis, number).await, Ok(()));
        let line = redis.line();
        match number {
            0 => server.order(&["CLIENT", "PAUSE", "100000", "WRITE"]),
            _ => server.signal("STOP"),
        }
        assert_eq!(claim(&redis, 100 + number).await, Err(Refused::Unavailable));
        until_away(&redis, "late").await;
        // If each of them waited for `timeout`, it would take 25 s.
        at_once(async {
            for _ in 0..100 {
                assert_eq!(claim(&redis, 200).await, Err(Refused::Unavailable));
            }
        })
        .await;
        match number {
            0 => server.order(&["CLIENT", "UNPAUSE"]),
            _ => server.signal("CONT"),
        }
        until_usable(&redis).await;
        assert_eq!(redis.line(), line, "it has forgotten nothing");
        assert_eq!(claim(&redis, number).await, Err(Refused::Replayed));
    }
}

/// More than the lanes can hold: what does not fit is refused, the rest is answered in time, and nothing stays.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_claims_wait_than_can_be_sent() {
    let server = Server::start(&[]);
    let redis = store(Settings { timeout: SHORT, ..server.settings() });
    until_usable(&redis).await;
    server.signal("STOP");
    let mut all = JoinSet::new();
    for number in 0..10_000 {
        let redis = redis.clone();
        all.spawn(async move { claim(&redis, number).await });
    }
    let answers = at_once(all.join_all()).await;
    assert!(answers.iter().all(|answer| *answer == Err(Refused::Unavailable)));
    let counts = redis.state().counts;
    assert!(troubles(&redis, "overloaded") > 0);
    assert_eq!(counts.unavailable, 10_000);
    server.signal("CONT");
    until_usable(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_not_copied_does_not_count() {
    let server = Server::start(&[]);
    let redis = store(Settings { replicas: 1, ..server.settings() });
    until_away(&redis, "too_few_replicas").await;
    assert!(server.say(&["GET", "hf:since"]).contains("nil"), "no memory is begun that may be one of two");
    let mut replica = Server::start(&["--replicaof", &server.host_and_port().join(" ")]);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Ok(()));
    // Stopped, it is still connected, and has nothing.
    replica.signal("STOP");
    assert_eq!(claim(&redis, 1).await, Err(Refused::Unavailable));
    until_away(&redis, "too_few_replicas").await;
    replica.signal("CONT");
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 1).await, Err(Refused::Replayed), "it is spent");
    replica.kill();
    // Seen although nobody claims.
    until_away(&redis, "too_few_replicas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_seen() {
    let server = Server::start(&[]);
    let behind = Arc::new(std::sync::atomic::AtomicU64::new(10));
    let clock = {
        let behind = Arc::clone(&behind);
        Clock::new(move || {
            let seconds = behind.load(std::sync::atomic::Ordering::Relaxed);
            SystemTime::now() - Duration::from_secs(seconds)
        })
    };
    let redis = Redis::start(Arc::new(server.settings()), bounds(&server.settings()), clock);
    until_away(&redis, "clock_differs").await;
    let measured = async |about: i64| {
        wait("it is measured", async || {
            let measured = redis.state().servers[0].clock_difference.expect("it was asked");
            (about - 500..about + 500).contains(&measured)
        })
        .await;
    };
    measured(10_000).await;
    assert!(server.say(&["GET", "hf:since"]).contains("nil"), "no memory is begun by a wrong clock");
    behind.store(1, std::sync::atomic::Ordering::Relaxed);
    until_usable(&redis).await;
    assert_eq!(claim(&redis, 0).await, Ok(()));
    measured(1_000).await;
    // A clock that is set while the store is used.
    behind.store(7, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(claim(&redis, 1).await, Err(Refused::Unavailable), "before the server is looked at again");
    until_away(&redis, "clock_differs").await;
    let line = redis.line();
    behind.store(0, std::sync::atomic::Ordering::Relaxed);
    until_usable(&redis).await;
    assert_eq!(redis.line(), line, "it was our own clock, and the server has forgotten nothing");
}

/// A connection that is cut takes its claims with it and no other.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_come_back() {
    let (server, redis, line) = fresh().await;
    let mut number = 0;
    for round in 1..=5 {
        server.say(&["CLIENT", "KILL", "TYPE", "normal"]);
        // One that was lost with its connection may have been made, so each attempt is another's.
        wait("a claim is taken", async || {
            number += 1;
            claim(&redis, number).await.is_ok()
        })
        .await;
        assert_eq!(claim(&redis, number).await, Err(Refused::Replayed));
        assert_eq!(redis.state().counts.taken, round);
    }
    assert_eq!(redis.line(), Some(line), "it has forgotten nothing");
}
