//! A real cluster of six nodes on this machine: claims in all slots, slots that move, masters that die.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::batch;
use super::super::resp::Reply;
use super::super::slots::Hashed;
use super::super::state::Health;
use super::connecting::at;
use super::process::{Server, free_port};
use super::{LONG, Redis, Refused, bounds, claim, proof, settings, start, until, usable};
use crate::clock::Clock;
use crate::config::{self, RedisLogin, RedisPassword, RedisServers, RedisWire};
use crate::replay::redis::bounds::Bounds;
use crate::verify::digest::{Digest, ProofId};
use crate::verify::time::UnixTime;

/// The user that the README has.
const ACL: &str = "user holdfast on >password ~hf:* +ping +info +time +get +set +watch +unwatch +multi +exec +wait +incr +asking +cluster|info +cluster|slots";

/// One that knows no other yet.
fn node() -> Server {
    let bus = format!("cluster-port {}", free_port());
    let quick = "cluster-enabled yes\ncluster-node-timeout 1000\ncluster-replica-validity-factor 0";
    Server::start(&[quick, &bus, ACL])
}

/// Three masters, each with a replica.
struct Nodes(Vec<Server>);

impl Nodes {
    fn start() -> Self {
        let nodes = Self((0..6).map(|_| node()).collect());
        let addresses: Vec<String> = nodes.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        manage(&[&["create"], &addresses[..], &["--cluster-replicas", "1", "--cluster-yes"]].concat());
        for node in &nodes.0 {
            node.wait_for(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"));
            node.wait_for(&["CLUSTER", "SLOTS"], |slots| slots.matches("127.0.0.1").count() == 6);
            node.wait_for(&["INFO", "replication"], |info| {
                info.contains("state=online") || info.contains("master_link_status:up")
            });
        }
        nodes
    }

    fn settings(&self) -> config::Redis {
        let seeds = self.0[..2].iter().map(|node| at(node.port)).collect();
        let login =
            RedisLogin { user: Some("holdfast".into()), password: RedisPassword::new("password".into()) };
        config::Redis {
            replicas: 1,
            login: Some(login),
            ..settings(RedisServers::Cluster(seeds), RedisWire::Plain)
        }
    }

    fn by_id(&self, id: &str) -> &Server {
        self.0.iter().find(|node| node.command(&["CLUSTER", "MYID"]) == id).expect("a node")
    }

    /// The masters with the slots that they have, by their own words.
    fn masters(&self) -> Vec<(&Server, Vec<u16>)> {
        let mut all = Vec::new();
        for line in self.0[0].command(&["CLUSTER", "NODES"]).lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            if !fields[2].contains("master") || fields[2].contains("fail") {
                continue;
            }
            let slots = fields[8..].iter().filter(|range| !range.starts_with('[')).flat_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse::<u16>().expect("a slot")..=last.parse().expect("a slot")
            });
            all.push((self.by_id(fields[0]), slots.collect()));
        }
        all
    }
}

/// `redis-cli --cluster`.
fn manage(arguments: &[&str]) {
    let done = Command::new("redis-cli")
        .arg("--cluster")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            // Of lost slots it asks, whatever it was told before.
            child.stdin.take().expect("a pipe").write_all(b"yes\n")?;
            child.wait_with_output()
        })
        .expect("redis-cli is installed (Debian: redis-tools)");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stdout));
}

fn id(node: &Server) -> String {
    node.command(&["CLUSTER", "MYID"])
}

fn slot_of(proof: &Digest<ProofId>) -> u16 {
    Hashed::beginning("hf:").slot(&batch::key(proof))
}

/// Moves the keys of a slot. Gives how many.
fn migrate(from: &Server, moving: u16, to: &Server) -> usize {
    let (slot, port) = (moving.to_string(), to.port.to_string());
    let listed = from.ask(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), b"100"]);
    let Ok((Reply::Array(keys), _)) = Reply::read(&listed) else { panic!("{}", listed.escape_ascii()) };
    for key in &keys {
        let Reply::Bulk(key) = key else { panic!("{key:?}") };
        let moved = from.ask(&[b"MIGRATE", b"127.0.0.1", port.as_bytes(), key, b"0", b"1000"]);
        assert_eq!(moved.escape_ascii().to_string(), "+OK\\r\\n");
    }
    keys.len()
}

