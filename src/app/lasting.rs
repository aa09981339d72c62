//! What outlives a configuration, and how a gateway is made from both.
//!
//! Used proofs, counters, the log's thread and the process's own secrets stay. Everything else is built anew from each configuration and
//! takes from the one before only what would be the same.

use std::io;
use std::sync::Arc;

use aws_lc_rs::rand;
use tracing::{info, warn};

use super::StartError;
use crate::accept::room::Room;
use crate::accept::site::Sites;
use crate::authority::Tokens;
use crate::clock::{Clock, Lapse};
use crate::config::{Config, GivenNames, OnFailure};
use crate::forward::{Resolver, Upstreams};
use crate::gateway::{Gateway, RequestIds, Warnings};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Metrics;
use crate::quarantine::Quarantine;
use crate::replay::memory::MemoryStore;
use crate::replay::redis::Redis;
use crate::replay::redis::bounds::Bounds;
use crate::replay::store::{Shared, Store};
use crate::route::Routes;
use crate::verify::dpop::DpopRules;
use crate::verify::enforcement::Unenforced;
use crate::verify::nonce::{NonceRing, Unasked};
use crate::verify::time::UnixTime;

/// About how much memory verified tokens may take.
const TOKEN_CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// How far ahead of a reload the line for nonces is drawn, in seconds: beyond the second it happens in, and the next if it ends in between.
const NONCE_LINE: i64 = 2;

/// See the module's description.
pub(super) struct Lasting {
    pub(super) clock: Clock,
    pub(super) memory: Arc<MemoryStore>,
    /// The key for nonces that count in this process alone.
    own_nonce_key: [u8; 32],
    pub(super) metrics: Arc<Metrics>,
    pub(super) room: Arc<Room>,
    quarantine: Arc<Quarantine>,
    /// `shutdown.delay` and `shutdown.grace`.
    pub(super) delay: Lapse,
    pub(super) grace: Lapse,
    fence: Option<UnixTime>,
    warnings: Arc<Warnings>,
    request_ids: Arc<RequestIds>,
    /// The key for nonces where none is configured.
    nonce_key: [u8; 32],
    /// Once there was one it is kept: its thread ends with it.
    access_log: Option<AccessLog>,
}

impl Lasting {
    /// For a process that starts with `config`. Proofs from before `fence` may have been used before it started.
    pub(super) fn new(config: &Config, fence: Option<UnixTime>, clock: Clock) -> Result<Self, StartError> {
        Ok(Self {
            clock,
            memory: Arc::new(MemoryStore::new(&config.replay)),
            own_nonce_key: random()?,
            metrics: Arc::default(),
            room: Room::new(&config.limits),
            quarantine: Arc::default(),
            delay: Lapse::new(config.shutdown_delay),
            grace: Lapse::new(config.shutdown_grace),
            fence,
            warnings: Arc::default(),
            request_ids: Arc::new(RequestIds::new(u64::from_be_bytes(random()?))),
            nonce_key: random()?,
            access_log: None,
        })
    }

    /// What a request meets, from a configuration and what went `before` it.
    pub(super) fn gateway(
        &mut self,
        config: &mut Config,
        before: Option<&Gateway>,
    ) -> Result<Gateway, StartError> {
        let tokens = match before {
            None => Tokens::new(&config.issuers, TOKEN_CACHE_BYTES)?,
            Some(before) => before.tokens.followed_by(&config.issuers, TOKEN_CACHE_BYTES)?,
        };
        let replay = self.store(config, before)?;
        Ok(Gateway {
            sites: Sites::new(&config.listeners),
            tokens,
            proofs: DpopRules {
                nonces: self.nonce_ring(config, &replay),
                algorithms: config.dpop.algorithms.clone(),
                max_age: config.dpop.max_age,
                max_future: config.dpop.max_future,
                fence: self.fence,
                oldest: None,
            },
            quarantine: Arc::clone(&self.quarantine),
            replay,
            upstreams: Upstreams::new(
                &config.upstreams,
                config.assertions.as_ref(),
                GivenNames::of(&config.routes),
                &Resolver::system(),
                before.map(|before| &before.upstreams),
            )?,
            limits: config.limits,
            clock: self.clock.clone(),
            access_log: if config.log.access { self.access_log()? } else { AccessLog::none() },
            metrics: Arc::clone(&self.metrics),
            warnings: Arc::clone(&self.warnings),
            request_ids: Arc::clone(&self.request_ids),
            routes: Routes::new(config, self.clock.now()),
        })
    }

