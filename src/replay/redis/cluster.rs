//! Which node of a cluster a claim goes to, and what becomes of it where the slot is elsewhere.
//!
//! A node that does not have a slot refuses to claim in it (`MOVED`, `ASK`) and has not done it, so another may be asked: the one it names, if that was vetted. A claim that
//! may have been made is never sent again. Keys that are moved are never in two places: the old node answers for what it still has, and only of what it has not says `ASK`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use super::Kind;
use super::batch::{Answer, Redirect};
use super::condition::Condition;
use super::connect::announced;
use super::lane::{Lanes, Place, Shared};
use super::memory::Names;
use super::scout::{Scout, Unheard};
use super::slots::{Hashed, SLOTS, SlotMap, tag_in};
use super::state::{Absence, Health, Server};
use super::trouble::Trouble;
use crate::config::{RedisEndpoint, RedisServer};

/// How many nodes a claim is sent on to. Nodes that disagree could send it round in circles.
const HOPS: usize = 4;
/// The pause before a node is asked once more that was just moving the key (`TRYAGAIN`).
const MOMENT: Duration = Duration::from_millis(5);

/// A cluster. Dropped, it is asked no more.
#[derive(Debug)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
    prefix: Hashed,
    routes: Arc<ArcSwap<Routes>>,
    /// How the cluster is as a whole.
    condition: Arc<Mutex<Condition>>,
    /// Something does not fit what is known.
    doubted: Arc<Notify>,
    /// Rings when it was looked at.
    news: Arc<Notify>,
    _ends: DropGuard,
}

/// What is known of the cluster.
#[derive(Debug)]
struct Routes {
    map: SlotMap,
    /// One for each master of the map, in their order.
    nodes: Vec<Arc<Node>>,
    /// While nobody has a slot, the proofs in it cannot be asked about. While nobody tells of the nodes, those that are known go on.
    _absence: Option<Absence>,
}

impl Routes {
    fn new(map: SlotMap, nodes: Vec<Arc<Node>>, shared: &Shared) -> Self {
        let absence = (!map.is_whole()).then(|| Absence::new(&shared.absences));
        Self { map, nodes, _absence: absence }
    }

    /// Who has a slot.
    fn node_of(&self, slot: u16) -> Option<&Arc<Node>> {
        self.nodes.get(self.map.owner(slot)?)
    }
}

/// A master that has slots.
#[derive(Debug)]
struct Node {
    endpoint: RedisEndpoint,
    /// The slot in which its marker is.
    marked: u16,
    lanes: Lanes,
}

impl Node {
    /// Whether the slot in which its marker is may be on its way to another node: then the marker may be on either side.
    fn is_unmarked(&self) -> bool {
        matches!(self.lanes.server().health, Health::Away { trouble: Trouble::NoSlot, .. })
    }

    /// Whether it is not there, so that nobody can have moved keys away from it.
    fn is_away(&self) -> bool {
        self.lanes.server().health != Health::Usable && !self.is_unmarked()
    }
}

impl Cluster {
    /// The cluster that `seeds` are nodes of. Waits for nothing.
    pub(super) fn start(seeds: &[RedisEndpoint], shared: &Arc<Shared>) -> Self {
        let routes = Arc::new(ArcSwap::from_pointee(Routes::new(SlotMap::new(), Vec::new(), shared)));
        let condition =
            Arc::new(Mutex::new(Condition::unknown("cluster".into(), shared.settings.on_failure)));
        let (doubted, news) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let end = shared.end.child_token();
        let scout = Scout::new(seeds, Arc::clone(shared));
        let keeper = Keeper {
            shared: Arc::clone(shared),
            routes: Arc::clone(&routes),
            condition: Arc::clone(&condition),
            doubted: Arc::clone(&doubted),
            news: Arc::clone(&news),
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(keeper.keep_looking(scout)));
        let (shared, prefix) = (Arc::clone(shared), Hashed::beginning(&shared.settings.prefix));
        Self { shared, prefix, routes, condition, doubted, news, _ends: end.drop_guard() }
    }

    /// Whether there is a vetted connection to the node that has this key.
    pub(super) fn is_usable(&self, key: &[u8; 16]) -> bool {
        self.routes.load().node_of(self.prefix.slot(key)).is_some_and(|node| node.lanes.is_usable())
    }