/// Proofs whose keys are in this slot.
fn proofs_in(wanted: u16) -> impl Iterator<Item = Digest<ProofId>> {
    (0_u32..)
        .map(move |number| proof(&format!("{wanted} {number}")))
        .filter(move |proof| slot_of(proof) == wanted)
}

/// Two gateways that are through with their first contact.
async fn gateways(nodes: &Nodes) -> [Redis; 2] {
    let stores = [start(nodes.settings()), start(nodes.settings())];
    for store in &stores {
        whole(store).await;
    }
    stores
}

/// Waits until every node is in use, and its line has been heard of.
async fn whole(store: &Redis) {
    let end = Instant::now() + LONG;
    while !(store.first_contact() && store.state().is_usable()) {
        assert!(Instant::now() < end, "{:?}", store.state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Claims through both at the same time. Gives how often it was taken.
async fn taken(stores: &[Redis; 2], proof: Digest<ProofId>) -> usize {
    let (one, other) = tokio::join!(claim(&stores[0], proof), claim(&stores[1], proof));
    [one, other].iter().filter(|answer| answer.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_proof_passes_once_wherever_its_slot_is() {
    assert!(include_str!("../../../../README.md").contains(ACL));
    let nodes = Nodes::start();
    let stores = gateways(&nodes).await;
    for number in 0..600 {
        assert_eq!(taken(&stores, proof(&format!("{number}"))).await, 1, "{number}");
    }
    for (master, _) in nodes.masters() {
        let keys: usize = master.command(&["DBSIZE"]).parse().expect("a number");
        assert!(keys > 100, "{keys}: all of them have some");
    }
    let braces = (0_u32..).map(|number| proof(&number.to_string())).filter(|proof| {
        let key = batch::key(proof);
        let open = key.iter().position(|byte| *byte == b'{');
        open.is_some_and(|open| key[open..].contains(&b'}'))
    });
    for proof in braces.take(20) {
        assert_eq!(taken(&stores, proof).await, 1, "a key with a hash tag in it by chance");
    }
    let counts = stores[0].state().counts;
    assert_eq!((counts.taken + stores[1].state().counts.taken, counts.unavailable), (620, 0));
}

/// Step by step, as tools do it, and at each step a proof that is known and one that is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_with_what_was_claimed_in_it() {
    let nodes = Nodes::start();
    let stores = gateways(&nodes).await;
    let masters = nodes.masters();
    let (from, to) = (masters[0].0, masters[1].0);
    // The last slot has the marker too.
    let last = *masters[0].1.last().expect("a slot");
    for moving in [masters[0].1[7], last] {
        for store in &stores {
            whole(store).await;
        }
        let mut proofs = proofs_in(moving);
        let mut next = || proofs.next().expect("there are many");
        let old = [next(), next(), next()];
        for proof in old {
            assert_eq!(taken(&stores, proof).await, 1);
        }
        let number = moving.to_string();
        to.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &id(from)]);
        from.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &id(to)]);
        let new = [next(), next()];
        // What the old node does not have, the new one is asked for. Both keep their other slots all the time.
        let during = [taken(&stores, new[0]).await, taken(&stores, old[0]).await];
        if moving != last {
            assert_eq!(during, [1, 0]);
        }
        assert!(migrate(from, moving, to) >= 3);
        // The marker is gone with them; the node is marked in another slot of its own, while this one is still on its way.
        from.wait_for(&["KEYS", "hf:since*"], |marks| marks.contains("hf:since"));
        for store in &stores {
            whole(store).await;
        }
        assert_eq!(from.command(&["CLUSTER", "COUNTKEYSINSLOT", &number]), "0");
        for proof in old {
            assert_eq!(taken(&stores, proof).await, 0);
        }
        for node in [to, from] {
            node.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id(to)]);
        }
        for store in &stores {
            whole(store).await;
        }
        for proof in old.into_iter().chain(during.contains(&1).then_some(new[0])) {
            assert_eq!(taken(&stores, proof).await, 0, "it was claimed before the slot moved");
        }
        assert_eq!(taken(&stores, new[1]).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_moved_while_claims_go_on() {
    let nodes = Nodes::start();
    let stores = gateways(&nodes).await;
    let masters = nodes.masters();
    let (from, to) = (id(masters[0].0), id(masters[1].0));
    let entry = format!("127.0.0.1:{}", masters[2].0.port);
    let moving = tokio::task::spawn_blocking(move || {
        manage(&[
            "reshard",
            &entry,
            "--cluster-from",
            &from,
            "--cluster-to",
            &to,
            "--cluster-slots",
            "1500",
            "--cluster-yes",
            "--cluster-pipeline",
            "20",
        ]);
    });
    let (mut number, mut passed) = (0, Vec::new());
    while !moving.is_finished() {
        let proof = proof(&format!("{number}"));
        match taken(&stores, proof).await {
            0 => {}
            1 => passed.push(proof),
            more => panic!("{number} passed {more} times"),
        }
        // And once more, with what was used a while ago.
        if number % 3 == 0 && !passed.is_empty() {
            assert_eq!(taken(&stores, passed[number % passed.len()]).await, 0);
        }
        number += 1;
    }
    moving.await.expect("moved");
    assert!(passed.len() > 200 && passed.len() * 10 > number * 8, "{} of {number} passed", passed.len());
    for store in &stores {
        whole(store).await;
    }
    for proof in passed {
        assert_eq!(taken(&stores, proof).await, 0);
    }
}

/// Whether a node sees three masters that are well, and one that is not.
fn nodes_taken_over(node: &Server) -> bool {
    let seen = node.command(&["CLUSTER", "NODES"]);
    let masters = seen.lines().filter(|line| line.contains("master"));
    let (failed, well): (Vec<&str>, Vec<&str>) = masters.partition(|line| line.contains("fail"));
    failed.len() == 1 && well.len() == 3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_with_what_was_claimed() {
    let mut nodes = Nodes::start();
    let stores = gateways(&nodes).await;
    let proofs: Vec<_> = (0..90).map(|number| proof(&format!("{number}"))).collect();
    for proof in &proofs {
        assert_eq!(taken(&stores, *proof).await, 1);
    }
    let (line, mut returned) = (stores[0].line(), false);
    let dead = nodes.masters()[0].0.port;
    let place = nodes.0.iter().position(|node| node.port == dead).expect("it is one of them");
    assert!(stores.iter().all(|store| !store.standing().is_alone()));
    nodes.0[place].pause();
    // A lane notices within a second, by its own look.
    let end = Instant::now() + LONG;
    while proofs.iter().all(|proof| stores[0].is_usable(*proof)) {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stores[0].standing().is_alone(), "some proofs cannot be asked about");
    while stores.iter().any(|store| store.line() == line) {
        assert!(Instant::now() < end, "{:?}", stores[0].state());
        for proof in &proofs {
            assert_eq!(taken(&stores, *proof).await, 0);
        }
        // Without a copy no claim counts, so the old master has to come back: as a replica, since with an empty memory it must not be master again.
        let other = &nodes.0[(place + 1) % 6];
        if !returned
            && other.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
            && nodes_taken_over(other)
        {
            returned = true;
            nodes.0[place].resume();
            nodes.0[place].restart();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for store in &stores {
        whole(store).await;
        let servers = store.state().servers;
        assert!(
            servers.len() == 3 && servers.iter().all(|server| !server.place.ends_with(&dead.to_string()))
        );
    }
    for proof in &proofs {
        assert_eq!(taken(&stores, *proof).await, 0);
        usable(&stores[0], *proof).await;
    }
    assert_eq!(taken(&stores, proof("new")).await, 1);
    assert!(stores.iter().all(|store| !store.standing().is_alone()), "what is gone is missed no more");
}

/// Claims what was used up to that second, as a gateway does: not where it may have been used before the memory begins.
async fn passes_again(store: &Redis, proof: Digest<ProofId>, used: UnixTime) -> bool {
    match store.line() {
        Some(line) if used > line => store.claim(proof, LONG, line).await.is_ok(),
        Some(_) | None => false,
    }
}

/// A part of the cluster is lost for ever, with all its copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_lost_and_repaired_without_its_claims() {
    let mut nodes = Nodes::start();
    for node in &nodes.0 {
        assert_eq!(node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]), "OK");
    }
    let stores = gateways(&nodes).await;
    // Later than the memory begins for sure, so that nothing but the repair is in question.
    until(&stores[0], |store| store.line().is_some_and(|line| Clock::system().now() > line)).await;
    let proofs: Vec<_> = (0..90).map(|number| proof(&format!("{number}"))).collect();
    for proof in &proofs {
        assert_eq!(taken(&stores, *proof).await, 1);
    }
    let used = Clock::system().now();
    let lost = nodes.masters()[0].0.port;
    let follows = |node: &Server| node.command(&["ROLE"]).starts_with(&format!("slave\n127.0.0.1\n{lost}\n"));
    nodes.0.retain(|node| node.port != lost && !follows(node));
    assert_eq!(nodes.0.len(), 4);
    let is_lost = |store: &Redis| {
        let servers = store.state().servers;
        servers
            .iter()
            .any(|server| server.place.ends_with(&format!(":{lost}")) && server.health != Health::Usable)
    };
    until(&stores[0], is_lost).await;
    assert!(stores[0].standing().is_alone());

    // One that starts now takes what it can, and is not kept waiting for the rest.
    let late = start(nodes.settings());
    until(&late, |late| proofs.iter().any(|proof| late.is_usable(*proof))).await;
    assert!(late.first_contact() && !late.is_awaited() && late.standing().is_alone());
    // What a reload would take is asked for each server that is in use, although one is away.
    let patience = Duration::from_secs(3);
    let follow = |password: &str| {
        let login =
            RedisLogin { user: Some("holdfast".into()), password: RedisPassword::new(password.into()) };
        let settings = config::Redis { login: Some(login), connections: 3, ..nodes.settings() };
        let bounds = bounds(&settings);
        stores[0].followed_by(Arc::new(settings), bounds)
    };
    let wrong = follow("wrong").reaches_all_of(&stores[0], patience).await;
    assert!(wrong.as_ref().is_err_and(|said| said.contains("refuses `user` and `password`")), "{wrong:?}");
    assert_eq!(follow("password").reaches_all_of(&stores[0], LONG).await, Ok(()));

    let line = stores[0].line();
    let entry = format!("127.0.0.1:{}", nodes.0[0].port);
    let fixing = tokio::task::spawn_blocking(move || {
        manage(&["fix", &entry, "--cluster-fix-with-unreachable-masters", "--cluster-yes"]);
    });
    let (end, mut is_well) = (Instant::now() + LONG, false);
    while !(fixing.is_finished() && is_well) {
        assert!(Instant::now() < end, "{:?}", stores[0].state());
        for proof in &proofs {
            for store in &stores {
                assert!(!passes_again(store, *proof, used).await);
            }
        }
        is_well = stores.iter().all(|store| store.line() != line && store.state().is_usable());
    }
    fixing.await.expect("repaired");
    for store in &stores {
        assert!(!is_lost(store) && !store.standing().is_alone());
        for proof in &proofs {
            assert!(store.is_usable(*proof) && !passes_again(store, *proof, used).await);
        }
    }
    assert_eq!(taken(&stores, proof("new")).await, 1);
}

/// A slot goes to a node that had none, and so no place for a marker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_to_a_node_that_had_none() {
    let mut nodes = Nodes::start();
    nodes.0.push(node());
    let seventh = &nodes.0[6];
    let entry = format!("127.0.0.1:{}", nodes.0[0].port);
    manage(&["add-node", &format!("127.0.0.1:{}", seventh.port), &entry]);
    for node in &nodes.0 {
        node.wait_for(&["CLUSTER", "INFO"], |info| info.contains("cluster_known_nodes:7"));
        node.wait_for(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"));
    }
    // The seventh has no replica.
    let settings = config::Redis { replicas: 0, ..nodes.settings() };
    let stores = [start(settings.clone()), start(settings)];
    for store in &stores {
        whole(store).await;
    }
    let masters = nodes.masters();
    let (from, slots) = masters.iter().find(|(_, slots)| !slots.is_empty()).expect("one that has slots");
    let (moving, number) = (slots[7], slots[7].to_string());
    let mut proofs = proofs_in(moving);
    let (old, new) = (proofs.next().expect("there are many"), proofs.next().expect("there are many"));
    assert_eq!(taken(&stores, old).await, 1);
    let used = Clock::system().now();
    seventh.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &id(from)]);
    from.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &id(seventh)]);
    assert_eq!([taken(&stores, old).await, taken(&stores, new).await], [0, 0]);
    assert_eq!(
        stores[0].claim(new, LONG, stores[0].line().expect("a line")).await,
        Err(Refused::Unavailable)
    );
    assert_eq!(migrate(from, moving, seventh), 1);
    assert_eq!([taken(&stores, old).await, taken(&stores, new).await], [0, 0]);
    let line = stores[0].line();
    for node in [seventh, *from] {
        node.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id(seventh)]);
    }
    for store in &stores {
        let place = format!(":{}", seventh.port);
        until(store, |store| store.state().servers.iter().any(|server| server.place.ends_with(&place))).await;
        whole(store).await;
        assert!(store.line() > line, "it had no memory before");
        assert!(!passes_again(store, old, used).await);
        assert_eq!(claim(store, old).await, Err(Refused::Replayed), "its claim came with the slot");
    }
    assert_eq!(taken(&stores, new).await, 1);
}

