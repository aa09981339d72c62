//! The memory that the replicas share, in each of the forms that it can have, and how it is broken and mended.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::cluster;
use crate::dice::Dice;
use crate::network::{Network, Side};
use crate::program::{Program, free_port};
use crate::server::{Engine, FIRST_PASSWORD, PASSWORD, Place, Server, USER, start_sentinel};
use crate::upset::Upset;

/// What sentinels call the group.
const GROUP: &str = "holdfast";

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
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "alone",
            Self::Sentinel => "as Sentinel group",
            Self::Cluster => "as Cluster",
            Self::Split => "as Sentinel group on two hosts",
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
    servers: Vec<Server>,
    sentinels: Vec<(Place, Program)>,
    pub(crate) network: Option<Network>,
    files: PathBuf,
    /// Servers that are killed or stopped.
    down: Vec<usize>,
    changes: u32,
}

impl Store {
    pub(crate) fn start(
        shape: Shape,
        engine: Engine,
        work: &Path,
        files: &Path,
        dice: &mut Dice,
    ) -> Outcome<Self> {
        let network = if shape == Shape::Split { Some(Network::new()?) } else { None };
        let mut place = |side: Side| {
            let port = free_port(dice);
            match &network {
                None => {
                    Place { engine, ip: IpAddr::from(Ipv4Addr::LOCALHOST), port, namespace: None, tls: None }
                }
                Some(network) => {
                    let namespace = Some(network.namespace(side).to_owned());
                    Place { engine, ip: side.store(), port, namespace, tls: Some(files.to_owned()) }
                }
            }
        };
        let mut sentinels = Vec::new();
        let servers = match shape {
            Shape::Alone => vec![Server::start(work, place(Side::Left), &[])?],
            Shape::Cluster => cluster::start(work, std::iter::repeat_with(|| place(Side::Left)))?,
            Shape::Sentinel | Shape::Split => {
                let master = Server::start(work, place(Side::Left), &[])?;
                let of = format!("{} {}", master.place.ip, master.place.port);
                let mut servers = vec![master];
                for _ in 0..2 {
                    servers.push(Server::start(work, place(Side::Right), &[&format!("replicaof {of}")])?);
                }
                let lines = [
                    format!("sentinel monitor {GROUP} {of} 2"),
                    format!("sentinel auth-pass {GROUP} {PASSWORD}"),
                    format!("sentinel down-after-milliseconds {GROUP} 1000"),
                    // Twice this lies between two failovers, whatever happens in between.
                    format!("sentinel failover-timeout {GROUP} 2000"),
                ];
                for side in [Side::Left, Side::Right, Side::Right] {
                    let place = place(side);
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
            Shape::Cluster => {
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
        if self.shape == Shape::Split {
            lines.push("trust: { ca: ca.pem }".to_owned());
        }
        lines.push(format!("clock_difference: {CLOCK_DIFFERENCE}ms"));
        lines.extend(copies.map(|copies| format!("replicas: {copies}")));
        lines.push(format!("on_failure: {on_failure}"));
        lines
    }

    /// What the gateways have to say by now.
    fn password(&self) -> String {
        if self.changes == 0 {
            FIRST_PASSWORD.to_owned()
        } else {
            format!("number-{}-of-gateways", self.changes)
        }
    }

    /// The number of a master that runs.
    fn master(&self, dice: &mut Dice) -> Outcome<usize> {
        let port = match self.sentinels.last() {
            None => None,
            Some((place, _)) => {
                let told = place.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP])?;
                Some(told.lines().nth(1).ok_or("the sentinels know no master")?.to_owned())
            }
        };
        let mut masters = Vec::new();
        for (number, server) in self.servers.iter().enumerate() {
            let is = match &port {
                Some(port) => server.place.port.to_string() == *port,
                None => !self.down.contains(&number) && server.info("replication", "role")? == "master",
            };
            masters.extend(is.then_some(number));
        }
        if masters.is_empty() { Err("no master".into()) } else { Ok(masters[dice.below(masters.len())]) }
    }

    /// Breaks it. What is done to gateways is done elsewhere.
    pub(crate) async fn strike(&mut self, upset: Upset, dice: &mut Dice) -> Outcome<()> {
        match upset {
            Upset::Cut => self.network.as_ref().ok_or("no network to cut")?.cut(),
            Upset::GatewayKilled | Upset::GatewayPaused | Upset::ClockWrong => Ok(()),
            Upset::Resharded => {
                let from = self.master(dice)?;
                let to = loop {
                    let to = self.master(dice)?;
                    if to != from {
                        break to;
                    }
                };
                cluster::reshard(&self.servers[from], &self.servers[to])
            }
            Upset::Emptied | Upset::MasterKilled => {
                let master = self.master(dice)?;
                self.down.push(master);
                self.servers[master].kill()
            }
            Upset::OldSnapshot => {
                self.servers[0].ask(&["SAVE"])?;
                // Claims that the snapshot does not have.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                self.down.push(0);
                self.servers[0].kill()
            }
            Upset::Paused | Upset::MasterPaused => {
                let master = self.master(dice)?;
                self.down.push(master);
                self.servers[master].signal("STOP")
            }
            Upset::Flushed => self.servers[self.master(dice)?].ask(&["FLUSHALL"]).map(drop),
            Upset::PasswordChanged => {
                self.changes += 1;
                let new = format!(">{}", self.password());
                self.servers[0].ask(&["ACL", "SETUSER", USER, "resetpass", &new])?;
                // It is started again with what is in its file.
                self.servers[0].ask(&["CONFIG", "REWRITE"])?;
                self.servers[0].ask(&["CLIENT", "KILL", "USER", USER]).map(drop)
            }
            Upset::Full => self.servers[0].ask(&["CONFIG", "SET", "maxmemory", "1"]).map(drop),
            Upset::MayEvict => {
                self.servers[0].ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).map(drop)
            }
            Upset::ReadOnly => self.servers[0].ask(&["REPLICAOF", "127.0.0.1", "1"]).map(drop),
        }
    }

    /// Puts back what was broken.
    pub(crate) fn mend(&mut self, upset: Upset) -> Outcome<()> {
        match upset {
            Upset::Cut => self.network.as_ref().ok_or("no network to mend")?.mend(),
            Upset::Flushed
            | Upset::Resharded
            | Upset::GatewayKilled
            | Upset::GatewayPaused
            | Upset::ClockWrong => Ok(()),
            Upset::Emptied | Upset::OldSnapshot | Upset::MasterKilled => {
                for number in std::mem::take(&mut self.down) {
                    let server = &mut self.servers[number];
                    if upset == Upset::Emptied {
                        server.forget_disk()?;
                    }
                    server.start_again()?;
                }
                Ok(())
            }
            Upset::Paused | Upset::MasterPaused => std::mem::take(&mut self.down)
                .into_iter()
                .try_for_each(|number| self.servers[number].signal("CONT")),
            Upset::PasswordChanged => {
                // Whole or not at all: a gateway may read it at any time.
                let (new, file) = (self.files.join("store-password.new"), self.files.join("store-password"));
                std::fs::write(&new, self.password())?;
                Ok(std::fs::rename(new, file)?)
            }
            Upset::Full => self.servers[0].ask(&["CONFIG", "SET", "maxmemory", "0"]).map(drop),
            Upset::MayEvict => {
                self.servers[0].ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).map(drop)
            }
            Upset::ReadOnly => self.servers[0].ask(&["REPLICAOF", "NO", "ONE"]).map(drop),
        }
    }
}
