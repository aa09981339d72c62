//! The memory of used proofs that replicas share, on Redis or Valkey (RFC 9449 §11.1).
//!
//! One claim is one `SET … NX PX`, so whichever replica comes first has it. What the store may have forgotten, it refuses: a server that may evict is not used at all, each
//! memory has a marker by which its loss is noticed before a claim counts, and proofs that may have been used before a memory began are told
//! by a [`line`](Redis::line). What it cannot say, it refuses as well.
//!
//! | file | what it decides |
//! |---|---|
//! | [`lane`] | which connection a claim goes to, and when a server is tried again |
//! | [`connect`], [`lookup`], [`sentinel`] | how a server is reached; which one is the master of a group |
//! | [`cluster`], [`slots`], [`scout`] | which node of a cluster has a proof; where claims go that it has not |
//! | [`vet`], [`memory`], [`bounds`], [`clocks`] | whether a server may be trusted with claims; which memory it has, and for how long that keeps them; whether its clock is ours |
//! | [`past`] | what was learnt of memories, and is not forgotten with a connection |
//! | [`serve`], [`batch`] | what goes out together, and whether the answers count |
//! | [`link`], [`resp`] | one question at a time, and the protocol |
//! | [`trouble`], [`state`], [`condition`] | what is wrong, and what numbers and the log tell of it |

mod batch;
pub mod bounds;
mod clocks;
mod cluster;
mod condition;
mod connect;
mod lane;
mod link;
mod lookup;
mod memory;
mod past;
pub mod resp;
mod scout;
mod sentinel;
mod serve;
mod slots;
pub mod state;
pub mod trouble;
mod vet;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use self::batch::Answer;
use self::bounds::Bounds;
use self::cluster::Cluster;
use self::lane::{Lanes, Place, Shared};
use self::memory::Names;
use self::past::Past;
use self::sentinel::{Sentinels, Whereabouts};
use self::state::{Health, Server, State, Tally};
use crate::clock::Clock;
use crate::config::{self, OnFailure, RedisServers};
use crate::verify::digest::{Digest, ProofId};
use crate::verify::nonce::Standing;
use crate::verify::time::UnixTime;

/// How often servers that are waited for are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is counted; for [`Digest`].
#[derive(Debug)]
pub enum Counted {}

/// Why a claim was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The proof was used before.
    Replayed,
    /// Nobody can say: the claim could not be sent, or no answer came that can be trusted, so that the proof may be spent.
    Unavailable,
}

/// What kind of server is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One that has all keys.
    Alone,
    /// A node of a cluster, which has some.
    Node,
}

/// The store. Clones share it; with the last of them its connections end.
#[derive(Clone, Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    servers: Arc<Servers>,
}

/// Where proofs are remembered.
#[derive(Debug)]
enum Servers {
    /// One server has them all.
    One(Lanes),
    /// Each node of a cluster has some.
    Many(Cluster),
}

impl Redis {
    /// A store that connects in the background. Waits for nothing and cannot fail: a store that is away is a state. To be called within a runtime.
    pub fn start(settings: Arc<config::Redis>, bounds: Bounds, clock: Clock) -> Self {
        let past = Past::begin(bounds.max_future);
        Self::connect(Shared::new(settings, bounds, clock, past))
    }

    /// The same memory, reached otherwise or by other figures: what is in doubt here stays so there, and what was learnt by either counts for both.
    pub fn followed_by(&self, settings: Arc<config::Redis>, bounds: Bounds) -> Self {
        let past = Arc::clone(&self.shared.past);
        past.date_ahead(bounds.max_future);
        let shared = Shared::new(settings, bounds, self.shared.clock.clone(), past);
        if let Some(line) = self.line() {
            shared.absences.standing().draw(line);
        }
        Self::connect(shared)
    }

    fn connect(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let servers = match &shared.settings.servers {
            RedisServers::Alone(server) => {
                let (place, names) = (Place::At(server.clone()), Names::new(&shared.settings.prefix, ""));
                Servers::One(Lanes::start(place, Kind::Alone, names, &shared))
            }
            RedisServers::Sentinel(sentinel) => {
                let sentinels = Sentinels::new(sentinel, shared.connector.clone(), shared.settings.timeout);
                let (place, names) =
                    (Place::Master(Whereabouts::watch(sentinels)), Names::new(&shared.settings.prefix, ""));
                Servers::One(Lanes::start(place, Kind::Alone, names, &shared))
            }
            RedisServers::Cluster(nodes) => Servers::Many(Cluster::start(nodes, &shared)),
        };
        Self { shared, servers: Arc::new(servers) }
    }

    /// Whether there is a vetted connection for this proof. A look at an atomic; `claim` may fail all the same.
    pub fn is_usable(&self, proof: Digest<ProofId>) -> bool {
        match &*self.servers {
            Servers::One(lanes) => lanes.is_usable(),
            Servers::Many(cluster) => cluster.is_usable(&batch::key(&proof)),
        }
    }

    /// Up to this second a proof may have been used before the store's memory begins. It never goes back. `None`: no server was vetted yet.
    pub fn line(&self) -> Option<UnixTime> {
        self.standing().line()
    }

