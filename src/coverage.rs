//! Who presents what, by route and client: what an operator has to know on the way from bearer to bound.
//!
//! A request that is let through, or refused for an unbound token alone, counts once. Counting takes no lock and no memory once its client is known: a load, a look-up, and
//! additions. Memory has an end: so many clients by name a route, and the rest together. Clients are named by `client_id` of a token that its issuer has vouched
//! for; two issuers that name two clients alike have them counted as one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::verify::enforcement::Unenforced;
use crate::verify::proof::Binding;
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use report::{Name, Requests};

pub mod report;
pub mod wording;

/// The most clients that a route counts by name.
pub const CLIENTS: usize = 1000;
/// The longest name, in bytes; a client with a longer one is counted with the rest.
pub const NAME_BYTES: usize = 256;

/// What a request came with, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// An unbound token, let through by a report-only route.
    Bearer,
    /// A token and its DPoP proof.
    Dpop,
    /// A token and its certificate.
    Mtls,
    /// A token, its DPoP proof and its certificate.
    Both,
    /// An unbound token, refused for that: on a route that is enforced, or in a way that none lets through.
    Refused,
}

impl Shown {
    /// What a request with a permit came with.
    pub const fn of(binding: &Binding) -> Self {
        match binding {
            Binding::Nothing(_) => Shown::Bearer,
            Binding::Key(_) => Shown::Dpop,
            Binding::Certificate(_) => Shown::Mtls,
            Binding::Both(..) => Shown::Both,
        }
    }

    /// What a request without one came with, where that is what it was refused for. Other refusals say nothing of whether a client can bind.
    pub fn of_refused(rejection: Rejection) -> Option<Self> {
        (rejection == Unenforced::REFUSAL).then_some(Shown::Refused)
    }
}

/// What one client has sent. Times are seconds since 1970; `i64::MAX` and `i64::MIN` stand for never.
#[derive(Debug)]
struct Counts {
    bearer: AtomicU64,
    dpop: AtomicU64,
    mtls: AtomicU64,
    both: AtomicU64,
    refused: AtomicU64,
    first_bearer: AtomicI64,
    last_bearer: AtomicI64,
    last_refused: AtomicI64,
    last_bound: AtomicI64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            bearer: AtomicU64::new(0),
            dpop: AtomicU64::new(0),
            mtls: AtomicU64::new(0),
            both: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first_bearer: AtomicI64::new(i64::MAX),
            last_bearer: AtomicI64::new(i64::MIN),
            last_refused: AtomicI64::new(i64::MIN),
            last_bound: AtomicI64::new(i64::MIN),
        }
    }
}

