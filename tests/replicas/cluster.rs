//! A Cluster of six nodes on loopback: three masters with a replica each.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::program::run;
use crate::server::{PASSWORD, Place, Server};

const NODES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(30);

/// Slots that one resharding moves.
const MOVED: &str = "400";

/// Starts the nodes and joins them.
pub(crate) fn start(work: &Path, places: impl Iterator<Item = Place>) -> Outcome<Vec<Server>> {
    // A slot without a master is no reason to refuse the others.
    let settings = ["cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no"];
    let nodes: Vec<Server> =
        places.take(NODES).map(|place| Server::start(work, place, &settings)).collect::<Outcome<_>>()?;
    let addresses: Vec<String> =
        nodes.iter().map(|node| format!("{}:{}", node.place.ip, node.place.port)).collect();
    let mut command = vec!["redis-cli", "--cluster", "create"];
    command.extend(addresses.iter().map(String::as_str));
    command.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    run(&command, &[("REDISCLI_AUTH", PASSWORD)])?;
    let began = Instant::now();
    loop {
        let joined = |node: &Server| {
            let known = node.ask(&["CLUSTER", "INFO"])?.contains("cluster_state:ok");
            let copied = match node.info("replication", "role")?.as_str() {
                "master" => node.info("replication", "connected_slaves")? == "1",
                _ => node.info("replication", "master_link_status")? == "up",
            };
            Outcome::Ok(known && copied)
        };
        if nodes.iter().map(joined).collect::<Outcome<Vec<_>>>()?.into_iter().all(|joined| joined) {
            return Ok(nodes);
        }
        if began.elapsed() > PATIENCE {
            return Err("the cluster does not come together".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Moves slots from one master to another, with the keys in them.
pub(crate) fn reshard(from: &Server, to: &Server) -> Outcome<()> {
    let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"])?, to.ask(&["CLUSTER", "MYID"])?);
    let address = format!("{}:{}", from.place.ip, from.place.port);
    let command = [
        "timeout",
        "60",
        "redis-cli",
        "--cluster",
        "reshard",
        &address,
        "--cluster-from",
        &from_id,
        "--cluster-to",
        &to_id,
        "--cluster-slots",
        MOVED,
        "--cluster-pipeline",
        "100",
        "--cluster-yes",
    ];
    run(&command, &[("REDISCLI_AUTH", PASSWORD)]).map(drop)
}
