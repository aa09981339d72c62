//! What was learnt of a store's memories, for as long as the process lives.
//!
//! It outlives the lanes that it was learnt on: a server that leaves a cluster may come back, and a reload may have the same store asked in another way. Forgotten with them, a memory that was found to be
//! lost would be taken for whole as soon as its marker is found again, and what was used since would pass once more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::bounds::Bounds;
use super::clocks::Pace;
use super::memory::Memory;
use super::slots::SlotMap;
use crate::config::RedisEndpoint;

/// How many servers are known by name. A cluster has a thousand; where their addresses change for ever, those that are no longer asked are known together.
const SERVERS: usize = 4_096;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Past {
    began: AtomicU64,
    max_future: AtomicU64,
    reached: AtomicBool,
    least: Mutex<Least>,
    epoch: AtomicU64,
    pace: Mutex<Option<Pace>>,
    slots: Mutex<Option<Arc<SlotMap>>>,
    /// The longest figures that any marker had.
    bounds: watch::Sender<Bounds>,
}

/// The second in which the memory of each server begins at the earliest.
#[derive(Debug, Default)]
struct Least {
    /// `None` is the one server of a store that is no cluster, whichever that is at a time.
    of: HashMap<Option<RedisEndpoint>, Arc<AtomicU64>>,
    /// That of all others.
    of_others: u64,
}

impl Past {
    /// One of a gateway that takes proofs dated so many seconds ahead.
    pub(super) fn begin(max_future: u64) -> Arc<Self> {
        let past = Self::default();
        past.date_ahead(max_future);
        Arc::new(past)
    }

    /// A replica takes proofs dated so many seconds ahead.
    pub(super) fn date_ahead(&self, max_future: u64) {
        self.max_future.fetch_max(max_future, Ordering::Relaxed);
    }

    /// A server was vetted, and this is its memory. `true` where no other is known to have begun as late.
    pub(super) fn learn(&self, memory: &Memory) -> bool {
        self.date_ahead(memory.bounds.max_future);
        self.bounds.send_if_modified(|bounds| {
            let before = std::mem::replace(bounds, bounds.joined(memory.bounds));
            before != *bounds
        });
        self.reached.store(true, Ordering::Release);
        self.began.fetch_max(memory.begins, Ordering::Relaxed) < memory.begins
    }

    /// The longest of these figures and of those that any replica is known to have. In a cluster replicas that came at different times may have marked a node in different slots, and learn
    /// of each other's figures at another node.
    pub(super) fn longest(&self, own: Bounds) -> Bounds {
        self.bounds.borrow().joined(own)
    }

    /// Waits until a replica is known to have longer figures than these.
    pub(super) async fn outgrown(&self, bounds: Bounds) {
        let mut longest = self.bounds.subscribe();
        // The sender is here, so there is no other end.
        let _ = longest.wait_for(|longest| !bounds.cover(*longest)).await;
    }

    /// The latest second in which a memory began, of any server.
    pub(super) fn began(&self) -> u64 {
        self.began.load(Ordering::Relaxed)
    }

    /// How far ahead, in seconds, any replica takes proofs.
    pub(super) fn max_future(&self) -> u64 {
        self.max_future.load(Ordering::Relaxed)
    }