impl Counts {
    fn count(&self, shown: Shown, now: i64) {
        let (number, last) = match shown {
            Shown::Bearer => {
                self.first_bearer.fetch_min(now, Ordering::Relaxed);
                (&self.bearer, &self.last_bearer)
            }
            Shown::Dpop => (&self.dpop, &self.last_bound),
            Shown::Mtls => (&self.mtls, &self.last_bound),
            Shown::Both => (&self.both, &self.last_bound),
            Shown::Refused => (&self.refused, &self.last_refused),
        };
        number.fetch_add(1, Ordering::Relaxed);
        // Once a second; the others of that second only look.
        if last.load(Ordering::Relaxed) < now {
            last.fetch_max(now, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Requests {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let time =
            |of: &AtomicI64| Some(of.load(Ordering::Relaxed)).filter(|&at| at != i64::MAX && at != i64::MIN);
        Requests {
            bearer: number(&self.bearer),
            dpop: number(&self.dpop),
            mtls: number(&self.mtls),
            both: number(&self.both),
            refused: number(&self.refused),
            first_bearer: time(&self.first_bearer),
            last_bearer: time(&self.last_bearer),
            last_refused: time(&self.last_refused),
            last_bound: time(&self.last_bound),
        }
    }
}

/// What the callers of one route have sent since it was first there. It outlives a reload and not the process.
#[derive(Debug)]
pub struct Coverage {
    since: UnixTime,
    clients: ArcSwap<HashMap<Arc<str>, Arc<Counts>>>,
    /// One client more at a time. Who is known already never waits.
    adding: Mutex<()>,
    /// Those whose tokens have no `client_id`.
    nameless: Counts,
    /// Those beyond [`CLIENTS`] and [`NAME_BYTES`].
    others: Counts,
}

impl Coverage {
    /// Nothing counted, from now on.
    pub fn new(since: UnixTime) -> Self {
        Self {
            since,
            clients: ArcSwap::default(),
            adding: Mutex::default(),
            nameless: Counts::default(),
            others: Counts::default(),
        }
    }

    /// Since when it counts.
    pub const fn since(&self) -> UnixTime {
        self.since
    }

    /// Counts a request of `client`, which is `client_id` of its verified token.
    pub fn count(&self, client: Option<&str>, shown: Shown, now: UnixTime) {
        let now = now.seconds();
        let Some(name) = client else { return self.nameless.count(shown, now) };
        let clients = self.clients.load();
        match clients.get(name) {
            Some(counts) => counts.count(shown, now),
            None if clients.len() >= CLIENTS || name.len() > NAME_BYTES => self.others.count(shown, now),
            None => match self.add(name) {
                Some(counts) => counts.count(shown, now),
                None => self.others.count(shown, now),
            },
        }
    }

    /// The place of a client that was not known a moment ago; `None` where there is none left. It copies the list, which it does [`CLIENTS`] times at most.
    fn add(&self, name: &str) -> Option<Arc<Counts>> {
        let _one = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = self.clients.load_full();
        if let Some(counts) = clients.get(name) {
            return Some(Arc::clone(counts));
        }
        if clients.len() >= CLIENTS {
            return None;
        }
        let (mut next, counts) = (HashMap::clone(&clients), Arc::<Counts>::default());
        next.insert(Arc::from(name), Arc::clone(&counts));
        self.clients.store(Arc::new(next));
        Some(counts)
    }

    /// What was counted, for everyone of whom something was.
    pub fn read(&self) -> Vec<(Name, Requests)> {
        let clients = self.clients.load();
        let named = clients.iter().map(|(name, counts)| (Name::Client(name.to_string()), counts.read()));
        let rest = [(Name::Nameless, self.nameless.read()), (Name::Others, self.others.read())];
        named.chain(rest).filter(|(_, requests)| requests.total() > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

    fn of(coverage: &Coverage, name: &Name) -> Requests {
        coverage
            .read()
            .into_iter()
            .find(|(one, _)| one == name)
            .map_or(Requests::default(), |(_, requests)| requests)
    }

    #[test]
    fn each_client_has_its_own_numbers_and_times() {
        let coverage = Coverage::new(NOW);
        for (client, shown, at) in [
            (Some("a"), Shown::Bearer, 5),
            (Some("a"), Shown::Bearer, 3),
            (Some("a"), Shown::Bearer, 9),
            (Some("a"), Shown::Dpop, 4),
            (Some("b"), Shown::Mtls, 1),
            (Some("b"), Shown::Both, 2),
            (None, Shown::Refused, 7),
        ] {
            coverage.count(client, shown, NOW.plus(at));
        }
        let at = |seconds| Some(NOW.plus(seconds).seconds());
        assert_eq!(
            of(&coverage, &Name::Client("a".into())),
            Requests {
                bearer: 3,
                dpop: 1,
                first_bearer: at(3),
                last_bearer: at(9),
                last_bound: at(4),
                ..Requests::default()
            }
        );
        assert_eq!(
            of(&coverage, &Name::Client("b".into())),
            Requests { mtls: 1, both: 1, last_bound: at(2), ..Requests::default() }
        );
        assert_eq!(
            of(&coverage, &Name::Nameless),
            Requests { refused: 1, last_refused: at(7), ..Requests::default() }
        );
        assert_eq!(coverage.read().len(), 3, "nobody has not sent anything");
    }

    #[test]
    fn memory_has_an_end_and_nobody_is_lost() {
        let coverage = Coverage::new(NOW);
        coverage.count(Some(&"x".repeat(NAME_BYTES + 1)), Shown::Bearer, NOW);
        coverage.count(Some(&"x".repeat(NAME_BYTES)), Shown::Bearer, NOW);
        for round in 0..2 {
            for number in 0..2 * CLIENTS {
                coverage.count(Some(&format!("c{number}")), Shown::Bearer, NOW.plus(round));
            }
        }
        let read = coverage.read();
        assert_eq!(read.len(), CLIENTS + 1);
        assert_eq!(read.iter().map(|(_, requests)| requests.bearer).sum::<u64>(), 2 + 4 * CLIENTS as u64);
        // Those who were first keep their places.
        assert_eq!(of(&coverage, &Name::Client("c0".into())).bearer, 2);
        assert_eq!(of(&coverage, &Name::Others).bearer, 1 + 2 * (CLIENTS as u64 + 1));
        assert_eq!(coverage.clients.load().len(), CLIENTS);
    }

    /// Threads that come with the same clients at once, behind a barrier: each request is counted, and no client twice.
    #[test]
    fn counts_of_several_threads_add_up() {
        const THREADS: usize = 4;
        let coverage = Coverage::new(NOW);
        let begin = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    for number in 0..500 {
                        coverage.count(Some(&format!("c{number}")), Shown::Dpop, NOW);
                    }
                });
            }
        });
        let read = coverage.read();
        assert_eq!(read.len(), 500);
        assert!(read.iter().all(|(_, requests)| requests.dpop == THREADS as u64), "{read:?}");
    }
}