    /// Takes a proof, once among all replicas, for `keep`: the time from now to the beginning of its last second. That second, and what clocks may differ, are added here.
    ///
    /// `judged_by` is the [`line`](Self::line) that the proof was found to be younger than. Where the line has moved before the answer, the claim may have met a memory that
    /// began later than the proof, and is refused.
    ///
    /// Waits for at most twice `timeout`, once to be sent and once for the answer; in a cluster, where it may be sent on, for at most three times. Not at all for a store that is known to
    /// be away.
    ///
    /// # Errors
    /// [`Refused`]; in both cases the request must not be forwarded.
    pub async fn claim(
        &self,
        proof: Digest<ProofId>,
        keep: Duration,
        judged_by: UnixTime,
    ) -> Result<(), Refused> {
        let keep = batch::retention(keep, &self.shared.settings);
        let answer = match &*self.servers {
            Servers::One(lanes) => lanes.claim(batch::key(&proof), keep, false).await,
            Servers::Many(cluster) => cluster.claim(batch::key(&proof), keep).await,
        };
        let tally = &self.shared.tally;
        match answer {
            // A lane draws the line of its memory before it works, so whatever memory has answered, its line is in this one.
            Some(Answer::Taken) if self.line() == Some(judged_by) => {
                Tally::count(&tally.taken);
                Ok(())
            }
            Some(Answer::Replayed) => {
                Tally::count(&tally.replayed);
                Err(Refused::Replayed)
            }
            Some(Answer::Taken | Answer::Counted(_) | Answer::Elsewhere(_)) | None => {
                Tally::count(&tally.unavailable);
                Err(Refused::Unavailable)
            }
        }
    }

    /// Counts one more of what has this name, and gives how many all replicas have counted in the time `kept` that began with the first. `None`: nobody can say. Who counts
    /// has to have stopped before that time is over.
    ///
    /// It waits for at most twice `timeout`, on top of what a claim of the same request waits. A memory that is lost begins at nothing: this is for limits, not for proofs.
    pub async fn count(&self, name: Digest<Counted>, kept: Duration) -> Option<u64> {
        let key = *name.as_bytes().first_chunk().expect("32 bytes have a first 16");
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX).max(1);
        let answer = match &*self.servers {
            Servers::One(lanes) => lanes.count(key, kept).await,
            Servers::Many(cluster) => cluster.count(key, kept).await,
        };
        match answer {
            Some(Answer::Counted(count)) => Some(count),
            Some(Answer::Taken | Answer::Replayed | Answer::Elsewhere(_)) | None => {
                Tally::count(&self.shared.tally.uncounted);
                None
            }
        }
    }

    /// Ends its connections, for all clones: what is asked of it from here on is [`Refused::Unavailable`]. Until then a store that nobody holds but a request of old would go on trying a password
    /// that is no longer right, and tell the log of it.
    pub fn end(&self) {
        self.shared.end.cancel();
    }

    /// Whether the two are clones of one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How the store is.
    pub fn state(&self) -> State {
        let servers = match &*self.servers {
            Servers::One(lanes) => vec![lanes.server()],
            Servers::Many(cluster) => cluster.servers(),
        };
        let meanwhile = self.standing().is_alone().then_some(self.shared.settings.on_failure);
        State { servers, line: self.line(), meanwhile, counts: self.shared.tally.counts() }
    }

    /// How it is reached, and what becomes of proofs that it cannot be asked about.
    pub fn settings(&self) -> &config::Redis {
        &self.shared.settings
    }

    /// What this gateway counts on.
    pub fn bounds(&self) -> Bounds {
        self.shared.bounds
    }

    /// How far ahead, in seconds, a proof may be dated that any replica takes.
    pub fn max_future(&self) -> i64 {
        i64::try_from(self.shared.past.max_future()).unwrap_or(i64::MAX)
    }

    /// What nonces are sealed by while this store is asked.
    pub fn standing(&self) -> &Standing {
        self.shared.absences.standing()
    }

    /// Whether a server of it was vetted once, by this way or by one before it.
    pub fn first_contact(&self) -> bool {
        self.shared.past.was_reached()
    }

    /// Whether a gateway has to wait for it before it can do its work. Where it is needed for each proof, it has to be reached once. Where nonces of this process alone take its place, it is
    /// enough to know that it is away.
    ///
    /// In a cluster one server is enough: what the others have is refused, or asked for such nonces, claim by claim.
    pub fn is_awaited(&self) -> bool {
        let is_known_to_be_away = match self.shared.settings.on_failure {
            OnFailure::Refuse => false,
            OnFailure::Nonce => self.shared.tally.has_troubles(),
        };
        !(self.first_contact() || is_known_to_be_away)
    }

    /// Waits until each server that is usable by `before` is usable by this, for `patience` at most. A server that is away for both is not waited for.
    ///
    /// # Errors
    /// What is wrong with those that are not, for the operator.
    pub async fn reaches_all_of(&self, before: &Self, patience: Duration) -> Result<(), String> {
        let usable = |server: &Server| server.health == Health::Usable;
        let mut reached = HashSet::new();
        let mut all = async || {
            loop {
                reached.extend(self.state().servers.into_iter().filter(usable).map(|server| server.place));
                // Looked at each time: it may be another master's turn meanwhile.
                let mut wanted = before.state().servers.into_iter().filter(usable);
                if wanted.all(|server| reached.contains(&server.place)) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, all()).await.map_err(|_| {
            let servers = self.state().servers;
            let away = servers.iter().filter(|server| !usable(server));
            away.map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }
}
