//! Builds every part from `Config`, introduces them to each other, replaces them on reload, and stops them.
//!
//! Sockets, the clock, where the configuration comes from and the stop signal are arguments, so that a test starts the real server on port 0.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lasting::Lasting;
use self::listeners::Listeners;
use self::operators::Operators;
use self::reload::{Parts, Reloading};
use crate::accept::tls::TlsFault;
use crate::admin::Admin;
use crate::admin::reload::Reloads;
use crate::authority::Unusable;
use crate::clock::{Clock, Lapse};
use crate::config::{Config, Files};
use crate::gateway::Current;
use crate::replay::fence;

mod lasting;
mod listeners;
mod operators;
mod reload;
mod signals;
mod sockets;
mod supervisor;
mod watch;

pub use reload::{Source, Variables};
pub use signals::{Signal, Signals};
pub use sockets::{Passed, Sockets, passed};
pub use supervisor::Supervisor;

/// How often expired claims are forgotten when no request does it in passing.
const SWEEP: Duration = Duration::from_secs(1);
/// How many of them at a time: about a millisecond's worth.
const SWEEP_BUDGET: usize = 4096;

/// Why the gateway could not start, or a configuration not be put in force. A bad configuration is not among these: `config` has found it before.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (listener {listener}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The listener's name, or `admin`.
        listener: String,
        /// What the system said.
        source: io::Error,
    },
    /// A socket that the service manager has passed cannot be used.
    #[error("the socket {socket} that the service manager has passed {why}")]
    Passed {
        /// Its name and address.
        socket: String,
        /// What is wrong.
        why: String,
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
    /// A reload names another memory of used proofs.
    #[error(
        "replay.redis names another memory than the one in use, and a proof that was used passes once more at a replica that asks the other: stop all replicas, empty it if they have used it before, then start them with it"
    )]
    OtherMemory,
    /// A reload changes how the memory of used proofs is reached, and it cannot be reached so.
    #[error("replay.redis cannot be reached as it stands now; {0}")]
    MemoryOutOfReach(String),
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    Random,
    /// The system gives no thread, or no address of a socket.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A gateway that runs.
pub struct Running {
    addresses: Arc<ArcSwap<Addresses>>,
    gateway: Arc<Current>,
    reloads: Reloads,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Ends what answers operators.
    ended: CancellationToken,
}

/// Where it is listened on.
#[derive(Debug, Default)]
struct Addresses {
    public: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Running {
    /// The address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.load().public.clone()
    }

    /// The admin listener's address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.addresses.load().admin
    }

    /// Whether every issuer was tried and one has keys, the shared replay store need not be waited for, and nobody has said stop.
    pub fn is_ready(&self) -> bool {
        self.gateway.get().is_ready() && !self.stop.is_cancelled()
    }

    /// Waits until every issuer was asked for its keys once, whatever came of it.
    pub async fn tried(&self) {
        self.gateway.get().tokens.tried().await;
    }

    /// Where the configuration is asked to be read again and put in force.
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// Begins to stop: readiness turns 503; after `shutdown.delay` no connection is taken any more, and what is in flight may end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until everything has ended, which is about `shutdown.delay` and `shutdown.grace` after [`Running::stop`] at most.
    pub async fn ended(&self) {
        self.tasks.wait().await;
        self.ended.cancel();
    }
}

/// Starts the gateway with a configuration that nothing will change. It serves when this returns: see [`start_from`].
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start(config: Config, sockets: Sockets, clock: Clock) -> Result<Running, StartError> {
    begin(config, None, sockets, clock).await
}

/// Starts the gateway with a configuration that was read from `source`, and from these files. It serves when this returns, and reads `source` again
/// when it is asked to, or when a file is not what it was.
///
/// With `after_restart: refuse` this waits for the next whole second first: proofs from before it are refused, and a caller that
/// comes right after the start would otherwise be one of them.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start_from(
    source: Source,
    config: Config,
    files: Files,
    sockets: Sockets,
    clock: Clock,
) -> Result<Running, StartError> {
    begin(config, Some((source, files)), sockets, clock).await
}

