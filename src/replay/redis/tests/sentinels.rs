//! Who is master, by real sentinels, before and after they made another one.

use std::time::{Duration, Instant};

use super::super::connect::Connector;
use super::super::sentinel::{Sentinels, Whereabouts};
use super::super::trouble::Trouble;
use super::connecting::at;
use super::process::Server;
use super::{LONG, Refused, claim, proof, start, usable};
use crate::config::{self, RedisEndpoint, RedisLogin, RedisPassword, RedisServers, RedisWire, Sentinel};

const SECOND: Duration = Duration::from_secs(1);

/// A master, its replica, and three sentinels that agree on them.
pub(super) struct Group {
    pub(super) master: Server,
    pub(super) replica: Server,
    pub(super) sentinels: Vec<Server>,
}

impl Group {
    pub(super) fn start(settings: &[&str]) -> Self {
        let master = Server::start(settings);
        let follow = format!("replicaof 127.0.0.1 {}", master.port);
        let replica = Server::start(&[&[follow.as_str()], settings].concat());
        master.wait_for(&["INFO", "replication"], |info| info.contains("state=online"));
        let watched = format!("sentinel monitor holdfast 127.0.0.1 {} 2", master.port);
        let sentinels: Vec<Server> = (0..3)
            .map(|_| {
                Server::sentinel(&[
                    &watched,
                    "sentinel down-after-milliseconds holdfast 500",
                    "sentinel failover-timeout holdfast 3000",
                    "user asker on >hunter2 +sentinel|master +ping",
                ])
            })
            .collect();
        for sentinel in &sentinels {
            let knows = |info: &str| info.contains("slaves=1,sentinels=3");
            sentinel.wait_for(&["INFO", "sentinel"], knows);
        }
        Self { master, replica, sentinels }
    }

    /// The settings by which it is found.
    pub(super) fn settings(&self) -> Sentinel {
        let servers = self.sentinels.iter().map(|sentinel| at(sentinel.port)).collect();
        Sentinel { name: "holdfast".into(), servers, login: None }
    }
}

fn asked(settings: &Sentinel) -> Sentinels {
    let of_group = super::settings(RedisServers::Sentinel(settings.clone()), RedisWire::Plain);
    Sentinels::new(settings, Connector::new(&of_group), of_group.timeout)
}

async fn until(whereabouts: &Whereabouts, wanted: &RedisEndpoint) {
    let end = Instant::now() + SECOND * 20;
    while whereabouts.master().await.as_ref() != Ok(wanted) {
        assert!(Instant::now() < end, "{:?}", whereabouts.master().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_master_is_found_and_so_is_the_next_one() {
    let group = Group::start(&[]);
    let found = group.settings();
    let first = at(group.master.port);
    let second = at(group.replica.port);
    let mut all = asked(&found);
    assert_eq!(all.master().await, Ok(first.clone()));
    assert_eq!(all.master().await, Ok(first.clone()), "on the connections there are");
    // One that hangs costs the time of a reply, and is not needed.
    group.sentinels[0].pause();
    let began = Instant::now();
    assert_eq!(all.master().await, Ok(first.clone()));
    assert_eq!(asked(&found).master().await, Ok(first.clone()));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    group.sentinels[0].resume();

    let whereabouts = Whereabouts::watch(asked(&found));
    until(&whereabouts, &first).await;
    let waits = tokio::spawn({
        let (whereabouts, first) = (whereabouts.clone(), first.clone());
        async move { whereabouts.during(&first, std::future::pending::<()>()).await }
    });
    assert_eq!(whereabouts.during(&first, async { 1 }).await, Some(1));
    // It still answers everyone who asks it; the sentinels think otherwise.
    group.sentinels[1].command(&["SENTINEL", "FAILOVER", "holdfast"]);
    until(&whereabouts, &second).await;
    let ended = tokio::time::timeout(SECOND, waits).await.expect("work with the old master ends");
    assert_eq!(ended.expect("no panic"), None);
    assert_eq!(all.master().await, Ok(second.clone()));
    // With all of them gone, the last word stays.
    drop(group.sentinels);
    assert!(matches!(all.master().await, Err(Trouble::NoMaster(_))));
    whereabouts.doubt();
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(whereabouts.master().await, Ok(second));
}

#[tokio::test]
async fn why_there_is_no_master() {
    let server = Server::start(&[]);
    let watched = format!("sentinel monitor holdfast 127.0.0.1 {} 1", server.port);
    let sentinel =
        Server::sentinel(&[&watched, "requirepass hunter2", "user asker on >hunter3 +sentinel|master +ping"]);
    let login = |user: Option<&str>, password: &str| {
        Some(RedisLogin { user: user.map(str::to_owned), password: RedisPassword::new(password.to_owned()) })
    };
    let settings = |name: &str, port: u16, login: Option<RedisLogin>| Sentinel {
        name: name.into(),
        servers: vec![at(port)],
        login,
    };
    for (settings, why) in [
        (settings("other", sentinel.port, login(None, "hunter2")), "No such master"),
        (settings("holdfast", sentinel.port, None), "NOAUTH"),
        (settings("holdfast", sentinel.port, login(None, "hunter4")), "WRONGPASS"),
        (settings("holdfast", server.port, None), "unknown command"),
        (settings("holdfast", super::process::free_port(), None), "refused"),
    ] {
        match asked(&settings).master().await {
            Err(Trouble::NoMaster(said)) => assert!(said.contains(why), "{said}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    for login in [login(None, "hunter2"), login(Some("asker"), "hunter3")] {
        assert_eq!(asked(&settings("holdfast", sentinel.port, login)).master().await, Ok(at(server.port)));
    }
}

/// A claim counts when the replica has it too, so the next master knows it.
#[tokio::test]
async fn what_passed_before_a_failover_does_not_pass_after_it() {
    let group = Group::start(&[]);
    let wanted = config::Redis {
        replicas: 1,
        ..super::settings(RedisServers::Sentinel(group.settings()), RedisWire::Plain)
    };
    let stores = [start(wanted.clone()), start(wanted)];
    for store in &stores {
        usable(store, proof("a")).await;
    }
    assert_eq!(claim(&stores[0], proof("a")).await, Ok(()));
    assert_eq!(claim(&stores[1], proof("a")).await, Err(Refused::Replayed));
    let Group { master, replica, sentinels: _sentinels } = group;
    let mut back = None;
    let line = stores[0].line();
    let old = master.kill();
    for store in &stores {
        let end = Instant::now() + LONG;
        while store.line() == line || !store.is_usable(proof("a")) {
            assert!(Instant::now() < end, "{:?}", store.state());
            // Nobody passes in between.
            let answer = claim(store, proof("a")).await;
            assert!(answer.is_err(), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            // Without a copy no claim counts: somebody has to bring the old one back.
            if back.is_none() && replica.command(&["ROLE"]).starts_with("master") {
                back = Some(Server::start_at(old, &[&format!("replicaof 127.0.0.1 {}", replica.port)]));
            }
        }
        assert_eq!(claim(store, proof("a")).await, Err(Refused::Replayed));
    }
    assert_eq!(claim(&stores[1], proof("b")).await, Ok(()));
    assert_eq!(claim(&stores[0], proof("b")).await, Err(Refused::Replayed));
}
