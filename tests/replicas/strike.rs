//! How a store is broken and mended.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cluster;
use crate::dice::Dice;
use crate::server::{FIRST_PASSWORD, USER};
use crate::store::{GROUP, Shape, Store};
use crate::upset::Upset;

/// A group that has not all its copies by then is taken as it is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an upset has struck.
#[derive(Clone, Debug)]
pub(crate) struct Blow {
    /// Servers that it was done to.
    servers: Vec<usize>,
    /// What was so before, and has to be otherwise when it has been felt.
    before: Before,
}

#[derive(Clone, Debug)]
enum Before {
    /// Nothing that the store itself shows.
    Nothing,
    /// These were the masters.
    Masters(Vec<usize>),
    /// The server had so many slots.
    Slots(usize),
}

impl Blow {
    /// Whether another server has to become a master.
    pub(crate) fn takes_a_master(&self) -> bool {
        matches!(self.before, Before::Masters(_))
    }
}

impl Store {
    /// What the gateways have to say by now.
    fn password(&self) -> String {
        if self.changes == 0 {
            FIRST_PASSWORD.to_owned()
        } else {
            format!("number-{}-of-gateways", self.changes)
        }
    }

    /// The numbers of the masters that run.
    fn masters(&self) -> Outcome<Vec<usize>> {
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
                None => {
                    !self.down.contains(&number)
                        && (self.shape == Shape::Alone || server.info("replication", "role")? == "master")
                }
            };
            masters.extend(is.then_some(number));
        }
        if masters.is_empty() { Err("no master".into()) } else { Ok(masters) }
    }

    fn master(&self, dice: &mut Dice) -> Outcome<usize> {
        let masters = self.masters()?;
        Ok(masters[dice.below(masters.len())])
    }

    /// One that is no master and runs.
    fn replica(&self, dice: &mut Dice) -> Outcome<usize> {
        let masters = self.masters()?;
        let is_replica = |number: &usize| !masters.contains(number) && !self.down.contains(number);
        let replicas: Vec<usize> = (0..self.servers.len()).filter(is_replica).collect();
        if replicas.is_empty() { Err("no replica".into()) } else { Ok(replicas[dice.below(replicas.len())]) }
    }

    /// Waits until a group's master has both of its copies: sentinels take their time to tell an old master that it is one of them now.
    async fn copied(&self) -> Outcome<()> {
        let began = Instant::now();
        while !self.sentinels.is_empty() && began.elapsed() < PATIENCE {
            let master = &self.servers[self.masters()?[0]];
            if master.info("replication", "connected_slaves")? == "2" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn kill(&mut self, number: usize) -> Outcome<()> {
        self.down.push(number);
        self.servers[number].kill()
    }

    /// Breaks it. What is done to gateways is done elsewhere.
    pub(crate) async fn strike(&mut self, upset: Upset, dice: &mut Dice) -> Outcome<Blow> {
        let mut blow = Blow { servers: Vec::new(), before: Before::Nothing };
        let one = match upset {
            Upset::GatewayKilled
            | Upset::GatewayPaused
            | Upset::ClockWrong
            | Upset::RingRotated
            | Upset::Reloaded => return Ok(blow),
            Upset::Cut => {
                blow.before = Before::Masters(self.masters()?);
                self.network.as_ref().ok_or("no network to cut")?.cut()?;
                return Ok(blow);
            }
            Upset::ReplicaKilled => {
                self.copied().await?;
                self.replica(dice)?
            }
            _ => self.master(dice)?,
        };
        blow.servers.push(one);
        match upset {
            Upset::Emptied | Upset::GatewayLate | Upset::ReplicaKilled => self.kill(one)?,
            Upset::OldSnapshot => {
                self.servers[one].ask(&["SAVE"])?;
                // Claims that the snapshot does not have.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                self.kill(one)?;
            }
            Upset::MasterKilled => {
                blow.before = Before::Masters(self.masters()?);
                self.kill(one)?;
            }
            Upset::MasterPaused | Upset::Paused => {
                if upset == Upset::MasterPaused {
                    blow.before = Before::Masters(self.masters()?);
                }
                self.down.push(one);
                self.servers[one].signal("STOP")?;
            }
            Upset::Resharded => {
                let masters = self.masters()?;
                let others: Vec<usize> = masters.into_iter().filter(|master| *master != one).collect();
                let to = others[dice.below(others.len())];
                blow.before = Before::Slots(cluster::slots(&self.servers[one])?);
                cluster::reshard(&self.servers[one], &self.servers[to])?;
            }
            Upset::Flushed => drop(self.servers[one].ask(&["FLUSHALL"])?),
            Upset::PasswordChanged => {
                self.changes += 1;
                self.set_password()?;
            }
            Upset::Full => self.set(one, "maxmemory", "1")?,
            Upset::MayEvict => self.set(one, "maxmemory-policy", "allkeys-lru")?,
            Upset::ReadOnly => drop(self.servers[one].ask(&["REPLICAOF", "127.0.0.1", "1"])?),
            Upset::Cut
            | Upset::GatewayKilled
            | Upset::GatewayPaused
            | Upset::ClockWrong
            | Upset::RingRotated
            | Upset::Reloaded => {}
        }
        Ok(blow)
    }

    fn set(&self, server: usize, name: &str, value: &str) -> Outcome<()> {
        self.servers[server].ask(&["CONFIG", "SET", name, value]).map(drop)
    }

    /// At every server that runs. One that is started again does so with what is in its file.
    fn set_password(&self) -> Outcome<()> {
        let new = format!(">{}", self.password());
        for (number, server) in self.servers.iter().enumerate() {
            if !self.down.contains(&number) {
                server.ask(&["ACL", "SETUSER", USER, "resetpass", &new])?;
                server.ask(&["CONFIG", "REWRITE"])?;
                server.ask(&["CLIENT", "KILL", "USER", USER])?;
            }
        }
        Ok(())
    }

    /// Says what an upset has not done to the store that it should have, after so long that it must have. An upset that breaks nothing proves nothing.
    pub(crate) fn unharmed(&self, blow: &Blow) -> Outcome<Option<String>> {
        match &blow.before {
            Before::Nothing => Ok(None),
            Before::Masters(before) => {
                let promoted = self.masters()?.iter().any(|master| !before.contains(master));
                Ok((!promoted).then(|| "no other server has become the master".to_owned()))
            }
            Before::Slots(before) => {
                let now = cluster::slots(&self.servers[blow.servers[0]])?;
                let moved = before.checked_sub(now) == Some(cluster::MOVED);
                Ok((!moved).then(|| format!("of {before} slots {now} are left")))
            }
        }
    }

    /// Puts back what was broken.
    pub(crate) fn mend(&mut self, upset: Upset, blow: &Blow) -> Outcome<()> {
        self.down.retain(|number| !blow.servers.contains(number));
        match upset {
            Upset::Cut => return self.network.as_ref().ok_or("no network to mend")?.mend(),
            Upset::PasswordChanged => {
                // Those that were down then have it too now.
                self.set_password()?;
                // Whole or not at all: a gateway may read it at any time.
                let (new, file) = (self.files.join("store-password.new"), self.files.join("store-password"));
                std::fs::write(&new, self.password())?;
                return Ok(std::fs::rename(new, file)?);
            }
            _ => {}
        }
        for number in &blow.servers {
            let server = &mut self.servers[*number];
            match upset {
                Upset::Emptied
                | Upset::OldSnapshot
                | Upset::MasterKilled
                | Upset::ReplicaKilled
                | Upset::GatewayLate => {
                    if matches!(upset, Upset::Emptied | Upset::GatewayLate) {
                        server.forget_disk()?;
                    }
                    server.start_again()?;
                }
                Upset::Paused | Upset::MasterPaused => server.signal("CONT")?,
                Upset::Full => drop(server.ask(&["CONFIG", "SET", "maxmemory", "0"])?),
                Upset::MayEvict => {
                    drop(server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])?);
                }
                Upset::ReadOnly => {
                    // Sentinels may have made it the replica of another by now, which it has to stay.
                    let is_replica = server.info("replication", "role")? == "slave";
                    if is_replica && server.info("replication", "master_port")? == "1" {
                        server.ask(&["REPLICAOF", "NO", "ONE"])?;
                    }
                }
                _ => {}
            }
            // A sentinel that has changed its master has had it write down what was wrong then.
            if matches!(upset, Upset::Full | Upset::MayEvict) {
                server.ask(&["CONFIG", "REWRITE"])?;
            }
        }
        Ok(())
    }
}