    /// Makes a claim. `None`: no node has it, or nobody can say what came of it.
    pub(super) async fn claim(&self, key: [u8; 16], keep: u64) -> Option<Answer> {
        let node = self.node_of(&key)?;
        match node.lanes.claim(key, keep, false).await? {
            // A request is held for one reply longer at most, however often it is sent on.
            Answer::Elsewhere(redirect) => {
                let end = Instant::now() + self.shared.settings.timeout;
                timeout_at(end, self.send_on(key, keep, node, redirect)).await.ok()?
            }
            answer => Some(answer),
        }
    }

    /// Counts one more. `None` as above, and where the slot is on its way: a count is not worth following it.
    pub(super) async fn count(&self, key: [u8; 16], keep: u64) -> Option<Answer> {
        self.node_of(&key)?.lanes.count(key, keep).await
    }

    /// Sends a claim on that `node` has not made.
    async fn send_on(
        &self,
        key: [u8; 16],
        keep: u64,
        mut node: Arc<Node>,
        mut redirect: Redirect,
    ) -> Option<Answer> {
        let mut asking = false;
        for _ in 0..HOPS {
            match redirect {
                // Not to the node that is named, but to the one that the map names when it was looked at anew: a slot may have come without its keys, and then
                // the node is marked anew before it is asked.
                Redirect::Moved(_) => (node, asking) = (self.owner_after(&node, &key).await?, false),
                Redirect::Ask(to) => (node, asking) = (self.node_at(&to, &node)?, true),
                Redirect::TryAgain => tokio::time::sleep(MOMENT).await,
            }
            match node.lanes.claim(key, keep, asking).await? {
                Answer::Elsewhere(next) => redirect = next,
                answer => return Some(answer),
            }
        }
        self.shared.tally.count_trouble(&Trouble::NoSlot);
        None
    }

    /// Waits for a map in which the key is no longer `old`'s.
    async fn owner_after(&self, old: &Node, key: &[u8; 16]) -> Option<Arc<Node>> {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            if let Some(node) = self.node_of(key).filter(|node| node.endpoint != old.endpoint) {
                return Some(node);
            }
            self.doubted.notify_one();
            news.await;
        }
    }

    fn node_of(&self, key: &[u8; 16]) -> Option<Arc<Node>> {
        self.routes.load().node_of(self.prefix.slot(key)).map(Arc::clone)
    }

    /// The node at `to`, which `from` has named, if it is a master that is known: no other was vetted, and none may take claims before. One that has no
    /// slot yet is none: it has no place for a marker.
    fn node_at(&self, to: &str, from: &Node) -> Option<Arc<Node>> {
        let (host, port) = to.rsplit_once(':')?;
        let host = if host.is_empty() { &from.endpoint.host } else { host };
        let endpoint = announced(host.as_bytes(), port.parse().ok()?)?;
        let known = self.routes.load().nodes.iter().find(|node| node.endpoint == endpoint).map(Arc::clone);
        if known.is_none() {
            self.shared.tally.count_trouble(&Trouble::NoSlot);
        }
        known
    }

    /// How each node is, and before them the cluster as a whole, where something is wrong with that.
    pub(super) fn servers(&self) -> Vec<Server> {
        let health = self.condition.lock().unwrap_or_else(PoisonError::into_inner).health().clone();
        let whole = Server { place: "cluster".into(), health, clock_difference: None };
        let wrong = Some(whole).filter(|whole| whole.health != Health::Usable);
        wrong.into_iter().chain(self.routes.load().nodes.iter().map(|node| node.lanes.server())).collect()
    }
}

/// Keeps what is known up to date.
struct Keeper {
    shared: Arc<Shared>,
    routes: Arc<ArcSwap<Routes>>,
    condition: Arc<Mutex<Condition>>,
    doubted: Arc<Notify>,
    news: Arc<Notify>,
}

impl Keeper {
    async fn keep_looking(self, mut scout: Scout) {
        loop {
            let known = self.routes.load().map.masters().to_vec();
            match scout.look(&known).await {
                Ok(view) => self.take(view.map),
                Err(unheard) => self.complain(unheard),
            }
            scout.rest(&self.doubted).await;
        }
    }

