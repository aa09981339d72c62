//! One upstream: its servers' addresses, its limits, and what it does besides requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::Body;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::balance::Dice;
use super::check;
use super::connect::Place;
use super::endpoint::Endpoint;
use super::fault::Fault;
use super::gate::Gate;
use super::names::Resolver;
use super::retry::Budget;
use super::server::{self, Server, Whereabouts};
use crate::config;
use crate::seldom::Seldom;

/// How often closed and old connections are dropped, and ejected addresses looked at.
const TIDY: Duration = Duration::from_secs(1);
/// The least time between two resolutions, whatever fails meanwhile.
const RESOLVE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// An upstream.
pub(super) struct Upstream<B> {
    pub(super) name: Arc<str>,
    pub(super) settings: config::Upstream,
    pub(super) gate: Gate,
    pub(super) budget: Budget,
    pub(super) dice: Dice,
    pub(super) trouble: Seldom,
    pub(super) retried: AtomicU64,
    pub(super) ejections: AtomicU64,
    servers: Vec<Arc<Server>>,
    endpoints: ArcSwap<Vec<Arc<Endpoint<B>>>>,
    resolver: Resolver,
    resolve_soon: Arc<Notify>,
    /// Whether every name was asked for once, whatever came of it.
    resolved: watch::Sender<bool>,
    /// Ends the tasks of this upstream with it.
    _tasks: DropGuard,
}

/// What is counted of one upstream.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Its name
    pub upstream: Arc<str>,
    /// How many addresses it has
    pub endpoints: u64,
    /// How many of them are neither ejected nor failing their checks
    pub up: u64,
    /// How many requests are under way
    pub in_flight: u64,
    /// How often an address was ejected
    pub ejections: u64,
    /// How many tries were not the first of their request
    pub retries: u64,
}

/// The addresses of each server; `None` for a name that was never resolved.
type Addresses = Vec<Option<Vec<Place>>>;

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// Builds the upstream and starts the tasks that keep it. Connects to nothing yet, and waits for no name.
    ///
    /// # Errors
    /// When TLS to it cannot be set up.
    pub(super) fn new(upstream: &config::Upstream, resolver: Resolver) -> Result<Arc<Self>, rustls::Error> {
        let servers = server::servers(upstream)?;
        let stop = CancellationToken::new();
        let built = Arc::new(Self {
            name: Arc::from(upstream.name.as_str()),
            gate: Gate::new(upstream.connections, upstream.waiting, upstream.connect_timeout),
            settings: upstream.clone(),
            budget: Budget::new(),
            dice: Dice::default(),
            trouble: Seldom::new(),
            retried: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            servers,
            endpoints: ArcSwap::default(),
            resolver,
            resolve_soon: Arc::default(),
            resolved: watch::Sender::new(false),
            _tasks: stop.clone().drop_guard(),
        });
        let (addresses, named) = built.known_addresses();
        built.settle_on(&addresses);
        built.resolved.send_replace(!named);
        tokio::spawn(stop.clone().run_until_cancelled_owned(tidy(Arc::downgrade(&built))));
        if let Some(rules) = built.settings.health.check.clone() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(check::run(Arc::downgrade(&built), rules)));
        }
        if named {
            tokio::spawn(stop.run_until_cancelled_owned(resolve(Arc::downgrade(&built), addresses)));
        }
        Ok(built)
    }

    /// The addresses that stand in the configuration, and whether there are names besides.
    fn known_addresses(&self) -> (Addresses, bool) {
        let known = |server: &Arc<Server>| match &server.whereabouts {
            Whereabouts::Address(address) => Some(vec![Place::Tcp(*address)]),
            Whereabouts::Socket(path) => Some(vec![Place::Unix(path.clone())]),
            Whereabouts::Name(..) => None,
        };
        let addresses: Addresses = self.servers.iter().map(known).collect();
        let named = addresses.iter().any(Option::is_none);
        (addresses, named)
    }

    /// Makes these the addresses. One that stays keeps its connections and its health; one that is gone gets no new request, and ends with its last.
    fn settle_on(&self, addresses: &Addresses) {
        let before = self.endpoints.load();
        let mut endpoints: Vec<Arc<Endpoint<B>>> = Vec::new();
        for (server, places) in self.servers.iter().zip(addresses) {
            for place in places.iter().flatten() {
                let same = |one: &&Arc<Endpoint<B>>| Arc::ptr_eq(&one.server, server) && one.place == *place;
                endpoints.push(before.iter().find(same).cloned().unwrap_or_else(|| {
                    Arc::new(Endpoint::new(Arc::clone(server), place.clone(), &self.settings))
                }));
            }
        }
        self.endpoints.store(Arc::new(endpoints));
    }

    /// The addresses that requests can go to. Only before the first answer of the resolver is there anything to wait for.
    pub(super) async fn endpoints(&self) -> Arc<Vec<Arc<Endpoint<B>>>> {
        let endpoints = self.endpoints.load_full();
        if !endpoints.is_empty() || *self.resolved.borrow() {
            return endpoints;
        }
        let mut resolved = self.resolved.subscribe();
        // Where that takes too long, there are no addresses, which the caller is told.
        let _ = tokio::time::timeout(self.settings.connect_timeout, resolved.wait_for(|resolved| *resolved))
            .await;
        self.endpoints.load_full()
    }

    /// The addresses at this moment, which may be none.
    pub(super) fn addresses(&self) -> Arc<Vec<Arc<Endpoint<B>>>> {
        self.endpoints.load_full()
    }

    /// A connection failed: perhaps the name points elsewhere by now.
    pub(super) fn doubt_names(&self) {
        self.resolve_soon.notify_one();
    }

    /// What there is to know about it at this moment.
    pub(super) fn numbers(&self) -> Numbers {
        let endpoints = self.endpoints.load();
        let healths = || endpoints.iter().map(|endpoint| &endpoint.health);
        Numbers {
            upstream: Arc::clone(&self.name),
            endpoints: endpoints.len() as u64,
            up: healths().filter(|health| health.is_up()).count() as u64,
            in_flight: healths().map(|health| health.in_flight() as u64).sum(),
            ejections: self.ejections.load(Ordering::Relaxed),
            retries: self.retried.load(Ordering::Relaxed),
        }
    }
}

