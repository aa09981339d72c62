//! Builds every part once from `Config`, introduces them to each other, and stops them.
//!
//! Sockets, the clock and the stop signal are arguments, so that a test starts the real server on port 0.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::accept::room::Room;
use crate::accept::site::Sites;
use crate::accept::tls::TlsFault;
use crate::accept::{self, Listening};
use crate::admin::{self, Admin};
use crate::authority::{Tokens, Unusable};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::forward::{Resolver, Upstreams};
use crate::gateway::{Gateway, RequestIds};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Metrics;
use crate::replay::fence;
use crate::replay::memory::MemoryStore;
use crate::route::Routes;
use crate::verify::dpop::DpopRules;
use crate::verify::nonce::NonceRing;
use crate::verify::time::UnixTime;

/// How often expired claims are forgotten when no request does it in passing.
const SWEEP: Duration = Duration::from_secs(1);
/// How many of them at a time: about a millisecond's worth.
const SWEEP_BUDGET: usize = 4096;
/// About how much memory verified tokens may take.
const TOKEN_CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// How long connections may still be taken after the stop signal, so that whoever asks `/readyz` can turn away first.
const CLOSE_CONNECTIONS_AFTER: Duration = Duration::from_millis(200);

/// Why the gateway could not start. A bad configuration is not among these: `config` has found it before.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({role}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Which setting it comes from.
        role: String,
        /// What the system said.
        source: io::Error,
    },
    /// TLS to an upstream cannot be set up.
    #[error("TLS to the upstreams cannot be set up: {0}")]
    UpstreamTls(#[from] rustls::Error),
    /// TLS of a listener cannot be set up.
    #[error("TLS of a listener cannot be set up: {0}")]
    ListenerTls(#[from] TlsFault),
    /// An issuer's keys could never be fetched.
    #[error("an issuer's keys cannot be fetched: {0}")]
    Keys(#[from] Unusable),
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    Random,
    /// The system gives no thread, or no address of a socket.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The sockets to serve on, in the order of the configuration's listeners.
#[derive(Debug)]
pub struct Sockets {
    /// One for each listener.
    pub public: Vec<TcpListener>,
    /// The admin listener's.
    pub admin: Option<TcpListener>,
}

impl Sockets {
    /// Listens on the addresses of a configuration.
    ///
    /// # Errors
    /// [`StartError::Bind`] for the first that cannot be had.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        async fn listen(address: SocketAddr, role: String) -> Result<TcpListener, StartError> {
            TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, role, source })
        }
        let mut public = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            public.push(listen(listener.address, format!("listener {}", listener.name)).await?);
        }
        let admin = match &config.admin {
            Some(admin) => Some(listen(admin.address, "admin".into()).await?),
            None => None,
        };
        Ok(Self { public, admin })
    }
}

/// A gateway that runs.
pub struct Running {
    public: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// The address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.public
    }

    /// The admin listener's address.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Whether every issuer was tried and one has keys, and nobody has said stop.
    pub fn is_ready(&self) -> bool {
        self.gateway.tokens.ready() && !self.stop.is_cancelled()
    }

    /// Waits until every issuer was asked for its keys once, whatever came of it.
    pub async fn tried(&self) {
        self.gateway.tokens.tried().await;
    }

    /// Begins to stop: readiness turns 503, then no connection is taken any more, and what is in flight may end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until everything has ended, which is at most `shutdown.grace` after [`Running::stop`].
    pub async fn ended(self) {
        self.tasks.wait().await;
    }
}