/// One that comes when slots have been moved marks a node in another slot, where nobody else looks. What it asks for is heard of all the same, at the nodes that all have marked in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longer_figures_count_at_a_node_that_is_marked_twice() {
    let nodes = Nodes::start();
    let settings = config::Redis { replicas: 0, ..nodes.settings() };
    let old = start(settings.clone());
    whole(&old).await;
    let mut masters = nodes.masters();
    masters.sort_by_key(|(_, slots)| slots[0]);
    let (to, from, moving) = (masters[0].0, masters[2].0, masters[2].1[0]);
    let number = moving.to_string();
    to.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &id(from)]);
    from.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &id(to)]);
    migrate(from, moving, to);
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id(to)]);
    }
    for node in &nodes.0 {
        let owned = format!("{}-{} {number}", masters[0].1[0], masters[0].1.last().expect("a slot"));
        node.wait_for(&["CLUSTER", "NODES"], |nodes| nodes.contains(&owned));
    }
    let there = proofs_in(moving).next().expect("there are many");
    assert_eq!(claim(&old, there).await, Ok(()), "it knows that the slot has moved");

    let longer = Bounds { max_age: 300, ..bounds(&settings) };
    let new = Redis::start(Arc::new(settings), longer, Clock::system());
    whole(&new).await;
    to.wait_for(&["KEYS", "hf:since*"], |marks| marks.lines().count() == 2);
    // What is used from now on is young enough for the other.
    until(&new, |new| new.line().is_some_and(|line| Clock::system().now() > line)).await;
    whole(&old).await;
    for (master, slots) in masters {
        let proof = proofs_in(slots[100]).next().expect("there are many");
        assert_eq!(claim(&old, proof).await, Ok(()));
        let left = master.ask(&[b"PTTL", &[b"hf:".as_slice(), &batch::key(&proof)].concat()]);
        let Ok((Reply::Integer(left), _)) = Reply::read(&left) else { panic!("{}", left.escape_ascii()) };
        assert!(left > 300_000, "{left} ms at {}", master.port);
    }
}
