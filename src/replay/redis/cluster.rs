//! Which node of a cluster a claim goes to, and what becomes of it where the slot is elsewhere.
//!
//! A node that does not have a slot refuses to claim in it (`MOVED`, `ASK`) and has not done it, so another may be asked: the one it names, if that was vetted. A claim that
//! may have been made is never sent again. Keys that are moved are never in two places: the old node answers for what it still has, and only of what it has not says `ASK`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Kind;
use super::batch::{Answer, Redirect};
use super::connect::announced;
use super::lane::{Lanes, Place, Shared};
use super::memory::Names;
use super::scout::{Scout, View};
use super::slots::{SLOTS, SlotMap, slot, tag_in};
use super::state::{Health, Missing, Server};
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
    routes: Arc<ArcSwap<Routes>>,
    /// Something does not fit what is known.
    doubted: Arc<Notify>,
    /// Rings when it was looked at.
    news: Arc<Notify>,
    /// Whether all of it was usable at one time.
    was_whole: AtomicBool,
    _ends: DropGuard,
}

/// What is known of the cluster.
#[derive(Debug)]
struct Routes {
    map: SlotMap,
    /// One for each master of the map, in their order.
    nodes: Vec<Arc<Node>>,
    /// What is wrong with the cluster as a whole.
    health: Health,
    /// While nobody has a slot, the proofs in it cannot be asked about.
    _missing: Option<Missing>,
}

impl Routes {
    fn new(map: SlotMap, nodes: Vec<Arc<Node>>, health: Health, shared: &Shared) -> Self {
        // While nobody tells of the nodes, those that are known go on.
        let missing = (!map.is_whole()).then(|| Missing::new(&shared.absences));
        Self { map, nodes, health, _missing: missing }
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

impl Cluster {
    /// The cluster that `seeds` are nodes of. Waits for nothing.
    pub(super) fn start(seeds: &[RedisEndpoint], shared: &Arc<Shared>) -> Self {
        let nothing = Routes::new(SlotMap::new(), Vec::new(), Health::Connecting, shared);
        let routes = Arc::new(ArcSwap::from_pointee(nothing));
        let (doubted, news) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let end = CancellationToken::new();
        let scout = Scout::new(seeds, Arc::clone(shared));
        let keeper = Keeper {
            shared: Arc::clone(shared),
            routes: Arc::clone(&routes),
            doubted: Arc::clone(&doubted),
            news: Arc::clone(&news),
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(keeper.keep_looking(scout)));
        let was_whole = AtomicBool::new(false);
        Self { shared: Arc::clone(shared), routes, doubted, news, was_whole, _ends: end.drop_guard() }
    }

    /// Whether there is a vetted connection to the node that has this key.
    pub(super) fn is_usable(&self, key: &[u8; 16]) -> bool {
        self.node_of(key).is_some_and(|node| node.lanes.is_usable())
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
        let whole = [self.shared.settings.prefix.as_bytes(), key].concat();
        let routes = self.routes.load();
        routes.nodes.get(routes.map.owner(slot(&whole))?).map(Arc::clone)
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
        let routes = self.routes.load();
        let whole = Server { place: "cluster".into(), health: routes.health.clone(), clock_difference: None };
        let wrong = Some(whole).filter(|whole| whole.health != Health::Usable);
        wrong.into_iter().chain(routes.nodes.iter().map(|node| node.lanes.server())).collect()
    }

    /// Whether all of it was usable at one time.
    pub(super) fn first_contact(&self) -> bool {
        if self.was_whole.load(Ordering::Relaxed) {
            return true;
        }
        let routes = self.routes.load();
        let whole = routes.health == Health::Usable && routes.nodes.iter().all(|node| node.lanes.is_usable());
        self.was_whole.fetch_or(whole, Ordering::Relaxed);
        whole
    }
}

/// Keeps what is known up to date.
struct Keeper {
    shared: Arc<Shared>,
    routes: Arc<ArcSwap<Routes>>,
    doubted: Arc<Notify>,
    news: Arc<Notify>,
}

impl Keeper {
    async fn keep_looking(self, mut scout: Scout) {
        loop {
            let known = self.routes.load().map.masters().to_vec();
            match scout.look(&known).await {
                Ok(view) => self.take(view),
                Err(trouble) => self.complain(trouble),
            }
            scout.rest(&self.doubted).await;
        }
    }

    /// Lanes to the masters of today. Those that were there stay; the others end, with what is in flight on them answered as unavailable.
    fn take(&self, View { map, .. }: View) {
        let before = self.routes.load_full();
        let nodes = map.masters().iter().filter_map(|endpoint| self.node(endpoint, &map, &before)).collect();
        let health = match map.is_whole() {
            true => Health::Usable,
            false => self.away(&before.health, Trouble::NoSlot),
        };
        if before.map.masters() != map.masters() {
            tracing::info!(
                masters = map.masters().len(),
                "replay.redis: the masters of the cluster are others"
            );
        }
        self.routes.store(Arc::new(Routes::new(map, nodes, health, &self.shared)));
        self.news.notify_waiters();
    }

    fn node(&self, endpoint: &RedisEndpoint, map: &SlotMap, before: &Routes) -> Option<Arc<Node>> {
        let known = before.nodes.iter().find(|node| node.endpoint == *endpoint);
        // A marker in a slot that came with its keys, or without, is not this node's: it has to be marked anew, and so begins a memory behind whatever may have been lost.
        let inherited = map.inherited(&before.map, endpoint);
        let end = match known {
            Some(node) if inherited.is_none() && map.master_of(node.marked) == Some(endpoint) => {
                // While the slot of the marker is moved, the marker may be on either side.
                let is_moving =
                    matches!(node.lanes.server().health, Health::Away { trouble: Trouble::NoSlot, .. });
                if !is_moving {
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
    fn complain(&self, trouble: Trouble) {
        let before = self.routes.load_full();
        if !matches!(&before.health, Health::Away { trouble: known, .. } if *known == trouble) {
            tracing::warn!(%trouble, "replay.redis: the cluster cannot be asked for its nodes");
            self.shared.tally.count_trouble(&trouble);
        }
        let health = self.away(&before.health, trouble);
        let routes = Routes::new(before.map.clone(), before.nodes.clone(), health, &self.shared);
        self.routes.store(Arc::new(routes));
    }

    fn away(&self, before: &Health, trouble: Trouble) -> Health {
        let since = match before {
            Health::Away { since, .. } => *since,
            Health::Connecting | Health::Usable => self.shared.clock.precise(),
        };
        Health::Away { since, trouble }
    }
}