    /// Lanes to the masters of today. Those that were there stay; the others end when what is in flight on them is answered.
    fn take(&self, map: SlotMap) {
        let before = self.routes.load_full();
        if before.map != map || before.nodes.iter().any(|node| node.is_unmarked()) {
            let is_lost = |node: &Arc<Node>| node.is_away() || !map.masters().contains(&node.endpoint);
            let lost: Vec<bool> = before.nodes.iter().map(is_lost).collect();
            // The first map is compared with the last one of a store that this one follows: slots may have been given away between the two looks.
            let slots = if before.nodes.is_empty() { self.shared.past.slots() } else { None };
            let slots = slots.as_deref().unwrap_or(&before.map);
            // What is claimed elsewhere from now on is not in the memories of those that are gone, should they be masters again: a cluster that was set up anew at other addresses may be followed by
            // the one before. A master that is still there has given its keys away, or goes by two names, which come by turns.
            let is_gone = |master: &&RedisEndpoint| !map.masters().contains(master);
            let is_there = |master: &RedisEndpoint| {
                before.nodes.iter().any(|node| node.endpoint == *master && !node.is_away())
            };
            for gone in slots.masters().iter().filter(is_gone).filter(|master| !is_there(master)) {
                self.shared.past.lose(gone);
            }
            let inherited = |endpoint| map.inherited(slots, endpoint, &lost);
            let nodes =
                map.masters().iter().map(|endpoint| self.node(endpoint, &map, &before, inherited(endpoint)));
            // One left out would give each that comes behind it the proofs of another.
            let Some(nodes) = nodes.collect() else {
                let trouble = Trouble::Broken("CLUSTER SLOTS names a master without slots".into());
                return self.complain(Unheard { node: None, trouble });
            };
            if before.map.masters() != map.masters() {
                let masters = map.masters().len();
                tracing::info!(masters, "replay.redis: the masters of the cluster are others");
            }
            self.shared.past.hear(map.clone());
            self.routes.store(Arc::new(Routes::new(map, nodes, &self.shared)));
        }
        if self.routes.load().map.is_whole() {
            let mut condition = self.condition();
            condition.well(None);
            condition.settle(None);
        } else {
            self.complain(Unheard { node: None, trouble: Trouble::NoSlot });
        }
        self.news.notify_waiters();
    }

    fn node(
        &self,
        endpoint: &RedisEndpoint,
        map: &SlotMap,
        before: &Routes,
        inherited: Option<u16>,
    ) -> Option<Arc<Node>> {
        let known = before.nodes.iter().find(|node| node.endpoint == *endpoint);
        // A marker in a slot that came with its keys, or without, is not this node's: it has to be marked anew, and so begins a memory behind whatever may have been lost.
        if inherited.is_some() {
            self.shared.past.lose(endpoint);
        }
        let end = match known {
            Some(node) if inherited.is_none() && map.master_of(node.marked) == Some(endpoint) => {
                if !node.is_unmarked() {
                    return Some(Arc::clone(node));
                }
                node.marked
            }
            Some(_) | None => SLOTS,
        };
        let marked = inherited.or_else(|| map.last_slot_of(endpoint, end))?;
        let names = Names::new(&self.shared.settings.prefix, &tag_in(marked)?);
        let place = Place::Node(RedisServer::Network(endpoint.clone()), Arc::clone(&self.doubted));
        let lanes = Lanes::start(place, Kind::Node, names, &self.shared);
        Some(Arc::new(Node { endpoint: endpoint.clone(), marked, lanes }))
    }

    /// What is known stays: nodes refuse what is not theirs, whoever asks.
    fn complain(&self, Unheard { node, trouble }: Unheard) {
        self.shared.tally.count_trouble(&trouble);
        self.condition().wrong(trouble, node.as_ref(), &self.shared.clock);
    }

    /// Nothing panics while this is held that would leave it half-written.
    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::condition::tests::heard;
    use super::super::past::Past;
    use super::super::tests::process::{Server, free_port};
    use super::super::tests::settings;
    use super::*;
    use crate::clock::Clock;
    use crate::config::{RedisServers, RedisWire};
    use crate::replay::redis::bounds::Bounds;
    use crate::replay::redis::memory::{Identity, Memory};

    fn at(port: u16) -> RedisEndpoint {
        RedisEndpoint { host: "127.0.0.1".into(), port }
    }