    /// Whether a server was vetted once.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Acquire)
    }

    /// The memory of this server is not whole any more: its next one begins later, whatever markers it has. Not later than the next one can begin, however often this is said before: a
    /// repair that gives slots away one by one would have it begin minutes ahead, and the server could not be asked until then.
    pub(super) fn lose(&self, server: &RedisEndpoint) {
        self.least(Some(server)).fetch_max(self.began().saturating_add(1), Ordering::Relaxed);
    }

    /// How servers' clocks went when a lane was given up last, for the lanes that follow.
    pub(super) fn pace(&self) -> Option<Pace> {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane is given up, and this is what it knew. Any server's clock will do for the others: all are within `clock_difference` of ours.
    pub(super) fn keep_pace(&self, pace: Pace) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(pace);
    }

    /// The number of a cluster's latest change that was believed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Now it is this one.
    pub(super) fn believe(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Which master of a cluster had which slots, as it was heard last.
    pub(super) fn slots(&self) -> Option<Arc<SlotMap>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Now it is so.
    pub(super) fn hear(&self, slots: SlotMap) {
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(slots));
    }

    /// The second in which the memory of this server begins at the earliest, for all who ask it. `None` as a name is the one server of a store that is no cluster.
    pub(super) fn least(&self, server: Option<&RedisEndpoint>) -> Arc<AtomicU64> {
        let mut least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = least.of.get(&server.cloned()) {
            return Arc::clone(known);
        }
        if least.of.len() >= SERVERS {
            // Later than it need be costs callers a nonce; earlier would cost the guarantee.
            let mut latest = least.of_others;
            least.of.retain(|_, begins| {
                let is_asked = Arc::strong_count(begins) > 1;
                if !is_asked {
                    latest = latest.max(begins.load(Ordering::Relaxed));
                }
                is_asked
            });
            least.of_others = latest;
        }
        let begins = Arc::new(AtomicU64::new(least.of_others));
        least.of.insert(server.cloned(), Arc::clone(&begins));
        begins
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::replay::redis::memory::Identity;

    fn node(number: usize) -> RedisEndpoint {
        RedisEndpoint { host: format!("node-{number}"), port: 6379 }
    }

    #[test]
    fn what_is_known_of_a_server_outlives_who_asks_it() {
        let past = Past::default();
        let (one, other) = (node(1), node(2));
        past.least(Some(&one)).fetch_max(7, Ordering::Relaxed);
        assert_eq!(past.least(Some(&one)).load(Ordering::Relaxed), 7);
        assert_eq!(past.least(Some(&other)).load(Ordering::Relaxed), 0);
        assert_eq!(past.least(None).load(Ordering::Relaxed), 0);
    }

    /// What one server's marker asks for counts at all of them.
    #[tokio::test]
    async fn longer_figures_are_heard_of() {
        let past = Past::begin(0);
        let own = Bounds { max_age: 60, nonce: 600, ..Bounds::default() };
        let of = |bounds| Memory {
            identity: Identity::new(b"r", b"h", b"0"),
            key: Vec::new(),
            value: Vec::new(),
            begins: 1,
            bounds,
        };
        past.learn(&of(own));
        assert_eq!(past.longest(own), own);
        assert!(tokio::time::timeout(Duration::ZERO, past.outgrown(own)).await.is_err());
        tokio::join!(past.outgrown(own), async {
            past.learn(&of(Bounds { max_age: 300, ..Bounds::default() }));
        });
        assert_eq!(past.longest(own), Bounds { max_age: 300, ..own });
        past.outgrown(own).await;
    }

    /// The next memory begins behind all that were known, and one later than that could not begin yet.
    #[test]
    fn a_memory_that_is_lost_often_is_lost_once() {
        let past = Past::default();
        let least = past.least(Some(&node(1)));
        past.began.store(100, Ordering::Relaxed);
        for _ in 0..60 {
            past.lose(&node(1));
        }
        assert_eq!(least.load(Ordering::Relaxed), 101);
        past.began.store(107, Ordering::Relaxed);
        past.lose(&node(1));
        assert_eq!(least.load(Ordering::Relaxed), 108);
    }

    /// Where addresses change for ever, what is known does not grow for ever; and what was known of one does not get less.
    #[test]
    fn servers_that_are_gone_are_known_together() {
        let past = Past::default();
        let asked = past.least(Some(&node(0)));
        asked.store(3, Ordering::Relaxed);
        for number in 1..SERVERS {
            past.least(Some(&node(number))).store(100 + number as u64, Ordering::Relaxed);
        }
        let latest = 100 + SERVERS as u64 - 1;
        assert_eq!(past.least(Some(&node(SERVERS))).load(Ordering::Relaxed), latest);
        assert_eq!(past.least(Some(&node(1))).load(Ordering::Relaxed), latest, "not less than it was");
        assert!(Arc::ptr_eq(&asked, &past.least(Some(&node(0)))), "one that is asked keeps its own");
        assert!(past.least.lock().expect("no panic").of.len() < 5);
    }

    #[test]
    fn a_later_memory_is_news_once() {
        let past = Past::begin(5);
        let memory = |begins, max_future| Memory {
            identity: Identity::new(b"r", b"h", b"0"),
            key: Vec::new(),
            value: Vec::new(),
            begins,
            bounds: Bounds { max_future, ..Bounds::default() },
        };
        assert!(!past.was_reached());
        assert_eq!([10, 10, 9, 11].map(|begins| past.learn(&memory(begins, 2))), [true, false, false, true]);
        assert_eq!((past.began(), past.max_future(), past.was_reached()), (11, 5, true));
        past.learn(&memory(1, 8));
        assert_eq!((past.began(), past.max_future()), (11, 8));
    }
}
