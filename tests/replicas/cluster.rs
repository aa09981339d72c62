//! A Cluster: three masters, each with a copy, and the first with two where the network can be cut.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::server::{Place, Server};

const MASTERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// Slots that one resharding moves.
pub(crate) const MOVED: usize = 150;

/// Starts a node at each place and joins them: three masters, and each node after them copies one of these, in turn.
pub(crate) fn start(work: &Path, places: Vec<Place>) -> Outcome<Vec<Server>> {
    // A slot without a master is no reason to refuse the others.
    let settings = ["cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no"];
    let nodes: Vec<Server> =
        places.into_iter().map(|place| Server::start(work, place, &settings)).collect::<Outcome<_>>()?;
    let (masters, copies) = nodes.split_at(MASTERS);
    let names: Vec<String> = masters.iter().map(|node| node.place.name()).collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(names.iter().map(String::as_str));
    create.push("--cluster-yes");
    nodes[0].place.client("60", &create)?;
    let (ip, port) = (nodes[0].place.ip.to_string(), nodes[0].place.port.to_string());
    for copy in copies {
        copy.ask(&["CLUSTER", "MEET", &ip, &port])?;
    }
    let began = Instant::now();
    let patient = |what: &str| {
        std::thread::sleep(Duration::from_millis(100));
        if began.elapsed() > PATIENCE {
            Err(format!("the cluster does not come together: {what}"))
        } else {
            Ok(())
        }
    };
    for (number, copy) in copies.iter().enumerate() {
        let master = masters[number % MASTERS].ask(&["CLUSTER", "MYID"])?;
        // It has to have heard of it first.
        while let Err(error) = copy.ask(&["CLUSTER", "REPLICATE", &master]) {
            patient(&error.to_string())?;
        }
    }
    let copies_of = |number: usize| copies.iter().skip(number).step_by(MASTERS).count();
    let joined = |(number, node): (usize, &Server)| {
        let known = node.ask(&["CLUSTER", "INFO"])?.contains("cluster_state:ok");
        let copied = if number < MASTERS {
            node.info("replication", "connected_slaves")? == copies_of(number).to_string()
        } else {
            node.info("replication", "role")? == "slave"
                && node.info("replication", "master_link_status")? == "up"
        };
        Outcome::Ok(known && copied)
    };
    while !nodes.iter().enumerate().map(joined).collect::<Outcome<Vec<_>>>()?.into_iter().all(|is| is) {
        patient("not every node has its copy")?;
    }
    Ok(nodes)
}

/// Moves slots from one master to another, with the keys in them.
pub(crate) fn reshard(from: &Server, to: &Server) -> Outcome<()> {
    let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"])?, to.ask(&["CLUSTER", "MYID"])?);
    let command = [
        "--cluster",
        "reshard",
        &from.place.name(),
        "--cluster-from",
        &from_id,
        "--cluster-to",
        &to_id,
        "--cluster-slots",
        &MOVED.to_string(),
        "--cluster-pipeline",
        "100",
        "--cluster-yes",
    ];
    from.place.client("60", &command).map(drop)
}

/// How many slots a node says that it has.
pub(crate) fn slots(node: &Server) -> Outcome<usize> {
    let text = node.ask(&["CLUSTER", "NODES"])?;
    let own = text.lines().find(|line| line.contains("myself")).ok_or("a node that does not know itself")?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    // In front of the ranges are the id, the address, flags, the master, two times, the epoch and the state of the link. A slot that moves stands in brackets.
    Ok(own.split(' ').skip(8).filter_map(count).sum())
}
