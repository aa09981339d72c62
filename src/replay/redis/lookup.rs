//! The addresses of a server's name: asked anew for each connection, but never while the same is being asked.
//!
//! The system's resolver cannot be told to stop. Where it waits for half a minute on name servers that are gone, each attempt that gave up meanwhile would leave it a thread, and all servers
//! together would use up those that the process has for this and for reading files. One that never comes back is given up after a minute, so that a resolver that is well again is asked;
//! the next after two, and so on, so that they do not pile up either.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::Instant;

use super::trouble::Trouble;
use crate::config::RedisEndpoint;

/// What the resolver says; `None` while it has not.
type Said = Option<Result<Vec<SocketAddr>, Trouble>>;

/// How long a lookup is waited for until the same is asked again. The system's resolver takes half a minute where all name servers are gone.
const LOST: Duration = Duration::from_secs(60);
/// The same for one that follows many that were lost: a day of them is few threads.
const LONGEST: Duration = Duration::from_secs(3600);

/// A lookup that is under way, and when it is given up, and for how long the one after it is waited for.
#[derive(Clone)]
struct Lookup {
    answer: watch::Receiver<Said>,
    lost: Instant,
    next: Duration,
}

/// What is being asked. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Lookups(Arc<Mutex<HashMap<RedisEndpoint, Lookup>>>);

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
        let before = asked.get(endpoint).filter(|lookup| lookup.answer.has_changed().is_ok());
        if let Some(lookup) = before.filter(|lookup| Instant::now() < lookup.lost) {
            return lookup.answer.clone();
        }
        let patience = before.map_or(LOST, |lookup| lookup.next);
        let (tell, answer) = watch::channel(None);
        let (lost, next) = (Instant::now() + patience, patience.saturating_mul(2).min(LONGEST));
        asked.insert(endpoint.clone(), Lookup { answer: answer.clone(), lost, next });
        let (lookups, endpoint, own) = (self.clone(), endpoint.clone(), answer.clone());
        tokio::spawn(async move {
            let said = lookup.await;
            // Who comes from here on asks anew, unless somebody has by now.
            let mut asked = lookups.asked();
            if asked.get(&endpoint).is_some_and(|lookup| lookup.answer.same_channel(&own)) {
                asked.remove(&endpoint);
            }
            drop(asked);
            tell.send_replace(Some(said));
        });
        answer
    }

    /// Nothing panics while this is held that would leave it half-written.
    fn asked(&self) -> MutexGuard<'_, HashMap<RedisEndpoint, Lookup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    type Asking = std::pin::Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, Trouble>> + Send>>;

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

    /// One that never comes back, as of a name service that hangs, stands in nobody's way for ever; and comes it after all, then in nobody's.
    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_is_lost_is_asked_again() {
        let lookups = Lookups::default();
        let endpoint = RedisEndpoint { host: "one".into(), port: 6379 };
        let gate = Arc::<Notify>::default();
        let [first, second] = [1, 2].map(|number| Ok(vec![SocketAddr::from(([127, 0, 0, number], 6379))]));
        let at_last = {
            let (gate, first) = (Arc::clone(&gate), first.clone());
            async move {
                gate.notified().await;
                first
            }
        };
        let wait = |lookup| timeout(Duration::from_secs(50), lookup);
        assert!(wait(lookups.once(&endpoint, Box::pin(at_last) as Asking)).await.is_err());
        let never = Box::pin(std::future::pending());
        assert!(wait(lookups.once(&endpoint, never)).await.is_err(), "it is waited for");
        let held = Arc::<Notify>::default();
        let late = {
            let (held, second) = (Arc::clone(&held), second.clone());
            Box::pin(async move {
                held.notified().await;
                second
            })
        };
        assert!(wait(lookups.once(&endpoint, late)).await.is_err());
        // The lost one does not take away what was asked since.
        gate.notify_one();
        tokio::task::yield_now().await;
        held.notify_one();
        let never = Box::pin(std::future::pending());
        assert_eq!(wait(lookups.once(&endpoint, never)).await, Ok(second));
    }

    /// Each that is lost keeps a thread.
    #[tokio::test(start_paused = true)]
    async fn lookups_that_are_lost_are_few() {
        let (lookups, asked) = (Lookups::default(), Arc::<AtomicUsize>::default());
        let endpoint = RedisEndpoint { host: "one".into(), port: 6379 };
        for _minute in 0..24 * 60 {
            let asked = Arc::clone(&asked);
            let lookup = async move {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            };
            assert!(timeout(Duration::from_secs(60), lookups.once(&endpoint, lookup)).await.is_err());
        }
        let asked = asked.load(Ordering::Relaxed);
        assert!((20..=30).contains(&asked), "{asked}");
    }
}
