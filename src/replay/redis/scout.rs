//! What a cluster's nodes say of it: who is master of which slots (`CLUSTER SLOTS`, `CLUSTER INFO`).
//!
//! A node that was cut off still tells what was so before. Its own word that the cluster is well, and the number of the latest change it has heard of, tell whether it may be believed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::Connector;
use super::lane::Shared;
use super::resp::{Reply, field};
use super::slots::SlotMap;
use super::trouble::Trouble;
use crate::config::{RedisEndpoint, RedisLogin};

/// How often a cluster is looked at where nothing seems to have changed.
const EVERY: Duration = Duration::from_secs(5);
/// Between two looks at least, however many claims are sent on.
const SELDOM: Duration = Duration::from_millis(100);
/// How many nodes are asked at the same time; the first good answer is enough.
const AT_A_TIME: usize = 3;
/// How long nodes may go on telling less than was heard before, until it is no longer so: a node that was cut off says of itself that it is not well after
/// `cluster-node-timeout`, which is 15 s where nobody has set it.
const OUTDATED: Duration = Duration::from_secs(60);

/// The cluster, as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The number of the latest change that the node has heard of.
    pub(super) epoch: u64,
    /// Who has what.
    pub(super) map: SlotMap,
}

/// Nobody could be believed.
#[derive(Debug)]
pub(super) struct Unheard {
    /// The last who was asked.
    pub(super) node: Option<RedisEndpoint>,
    /// What was wrong with it.
    pub(super) trouble: Trouble,
}

/// Asks nodes by turns.
pub(super) struct Scout {
    shared: Arc<Shared>,
    seeds: Vec<RedisEndpoint>,
    /// Since when nobody who answers has heard of the latest change that was heard of.
    outdated: Option<Instant>,
    /// How often was asked, so that it is not always the same node.
    turn: usize,
    looked: Instant,
}

impl Scout {
    /// One that knows these nodes to begin with.
    pub(super) fn new(seeds: &[RedisEndpoint], shared: Arc<Shared>) -> Self {
        Self { shared, seeds: seeds.to_vec(), outdated: None, turn: 0, looked: Instant::now() }
    }

    /// What the cluster is like, by a node of `known` or of the configuration.
    ///
    /// # Errors
    /// What was wrong with the last of them, when none could be believed.
    pub(super) async fn look(&mut self, known: &[RedisEndpoint]) -> Result<View, Unheard> {
        self.looked = Instant::now();
        self.turn = self.turn.wrapping_add(1);
        let mut nodes = known.to_vec();
        nodes.rotate_left(self.turn.checked_rem(known.len()).unwrap_or(0));
        nodes.extend(self.seeds.iter().filter(|seed| !known.contains(seed)).cloned());
        let (mut older, mut wrong) = (None::<View>, None);
        for some in nodes.chunks(AT_A_TIME) {
            let mut asked = JoinSet::new();
            for node in some {
                let (node, shared) = (node.clone(), Arc::clone(&self.shared));
                asked.spawn(async move {
                    let view = ask(&shared.connector, &node, shared.settings.login.as_ref()).await;
                    view.map_err(|trouble| Unheard { node: Some(node), trouble })
                });
            }
            while let Some(answer) = asked.join_next().await {
                match answer {
                    Ok(Ok(view)) if view.epoch >= self.shared.past.epoch() => {
                        return Ok(self.believe(view));
                    }
                    Ok(Ok(view)) => {
                        older = older.filter(|older| older.epoch >= view.epoch).or(Some(view));
                    }
                    Ok(Err(unheard)) => wrong = Some(unheard),
                    Err(ended) => {
                        wrong = Some(Unheard { node: None, trouble: Trouble::Broken(ended.to_string()) });
                    }
                }
            }
        }
        let Some(view) = older else {
            self.outdated = None;
            return Err(wrong.unwrap_or(Unheard { node: None, trouble: Trouble::NoSlot }));
        };
        let since = *self.outdated.get_or_insert(self.looked);
        match wrong {
            // Nobody has heard of what we have, neither everyone nor, for long, those that are there: the cluster was set up again, and nodes of the one before may never answer.
            Some(unheard) if self.looked.duration_since(since) < OUTDATED => Err(unheard),
            Some(_) | None => Ok(self.believe(view)),
        }
    }

    fn believe(&mut self, view: View) -> View {
        self.outdated = None;
        self.shared.past.believe(view.epoch);
        view
    }

    /// Waits until it is time to look again, which is soon when something is `doubted`.
    pub(super) async fn rest(&self, doubted: &Notify) {
        tokio::select! {
            () = tokio::time::sleep_until(self.looked + EVERY) => {}
            () = doubted.notified() => tokio::time::sleep_until(self.looked + SELDOM).await,
        }
    }
}

