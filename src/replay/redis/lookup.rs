//! The addresses of a server's name: asked anew for each connection, but never while the same is being asked.
//!
//! The system's resolver cannot be told to stop. Where it waits for half a minute on name servers that are gone, each attempt that gave up meanwhile would leave it a thread, and all servers
//! together would use up those that the process has for this and for reading files.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::lookup_host;
use tokio::sync::watch;

use super::trouble::Trouble;
use crate::config::RedisEndpoint;

/// What the resolver says; `None` while it has not.
type Said = Option<Result<Vec<SocketAddr>, Trouble>>;

/// What is being asked. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Lookups(Arc<Mutex<HashMap<RedisEndpoint, watch::Receiver<Said>>>>);

impl Lookups {
    /// The addresses of the endpoint's host, with its port. How long it may take is the caller's to bound; the answer then serves who asks next.
    ///
    /// # Errors
    /// [`Trouble::Unreachable`]
    pub(super) async fn addresses(&self, endpoint: &RedisEndpoint) -> Result<Vec<SocketAddr>, Trouble> {
        let place = (endpoint.host.clone(), endpoint.port);
        self.once(endpoint, async move { Ok(lookup_host(place).await?.collect()) }).await
    }

    /// Does `lookup`, or waits for the one that is under way.
    async fn once(
        &self,
        endpoint: &RedisEndpoint,
        lookup: impl Future<Output = Result<Vec<SocketAddr>, Trouble>> + Send + 'static,
    ) -> Result<Vec<SocketAddr>, Trouble> {
        let mut answer = self.under_way(endpoint, lookup);
        let said = answer.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        said.unwrap_or_else(|| Err(Trouble::Unreachable("looking up its name broke off".into())))
    }

    fn under_way(
        &self,
        endpoint: &RedisEndpoint,
        lookup: impl Future<Output = Result<Vec<SocketAddr>, Trouble>> + Send + 'static,
    ) -> watch::Receiver<Said> {
        let mut asked = self.asked();
        // One whose task has ended without a word is over.
        if let Some(answer) = asked.get(endpoint).filter(|answer| answer.has_changed().is_ok()) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        asked.insert(endpoint.clone(), answer.clone());
        let (lookups, endpoint) = (self.clone(), endpoint.clone());
        tokio::spawn(async move {
            let said = lookup.await;
            // Who comes from here on asks anew.
            lookups.asked().remove(&endpoint);
            tell.send_replace(Some(said));
        });
        answer
    }

    /// Nothing panics while this is held that would leave it half-written.
    fn asked(&self) -> MutexGuard<'_, HashMap<RedisEndpoint, watch::Receiver<Said>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_at_a_time() {
        let (lookups, asked, gate) =
            (Lookups::default(), Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let at = |host: &str| RedisEndpoint { host: host.into(), port: 6379 };
        let lookup = |name: &'static str| {
            let (asked, gate, lookups) = (Arc::clone(&asked), Arc::clone(&gate), lookups.clone());
            async move {
                let slow = async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    gate.notified().await;
                    Ok(vec![SocketAddr::from(([127, 0, 0, 1], 6379))])
                };
                lookups.once(&at(name), slow).await
            }
        };
        // Each of these gives up.
        for _ in 0..5 {
            assert!(timeout(Duration::from_millis(1), lookup("one")).await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(timeout(Duration::from_millis(1), lookup("other")).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 2, "another name waits for nobody");
        gate.notify_waiters();
        let answer = timeout(Duration::from_secs(9), lookup("one")).await.expect("it was under way");
        assert_eq!((answer.map(|addresses| addresses.len()), asked.load(Ordering::Relaxed)), (Ok(1), 2));
        assert!(lookups.asked().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn a_lookup_that_breaks_off_is_no_end() {
        let lookups = Lookups::default();
        let endpoint = RedisEndpoint { host: "127.0.0.1".into(), port: 6379 };
        let broken = lookups.once(&endpoint, async { panic!("on purpose") }).await;
        assert!(matches!(broken, Err(Trouble::Unreachable(_))));
        let there = SocketAddr::from(([127, 0, 0, 1], 6379));
        assert_eq!(lookups.addresses(&endpoint).await, Ok(vec![there]));
    }
}