async fn begin(
    mut config: Config,
    source: Option<(Source, Files)>,
    sockets: Sockets,
    clock: Clock,
) -> Result<Running, StartError> {
    let since_epoch = clock.precise().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let fence = match &config.redis {
        None => fence::fence(since_epoch, config.replay.after_restart),
        // A memory that outlives the process, and knows itself since when it remembers.
        Some(_) => None,
    };
    Lasting::tell_presets(&config);
    let mut lasting = Lasting::new(&config, fence, clock)?;
    let gateway = lasting.gateway(&mut config, None)?;
    lasting.memory.judged_by(gateway.proofs.max_age, lasting.clock.now());
    lasting.metrics.applied_at(lasting.clock.now().seconds());

    let (stop, closing, ended, tasks) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let gateway = Arc::new(Current::new(gateway));
    let (reloads, asked) = Reloads::channel();
    let admin = Admin {
        gateway: Arc::clone(&gateway),
        stop: stop.clone(),
        reloads: reloads.clone(),
        names: ArcSwap::default(),
    };
    let mut operators = Operators::new(Arc::new(admin), ended.clone());
    let opened = match (&config.admin, sockets.admin) {
        (Some(admin), Some(socket)) => operators::Prepared::open(admin, socket)?,
        (admin, _) => operators.prepare(admin.as_ref()).await?,
    };
    let mut listeners = Listeners::new(
        Arc::clone(&gateway),
        Arc::clone(&lasting.room),
        tasks.clone(),
        closing.clone(),
        lasting.grace.clone(),
    );
    let prepared = listeners.prepare(&config, sockets.public).await?;

    // Nothing can fail from here on, so that a start that failed leaves nothing running.
    gateway.get().tokens.spawn(&tasks, &stop);
    lasting.announce(&gateway.get());
    tasks.spawn(sweep(Arc::clone(&gateway), stop.clone()));
    // Before the admin listener answers: `/readyz` invites callers, and a proof made before the fence opens would be refused.
    if let Some(fence) = fence {
        let opens = Duration::from_secs(u64::try_from(fence.seconds()).unwrap_or_default());
        tokio::time::sleep(opens.saturating_sub(since_epoch)).await;
    }
    operators.commit(opened);
    listeners.commit(prepared);
    tasks.spawn(close_after_notice(stop.clone(), closing, lasting.delay.clone()));
    let addresses = Addresses { public: listeners.addresses(), admin: operators.address() };
    let addresses = Arc::new(ArcSwap::from_pointee(addresses));
    if let Some((source, files)) = source {
        let parts = Parts {
            lasting,
            gateway: Arc::clone(&gateway),
            listeners,
            operators,
            addresses: Arc::clone(&addresses),
            tasks: tasks.clone(),
            stop: stop.clone(),
            after_restart: config.replay.after_restart,
        };
        tasks.spawn(Reloading::new(source, parts, config.reload, files).run(asked));
    }
    tasks.close();
    Ok(Running { addresses, gateway, reloads, stop, tasks, ended })
}

/// Closes the listeners a while after readiness has turned.
async fn close_after_notice(stop: CancellationToken, closing: CancellationToken, delay: Lapse) {
    stop.cancelled().await;
    tokio::time::sleep(delay.get()).await;
    closing.cancel();
}

async fn sweep(gateway: Arc<Current>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let gateway = gateway.get();
        gateway.replay.memory().settle(gateway.clock.now());
        // A whole nonce period may end in one second; requests get their turn between the parts.
        while gateway.replay.memory().sweep(gateway.clock.now(), SWEEP_BUDGET) == SWEEP_BUDGET {
            tokio::task::yield_now().await;
        }
        for limiter in gateway.routes.limiters() {
            limiter.forget();
            tokio::task::yield_now().await;
        }
    }
}