/// What one node says.
async fn ask(
    connector: &Connector,
    node: &RedisEndpoint,
    login: Option<&RedisLogin>,
) -> Result<View, Trouble> {
    let mut link = connector.log_in(node, login).await?;
    let epoch = match link.ask(&[b"CLUSTER", b"INFO"]).await? {
        Reply::Bulk(info) => epoch(info)?,
        Reply::Error(words) if words.starts_with(b"ERR This instance has cluster support disabled") => {
            return Err(Trouble::NoCluster);
        }
        Reply::Error(words) => return Err(Trouble::of_error(words)),
        _ => return Err(Trouble::NotRedis),
    };
    let slots = link.demand(&[b"CLUSTER", b"SLOTS"]).await?;
    let map = SlotMap::read(&slots, node)
        .ok_or_else(|| Trouble::Broken("CLUSTER SLOTS names no masters and slots".into()))?;
    Ok(View { epoch, map })
}

/// The latest change that a node has heard of, if it is well. One that misses most of the others says of itself that it is not, after `cluster-node-timeout`.
fn epoch(info: &[u8]) -> Result<u64, Trouble> {
    if field(info, "cluster_state") != Some(b"ok") {
        return Err(Trouble::ClusterDown);
    }
    let number = field(info, "cluster_current_epoch")
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.ok_or_else(|| Trouble::Broken("CLUSTER INFO names no epoch".into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::past::Past;
    use super::super::tests::{bounds, settings};
    use super::*;
    use crate::clock::Clock;
    use crate::config::{RedisServers, RedisWire};

    /// A node that has all slots and has heard of this change.
    async fn node(epoch: u64) -> (RedisEndpoint, tokio::task::JoinHandle<()>) {
        let here = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = here.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = here.accept().await.expect("a connection");
                let info = format!("cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n");
                let info = format!("${}\r\n{info}\r\n", info.len());
                let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
                for answer in ["+PONG\r\n", &info, &slots] {
                    let mut asked = [0; 256];
                    assert_ne!(stream.read(&mut asked).await.expect("no error"), 0);
                    stream.write_all(answer.as_bytes()).await.expect("open");
                }
            }
        });
        (RedisEndpoint { host: "127.0.0.1".into(), port }, serving)
    }

    /// A cluster that was set up again at other addresses has heard of fewer changes, and its nodes of before never answer again. Some that were cut off look the same, for a while.
    #[tokio::test]
    async fn a_cluster_that_was_set_up_again_is_found_again() {
        let ((before, serving), (after, _other)) = (node(9).await, node(3).await);
        let settings = settings(RedisServers::Cluster(vec![after.clone()]), RedisWire::Plain);
        let own = bounds(&settings);
        let shared = Shared::new(Arc::new(settings), own, Clock::system(), Past::begin(0));
        let mut scout = Scout::new(std::slice::from_ref(&after), Arc::new(shared));
        scout.shared.past.believe(8);
        let known = [before];
        assert_eq!(scout.look(&known).await.expect("a view").epoch, 9);
        serving.abort();
        let _ = serving.await;
        for _ in 0..2 {
            assert!(scout.look(&known).await.is_err(), "it may have been cut off");
        }
        scout.outdated = scout.outdated.and_then(|since| since.checked_sub(OUTDATED));
        assert_eq!(scout.look(&known).await.expect("a view").map.masters(), [after]);
        assert_eq!((scout.shared.past.epoch(), scout.outdated), (3, None));
    }

    /// One look in which silent nodes were waited for is one look, however long it took; and what was believed is believed after a reload.
    #[tokio::test]
    async fn what_was_heard_for_long_was_heard_at_the_beginning_of_a_look() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let known = [RedisEndpoint { host: "127.0.0.1".into(), port }];
        let (after, serving) = node(3).await;
        let servers = RedisServers::Cluster(vec![after.clone()]);
        let settings = settings(servers, RedisWire::Plain);
        let settings = crate::config::Redis { timeout: Duration::from_secs(2), ..settings };
        let own = bounds(&settings);
        let past = Past::begin(0);
        past.believe(8);
        let mut scout =
            Scout::new(&[after], Arc::new(Shared::new(Arc::new(settings), own, Clock::system(), past)));
        scout.outdated = (Instant::now() + Duration::from_secs(1)).checked_sub(OUTDATED);
        assert!(scout.look(&known).await.is_err(), "a second was missing");
        assert_eq!(scout.look(&known).await.expect("a view").epoch, 3);
        // Where nobody answers in between, it begins anew.
        scout.outdated = Some(Instant::now());
        serving.abort();
        let _ = serving.await;
        assert!(scout.look(&known).await.is_err() && scout.outdated.is_none());
    }

    #[test]
    fn a_node_that_is_not_well_is_not_believed() {
        assert_eq!(epoch(b"cluster_state:ok\r\ncluster_current_epoch:6\r\ncluster_my_epoch:2\r\n"), Ok(6));
        assert_eq!(epoch(b"cluster_state:fail\r\ncluster_current_epoch:6\r\n"), Err(Trouble::ClusterDown));
        assert_eq!(epoch(b"cluster_current_epoch:6\r\n"), Err(Trouble::ClusterDown));
        for strange in [&b"cluster_state:ok\r\n"[..], b"cluster_state:ok\r\ncluster_current_epoch:x\r\n"] {
            assert!(matches!(epoch(strange), Err(Trouble::Broken(_))));
        }
    }
}