/// Starts the gateway. It serves when this returns.
///
/// With `after_restart: refuse` this waits for the next whole second first: proofs from before it are refused, and a caller that
/// comes right after the start would otherwise be one of them.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start(mut config: Config, sockets: Sockets, clock: Clock) -> Result<Running, StartError> {
    let since_epoch = clock.precise().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let fence = fence::fence(since_epoch, config.replay.after_restart);
    let listeners = listening(&config, sockets.public)?;
    let admin_address = sockets.admin.as_ref().map(TcpListener::local_addr).transpose()?;
    let gateway = Arc::new(gateway(&mut config, fence, clock)?);

    // Nothing can fail from here on, so that a start that failed leaves nothing running.
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    gateway.tokens.spawn(&tasks, &stop);
    tasks.spawn(sweep(Arc::clone(&gateway), stop.clone()));
    // Before the admin listener answers: `/readyz` invites callers, and a proof made before the fence opens would be refused.
    if let Some(fence) = fence {
        let opens = Duration::from_secs(u64::try_from(fence.seconds()).unwrap_or_default());
        tokio::time::sleep(opens.saturating_sub(since_epoch)).await;
    }
    if let (Some(socket), Some(address)) = (sockets.admin, admin_address) {
        info!(%address, "listening for operators");
        let admin = Arc::new(Admin { gateway: Arc::clone(&gateway), stop: stop.clone() });
        // Not among the tasks that are waited for: it answers during the drain, and must not lengthen it.
        tokio::spawn(admin::serve(socket, admin, stop.clone(), config.shutdown_grace));
    }
    let closing = CancellationToken::new();
    tasks.spawn(close_after_notice(stop.clone(), closing.clone()));
    let mut public = Vec::with_capacity(listeners.len());
    for (address, socket, listening) in listeners {
        info!(listener = &*listening.name, %address, "listening for callers");
        public.push(address);
        let gateway = Arc::clone(&gateway);
        tasks.spawn(accept::serve(socket, listening, gateway, closing.clone(), config.shutdown_grace));
    }
    tasks.close();
    Ok(Running { public, admin: admin_address, gateway, stop, tasks })
}

/// What a request meets, from the configuration.
fn gateway(config: &mut Config, fence: Option<UnixTime>, clock: Clock) -> Result<Gateway, StartError> {
    Ok(Gateway {
        sites: Sites::new(&config.listeners),
        tokens: Tokens::new(&config.issuers, TOKEN_CACHE_BYTES)?,
        proofs: DpopRules {
            nonces: nonce_ring(config)?,
            algorithms: config.dpop.algorithms.clone(),
            max_age: config.dpop.max_age,
            max_future: config.dpop.max_future,
            fence,
            oldest: None,
        },
        replay: MemoryStore::new(&config.replay),
        upstreams: Upstreams::new(&config.upstreams, &Resolver::system(), None)?,
        limits: config.limits,
        clock,
        access_log: if config.log.access { AccessLog::to(io::stdout())? } else { AccessLog::none() },
        metrics: Metrics::new(),
        request_ids: RequestIds::new(u64::from_be_bytes(random()?)),
        routes: Routes::new(config),
    })
}

/// Each socket with its address and its settings.
fn listening(
    config: &Config,
    sockets: Vec<TcpListener>,
) -> Result<Vec<(SocketAddr, TcpListener, Arc<Listening>)>, StartError> {
    let room = Room::new(&config.limits);
    let of = |(socket, listener): (TcpListener, &config::Listener)| {
        let listening = Listening::new(listener, config.limits, Arc::clone(&room))?;
        Ok((socket.local_addr()?, socket, Arc::new(listening)))
    };
    sockets.into_iter().zip(&config.listeners).map(of).collect()
}

/// Closes the listeners a moment after readiness has turned.
async fn close_after_notice(stop: CancellationToken, closing: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(CLOSE_CONNECTIONS_AFTER).await;
    closing.cancel();
}

/// The configured nonce keys, or one made now: then a restart makes every nonce stale, which costs each client one round trip.
fn nonce_ring(config: &Config) -> Result<NonceRing, StartError> {
    let made = [random()?];
    let keys = if config.dpop.nonce_keys.0.is_empty() { &made[..] } else { &config.dpop.nonce_keys.0 };
    let (first, older) = keys.split_first().ok_or(StartError::Random)?;
    Ok(NonceRing::new(first, older, config.dpop.nonce_lifetime))
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}

async fn sweep(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // A whole nonce period may end in one second; requests get their turn between the parts.
        while gateway.replay.sweep(gateway.clock.now(), SWEEP_BUDGET) == SWEEP_BUDGET {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        warn!("signals cannot be caught; stop the process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
    }
}