    fn map(parts: &[(u16, u16, u16)]) -> SlotMap {
        let mut map = SlotMap::new();
        for (first, last, port) in parts {
            map.give(*first, *last, &at(*port)).expect("slots that nobody has");
        }
        map
    }

    fn keeper() -> Keeper {
        following(Past::begin(0))
    }

    /// One that knows what was learnt before.
    fn following(past: Arc<Past>) -> Keeper {
        let settings = settings(RedisServers::Cluster(vec![at(1)]), RedisWire::Plain);
        let shared = Arc::new(Shared::new(Arc::new(settings), Bounds::default(), Clock::system(), past));
        Keeper {
            routes: Arc::new(ArcSwap::from_pointee(Routes::new(SlotMap::new(), Vec::new(), &shared))),
            condition: Arc::new(Mutex::new(Condition::unknown("cluster".into(), shared.settings.on_failure))),
            doubted: Arc::default(),
            news: Arc::default(),
            shared,
        }
    }

    /// Each proof goes to the node that has its slot, whatever the order in which nodes are told of, and nodes that stay keep their lanes.
    #[tokio::test]
    async fn slots_go_to_the_nodes_that_have_them() {
        let keeper = keeper();
        let (half, last) = (SLOTS / 2, SLOTS - 1);
        let owner = |slot| keeper.routes.load().node_of(slot).map(|node| node.endpoint.port);
        keeper.take(map(&[(0, half, 1), (half + 1, last, 2)]));
        assert_eq!([0, half, half + 1, last, SLOTS].map(owner), [Some(1), Some(1), Some(2), Some(2), None]);
        let before = keeper.routes.load_full();
        keeper.take(map(&[(0, half, 1), (half + 1, last, 2)]));
        assert!(Arc::ptr_eq(&before, &keeper.routes.load()), "nothing has changed");
        keeper.take(map(&[(0, 9, 3), (10, half, 1), (half + 1, last, 2)]));
        assert_eq!([9, 10, half + 1].map(owner), [Some(3), Some(1), Some(2)]);
        let after = keeper.routes.load_full();
        assert!(
            Arc::ptr_eq(&before.nodes[0], &after.nodes[1]) && Arc::ptr_eq(&before.nodes[1], &after.nodes[2])
        );
        let least = |port| keeper.shared.past.least(Some(&at(port))).load(Ordering::Relaxed);
        assert_eq!([1, 2, 3].map(least), [0, 0, 0]);
        // None of them was ever there, so a slot that one has from another came without its keys.
        keeper.take(map(&[(0, 0, 1), (1, 9, 3), (10, half, 1), (half + 1, last, 2)]));
        let marked_anew = keeper.routes.load_full();
        assert!(Arc::ptr_eq(&after.nodes[0], &marked_anew.nodes[1]) && marked_anew.nodes[0].marked == 0);
        assert_eq!([1, 2, 3].map(least), [1, 0, 0]);
    }

    /// A reload may come just when a repair has given slots away without their keys: then the keeper of before has not looked again, and the next one has seen nothing else.
    #[tokio::test]
    async fn what_was_given_away_at_a_reload_is_noticed() {
        let before = keeper();
        let (half, last) = (SLOTS / 2, SLOTS - 1);
        before.take(map(&[(0, half, 1), (half + 1, last, 2)]));
        let past = || Arc::clone(&before.shared.past);
        let least = |port| past().least(Some(&at(port))).load(Ordering::Relaxed);
        following(past()).take(map(&[(0, half, 1), (half + 1, last, 2)]));
        assert_eq!([1, 2].map(least), [0, 0], "nothing has changed");
        let next = following(past());
        next.take(map(&[(0, last - 1, 1), (last, last, 3)]));
        assert_eq!([1, 2, 3].map(least), [1, 1, 0], "and one is gone");
        assert_eq!(next.routes.load().nodes[0].marked, last - 1);
        // It is noticed once.
        following(past()).take(map(&[(0, last - 1, 1), (last, last, 3)]));
        assert_eq!([1, 2, 3].map(least), [1, 1, 0]);
    }

