//! Attack.
use super::clusters::*;
use super::connecting::at;
use super::process::Server;
use super::*;
use crate::config::RedisServer;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_bounds() {
    let nodes = Nodes::start();
    let old = start(nodes.settings());
    whole(&old).await;
    let masters = nodes.masters();
    let entry = format!("127.0.0.1:{}", nodes.0[0].port);
    for (from, to) in [(2, 0), (2, 1)] {
        manage(&["reshard", &entry, "--cluster-from", &id(masters[from].0), "--cluster-to", &id(masters[to].0), "--cluster-slots", "20", "--cluster-yes"]);
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    whole(&old).await;
    let settings = nodes.settings();
    let longer = Bounds { max_age: 300, ..bounds(&settings) };
    let new = Redis::start(Arc::new(settings), longer, Clock::system());
    whole(&new).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    whole(&old).await;
    for number in 0..12 {
        let p = proof(&format!("x{number}"));
        let before: Vec<String> = masters.iter().map(|m| m.0.command(&["DBSIZE"])).collect();
        let r = claim(&old, p).await;
        let key = batch_key(p);
        for (place, (m, _)) in masters.iter().enumerate() {
            let a = m.ask(&[b"PTTL", &key]);
            eprintln!("proof {number} {r:?} master {place} pttl {} (before {before:?})", a.escape_ascii());
        }
    }
    for (m, _) in &masters {
        eprintln!("markers {}", m.command(&["KEYS", "hf:since*"]));
    }
}

fn batch_key(p: Digest<ProofId>) -> Vec<u8> {
    [b"hf:".as_slice(), &super::super::batch::key(&p)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_storm() {
    let mut nodes = Nodes::start();
    for node in &nodes.0 {
        assert_eq!(node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]), "OK");
    }
    let store = start(nodes.settings());
    whole(&store).await;
    let lost = nodes.masters()[0].0.port;
    let slots = nodes.masters()[0].1.clone();
    let follows = |node: &Server| node.command(&["ROLE"]).starts_with(&format!("slave\n127.0.0.1\n{lost}\n"));
    nodes.0.retain(|node| node.port != lost && !follows(node));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let masters = nodes.masters();
    let to = masters[0].0;
    let began = Instant::now();
    let mut last = String::new();
    for n in &slots[..100] {
        let n = n.to_string();
        for node in &nodes.0 { node.command(&["CLUSTER", "DELSLOTS", &n]); }
        to.command(&["CLUSTER", "ADDSLOTS", &n]);
        to.command(&["CLUSTER", "BUMPEPOCH"]);
        tokio::time::sleep(Duration::from_millis(120)).await;
        last = format!("{:?}", store.state().servers);
    }
    eprintln!("gave slots for {:?}: {last}", began.elapsed());
    let began = Instant::now();
    for _ in 0..400 {
        let state = store.state();
        let away: Vec<String> = state.servers.iter().filter(|s| s.place.ends_with(&to.port.to_string())).map(|s| s.to_string()).collect();
        eprintln!("{:?} {away:?} line-now {:?}", began.elapsed(), state.line.map(|l| l.since(Clock::system().now())));
        if began.elapsed().as_secs() > 3 && state.servers.iter().any(|s| s.place.ends_with(&to.port.to_string()) && s.health == super::super::state::Health::Usable) { break; }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_clock() {
    let port = super::process::free_port();
    let dir = tempfile::tempdir().expect("dir");
    let stamp = dir.path().join("t");
    std::fs::write(&stamp, "+0").expect("w");
    let mut child = Command::new("setpriv").args(["--pdeathsig", "KILL", "redis-server", "--port", &port.to_string(), "--save", "", "--dir", dir.path().to_str().expect("p")])
        .env("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
        .env("FAKETIME_TIMESTAMP_FILE", &stamp).env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdout(std::process::Stdio::null()).spawn().expect("s");
    let cli = |a: &[&str]| { let o = Command::new("redis-cli").args(["-p", &port.to_string()]).args(a).output().expect("cli"); String::from_utf8_lossy(&o.stdout).trim().to_owned() };
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let one = settings(RedisServers::Alone(RedisServer::Network(at(port))), RedisWire::Plain);
    let stores = [start(one.clone()), start(one)];
    for s in &stores { usable(s, proof("a")).await; }
    let p = proof("p");
    let line = stores[0].line();
    assert!(claim(&stores[0], p).await.is_ok());
    assert!(claim(&stores[1], p).await.is_err());
    std::fs::write(&stamp, "+600").expect("w");
    eprintln!("killed {}", cli(&["CLIENT", "KILL", "TYPE", "normal"]));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for s in &stores { eprintln!("{:?}", s.state().servers); }
    eprintln!("keys {}", cli(&["DBSIZE"]));
    std::fs::write(&stamp, "+0").expect("w");
    for s in &stores { usable(s, proof("a")).await; }
    eprintln!("same line: {} claims {:?}", stores[0].line() == line, claim(&stores[1], p).await);
    child.kill().expect("k"); child.wait().expect("w");
}
