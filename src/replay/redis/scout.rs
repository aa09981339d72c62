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
    /// The latest change that was heard of.
    epoch: u64,
    /// How often was asked, so that it is not always the same node.
    turn: usize,
    looked: Instant,
}

impl Scout {
    /// One that knows these nodes to begin with.
    pub(super) fn new(seeds: &[RedisEndpoint], shared: Arc<Shared>) -> Self {
        Self { shared, seeds: seeds.to_vec(), epoch: 0, turn: 0, looked: Instant::now() }
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
                    Ok(Ok(view)) if view.epoch >= self.epoch => {
                        self.epoch = view.epoch;
                        return Ok(view);
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
        match (older, wrong) {
            // Everyone was heard, and nobody has heard of what we have: the cluster was set up again.
            (Some(view), None) => {
                self.epoch = view.epoch;
                Ok(view)
            }
            (_, Some(unheard)) => Err(unheard),
            (None, None) => Err(Unheard { node: None, trouble: Trouble::NoSlot }),
        }
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
    use super::{Trouble, epoch};

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