    /// What is wrong with the cluster as a whole is counted each time, and said once.
    #[tokio::test]
    async fn slots_that_nobody_has_are_told_of() {
        let (lines, _guard) = heard();
        let keeper = keeper();
        let troubles = |label: &str| {
            let place = Trouble::LABELS.iter().position(|known| *known == label).expect("a label");
            keeper.shared.tally.counts().troubles[place]
        };
        let said = |words: &str| lines.take().iter().filter(|line| line.contains(words)).count();
        let some = [(1, SLOTS - 1, 1)];
        let missing = || matches!(keeper.condition().health(), Health::Away { trouble: Trouble::NoSlot, .. });
        keeper.take(map(&some));
        assert!(missing() && said("server=\"cluster\" reason=\"no_slot\"") == 1 && troubles("no_slot") == 1);
        keeper.take(map(&some));
        for port in 1..9 {
            keeper
                .complain(Unheard { node: Some(at(port)), trouble: Trouble::Unreachable(format!("{port}")) });
        }
        keeper.take(map(&some));
        assert!(missing() && troubles("no_slot") == 3 && troubles("unreachable") == 8);
        let log = lines.take();
        let [line] = &log[..] else { panic!("{log:?}") };
        assert!(line.contains("server=\"cluster\" node=127.0.0.1:1 reason=\"unreachable\""), "{line}");
        keeper.take(map(&[(0, SLOTS - 1, 1)]));
        assert_eq!(*keeper.condition().health(), Health::Usable);
    }

    /// A cluster was set up anew at another address, and the one before answers again: it knows nothing of what was used meanwhile.
    #[tokio::test]
    async fn a_master_that_was_gone_has_another_memory() {
        let keeper = keeper();
        let least = |port| keeper.shared.past.least(Some(&at(port))).load(Ordering::Relaxed);
        let begin = |port, begins| {
            keeper.take(map(&[(0, SLOTS - 1, port)]));
            let identity = Identity::new(b"r", b"h", b"0");
            let bounds = Bounds::default();
            keeper.shared.past.learn(&Memory {
                identity,
                key: Vec::new(),
                value: Vec::new(),
                begins,
                bounds,
            });
        };
        begin(1, 100);
        begin(2, 200);
        keeper.take(map(&[(0, SLOTS - 1, 1)]));
        assert_eq!([least(1), least(2)], [101, 201], "later than what each had when it went");
    }

    /// One server that goes by two names, which its cluster tells by turns, has one memory all the time.
    #[tokio::test]
    async fn a_master_that_is_there_by_another_name_has_lost_nothing() {
        let bus = format!("cluster-port {}", free_port());
        let server = Server::start(&["cluster-enabled yes", &bus]);
        assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
        server.wait_for(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"));
        let keeper = keeper();
        let names =
            ["127.0.0.1", "localhost"].map(|host| RedisEndpoint { host: host.into(), port: server.port });
        for name in names.iter().cycle().take(4) {
            let mut map = SlotMap::new();
            map.give(0, SLOTS - 1, name).expect("slots that nobody has");
            keeper.take(map);
            let end = Instant::now() + Duration::from_secs(20);
            while !keeper.routes.load().nodes[0].lanes.is_usable() {
                assert!(Instant::now() < end, "{:?}", keeper.routes.load().nodes[0].lanes.server());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let begins = names.map(|name| keeper.shared.past.least(Some(&name)).load(Ordering::Relaxed));
        assert!(begins[0] == begins[1] && begins[0] == keeper.shared.past.began(), "{begins:?}");
    }

    /// A store that a reload has replaced asks nobody any more, by its old password or whatever else.
    #[tokio::test]
    async fn one_that_has_ended_does_not_look() {
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = here.local_addr().expect("an address").port();
        let servers = RedisServers::Cluster(vec![at(port)]);
        let settings = Arc::new(settings(servers, RedisWire::Plain));
        let shared = Arc::new(Shared::new(settings, Bounds::default(), Clock::system(), Past::begin(0)));
        let cluster = Cluster::start(&[at(port)], &shared);
        // It is looked at when it starts, and when it is doubted.
        let is_asked = || tokio::time::timeout(Duration::from_secs(2), here.accept());
        assert!(is_asked().await.is_ok());
        cluster.doubted.notify_one();
        assert!(is_asked().await.is_ok());
        shared.end.cancel();
        cluster.doubted.notify_one();
        assert!(is_asked().await.is_err());
    }
}