/// Every second: closes what nobody uses, and tries a connection to those whose ejection is over.
async fn tidy<B>(upstream: Weak<Upstream<B>>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    loop {
        tokio::time::sleep(TIDY).await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.budget.refill();
        for endpoint in upstream.endpoints.load().iter() {
            endpoint.sweep();
            if endpoint.health.is_due(Instant::now()) {
                // A request of ours first, so that no caller's has to find out.
                tokio::spawn(try_again(Arc::clone(&upstream.name), Arc::clone(endpoint)));
            }
        }
    }
}

async fn try_again<B>(upstream: Arc<str>, endpoint: Arc<Endpoint<B>>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let connected = endpoint.can_connect().await;
    endpoint.health.tried_again(connected, Instant::now());
    if connected {
        info!(%upstream, address = %endpoint.place, "takes connections again and gets requests again");
    }
}

/// Asks for the names again and again.
async fn resolve<B>(upstream: Weak<Upstream<B>>, mut addresses: Addresses)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    loop {
        {
            let Some(upstream) = upstream.upgrade() else { return };
            for (server, known) in upstream.servers.iter().zip(&mut addresses) {
                let Whereabouts::Name(name, port) = &server.whereabouts else { continue };
                match upstream.resolver.addresses(name, *port).await {
                    Ok(found) => *known = Some(found.into_iter().map(Place::Tcp).collect()),
                    Err(error) => {
                        let kept = known.as_ref().map_or(0, Vec::len);
                        warn!(upstream = %upstream.name, name, %error, kept, "a server's name cannot be resolved");
                    }
                }
            }
            upstream.settle_on(&addresses);
            upstream.resolved.send_replace(true);
        }
        tokio::time::sleep(RESOLVE_AT_MOST_EVERY).await;
        // The wait is long, and whoever waits must not be what keeps an upstream that a reload has replaced: its checks would go on as well.
        let (interval, soon) = {
            let Some(upstream) = upstream.upgrade() else { return };
            (upstream.settings.resolve, Arc::clone(&upstream.resolve_soon))
        };
        let _ = tokio::time::timeout(interval, soon.notified()).await;
    }
}
