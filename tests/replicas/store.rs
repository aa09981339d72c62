//! The memory that the replicas share, in each of the forms that it can have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::cluster;
use crate::dice::Dice;
use crate::network::{Network, Side};
use crate::program::{Program, free_port};
use crate::scene::Clocks;
use crate::server::{Engine, FIRST_PASSWORD, PASSWORD, Place, Server, USER, start_sentinel};

/// What sentinels call the group.
pub(crate) const GROUP: &str = "holdfast";

/// Milliseconds that the clocks of gateways and servers may differ (`clock_difference`).
pub(crate) const CLOCK_DIFFERENCE: i32 = 500;

/// How a store is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// One server.
    Alone,
    /// A master, two replicas, three sentinels.
    Sentinel,
    /// Six nodes: three masters, a replica each.
    Cluster,
    /// As `Sentinel`, over TLS, on two hosts: the master and a sentinel on the one, the rest on the other.
    Split,
    /// As `Cluster`, over TLS, on two hosts: one master on the one, the rest on the other, with two replicas of that master.
    SplitCluster,
}

impl Shape {
    /// Whether there are two hosts, with a network that can be cut.
    pub(crate) fn is_split(self) -> bool {
        matches!(self, Self::Split | Self::SplitCluster)
    }

    pub(crate) fn is_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::SplitCluster)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "alone",
            Self::Sentinel => "as Sentinel group",
            Self::Cluster => "as Cluster",
            Self::Split => "as Sentinel group on two hosts",
            Self::SplitCluster => "as Cluster on two hosts",
        })
    }
}

/// What the gateways do while the store is away (`on_failure`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnFailure {
    Refuse,
    Nonce,
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Nonce => "nonce",
        })
    }
}

/// A store that runs.
pub(crate) struct Store {
    pub(crate) shape: Shape,
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<(Place, Program)>,
    pub(crate) network: Option<Network>,
    pub(crate) files: PathBuf,
    /// Servers that are killed or stopped.
    pub(crate) down: Vec<usize>,
    /// How often the password was changed.
    pub(crate) changes: u32,
}

impl Store {
    pub(crate) fn start(
        shape: Shape,
        engine: Engine,
        work: &Path,
        files: &Path,
        clocks: Clocks,
        dice: &mut Dice,
    ) -> Outcome<Self> {
        let network = if shape.is_split() { Some(Network::new()?) } else { None };
        let mut place = |side: Side, ahead: i32| {
            let port = free_port(dice);
            let here = Place {
                engine,
                ip: IpAddr::from(Ipv4Addr::LOCALHOST),
                port,
                namespace: None,
                ahead,
                tls: None,
            };
            match &network {
                None => here,
                Some(network) => {
                    let namespace = Some(network.namespace(side).to_owned());
                    Place { ip: side.store(), namespace, tls: Some(files.to_owned()), ..here }
                }
            }
        };
        let mut number = 0;
        let mut server = |side: Side| {
            number += 1;
            place(side, clocks.server(number - 1))
        };
        let mut sentinels = Vec::new();
        let servers = match shape {
            Shape::Alone => vec![Server::start(work, server(Side::Left), &[])?],
            Shape::Cluster => {
                cluster::start(work, std::iter::repeat_with(|| server(Side::Left)).take(6).collect())?
            }
            Shape::SplitCluster => {
                let first = server(Side::Left);
                let others = std::iter::repeat_with(|| server(Side::Right)).take(6);
                cluster::start(work, std::iter::once(first).chain(others).collect())?
            }
            Shape::Sentinel | Shape::Split => {
                let master = Server::start(work, server(Side::Left), &[])?;
                let of = format!("{} {}", master.place.ip, master.place.port);
                let mut servers = vec![master];
                for _ in 0..2 {
                    servers.push(Server::start(work, server(Side::Right), &[&format!("replicaof {of}")])?);
                }
                let lines = [
                    format!("sentinel monitor {GROUP} {of} 2"),
                    format!("sentinel auth-pass {GROUP} {PASSWORD}"),
                    format!("sentinel down-after-milliseconds {GROUP} 1000"),
                    // Twice this lies between two failovers, whatever happens in between.
                    format!("sentinel failover-timeout {GROUP} 2000"),
                ];
                for side in [Side::Left, Side::Right, Side::Right] {
                    let place = place(side, 0);
                    sentinels.push((place.clone(), start_sentinel(work, &place, &lines)?));
                }
                servers
            }
        };
        std::fs::write(files.join("store-password"), FIRST_PASSWORD)?;
        let mut store = Self {
            shape,
            servers,
            sentinels,
            network,
            files: files.to_owned(),
            down: Vec::new(),
            changes: 0,
        };
        store.settle()?;
        Ok(store)
    }

    /// Waits until sentinels and replicas know each other: before, no failover could work.
    fn settle(&mut self) -> Outcome<()> {
        if self.sentinels.is_empty() {
            return Ok(());
        }
        for _ in 0..200 {
            let copied = self.servers[0].info("replication", "connected_slaves")? == "2";
            let known = self.sentinels.iter().all(|(place, _)| {
                let told = place.ask(&["SENTINEL", "MASTER", GROUP]).unwrap_or_default();
                let words: Vec<&str> = told.lines().collect();
                let of = |name| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
                of("num-slaves") == Some("2") && of("num-other-sentinels") == Some("2")
            });
            if copied && known {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("the sentinels do not find each other".into())
    }

    /// The lines of `replay.redis`.
    pub(crate) fn configuration(&self, on_failure: OnFailure, copies: Option<u8>) -> Vec<String> {
        let urls =
            |places: &mut dyn Iterator<Item = &Place>| places.map(Place::url).collect::<Vec<_>>().join(", ");
        let mut lines = vec![match self.shape {
            Shape::Alone => format!("url: {}", self.servers[0].place.url()),
            Shape::Cluster | Shape::SplitCluster => {
                // Some of them: each tells of all.
                format!(
                    "cluster: {{ servers: [{}] }}",
                    urls(&mut self.servers.iter().take(3).map(|s| &s.place))
                )
            }
            Shape::Sentinel | Shape::Split => {
                let sentinels = urls(&mut self.sentinels.iter().map(|(place, _)| place));
                format!("sentinel: {{ name: {GROUP}, servers: [{sentinels}] }}")
            }
        }];
        lines.push(format!("user: {USER}"));
        lines.push("password: { file: store-password }".to_owned());
        if self.shape.is_split() {
            lines.push("trust: { ca: ca.pem }".to_owned());
        }
        lines.push(format!("clock_difference: {CLOCK_DIFFERENCE}ms"));
        lines.extend(copies.map(|copies| format!("replicas: {copies}")));
        lines.push(format!("on_failure: {on_failure}"));
        lines
    }
}