    /// The last moment before `next` takes the place of `before`: from here on no proof that was used passes again by the new rules.
    pub(super) fn hand_over(&self, before: &Gateway, next: &mut Gateway) {
        next.routes.count_on_from(&before.routes);
        // Claims stay from now on until their proofs are too old by the new rules as well.
        self.memory.judged_by(next.proofs.max_age, self.clock.now());
        // Read after that: what was not too old by now is still remembered, and what was stays too old.
        let now = self.clock.now();
        next.proofs.oldest = Some(now.minus(before.proofs.max_age)).max(before.proofs.oldest);
        // With a nonce a claim ends with the nonce's time. Where that is another now, or there was no nonce before, no nonce from before
        // counts any more: a new one costs each client one round trip. A memory that replicas share sees to that itself.
        let asks_otherwise = !next.routes.asks_for_nonces_like(&before.routes);
        next.proofs.nonces.follow(&before.proofs.nonces, now.plus(NONCE_LINE), asks_otherwise);
    }

    /// Says of a gateway, once it is in force, where it lets callers through who have proven nothing. To forget such a route is how it stays for ever.
    pub(super) fn announce(&self, gateway: &Gateway) {
        for route in gateway.routes.report_only() {
            self.metrics.expect_unenforced(route.name(), Unenforced::REFUSAL);
            warn!(
                route = &**route.name(),
                "report-only: whoever holds a token that is bound to nothing is let through here; GET /report of the admin listener says who that is"
            );
        }
    }

    /// Says which presets a configuration has: they set what nobody reads in the file.
    pub(super) fn tell_presets(config: &Config) {
        for (profile, routes) in config.profiles() {
            info!(
                profile = profile.name(),
                routes = routes.join(", "),
                "a preset is in force; `holdfast check --print` shows what it sets"
            );
        }
    }

    /// What of a configuration is not part of the gateway.
    pub(super) fn adopt(&self, config: &Config) {
        self.memory.limit(&config.replay);
        self.room.resize(config.limits.connections);
        self.delay.set(config.shutdown_delay);
        self.grace.set(config.shutdown_grace);
    }

    /// The configured nonce keys, or the one made at the start: then a restart makes every nonce stale, which costs each client one round trip.
    fn nonce_ring(&self, config: &Config, replay: &Store) -> NonceRing {
        let (first, older) = config.dpop.nonce_keys.0.split_first().unwrap_or((&self.nonce_key, &[]));
        let mut ring = NonceRing::new(first, older, config.dpop.nonce_lifetime);
        if let Some(region) = &config.dpop.nonce_region {
            ring.pin(region);
        }
        let Some(shared) = replay.shared() else { return ring };
        ring.stand_by(shared.redis.standing().clone());
        ring.look_at_unasked(Unasked::Counts);
        match shared.redis.settings().on_failure {
            OnFailure::Refuse => {}
            OnFailure::Nonce => ring.seal_alone_with(&self.own_nonce_key),
        }
        ring
    }

    /// Where used proofs are remembered. A store that is reached in the same way lives on.
    fn store(&self, config: &Config, before: Option<&Gateway>) -> Result<Store, StartError> {
        // Other replicas change at other moments. While they differ, a proof that was used in one memory passes in the other.
        let is_other = match (before.map(|before| before.replay.shared()), &config.redis) {
            (None, _) | (Some(None), None) => false,
            (Some(Some(shared)), Some(settings)) => !settings.has_memory_of(shared.redis.settings()),
            (Some(Some(_)), None) | (Some(None), Some(_)) => true,
        };
        if is_other {
            return Err(StartError::OtherMemory);
        }
        let memory = Arc::clone(&self.memory);
        let Some(settings) = &config.redis else { return Ok(Store::Alone(memory)) };
        let before = before.and_then(|before| before.replay.shared());
        let bounds = Bounds::of(&config.dpop, settings);
        let same =
            |shared: &Shared| shared.redis.settings().is_same(settings) && shared.redis.bounds() == bounds;
        let redis = match before {
            Some(shared) if same(shared) => shared.redis.clone(),
            // The same memory, reached otherwise: what is in doubt there stays so.
            Some(shared) => shared.redis.followed_by(Arc::new(settings.clone()), bounds),
            None => Redis::start(Arc::new(settings.clone()), bounds, self.clock.clone()),
        };
        Ok(Store::Shared(Shared { memory, redis, clock: self.clock.clone() }))
    }

    fn access_log(&mut self) -> io::Result<AccessLog> {
        match &self.access_log {
            Some(log) => Ok(log.clone()),
            None => Ok(self.access_log.insert(AccessLog::to(io::stdout())?).clone()),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}
