//! The memory of used proofs that replicas share, on Redis or Valkey (RFC 9449 §11.1).

pub mod state;
pub mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::state::{Counts, Health, Server, State};
use crate::clock::Clock;
use crate::verify::digest::{Digest, ProofId};
use crate::verify::time::UnixTime;

/// What is needed to reach a store and to trust it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// Who the gateway is to it; `None`: nobody is logged in.
    pub login: Option<Login>,
    /// Before every key.
    pub prefix: String,
    /// Connections to each server.
    pub connections: usize,
    /// For a reply.
    pub timeout: Duration,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// Copies that must have a claim before it counts.
    pub replicas: usize,
    /// The most that is borne between our clock and a server's.
    pub clock_difference: Duration,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host without brackets, and port.
    Network(String, u16),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    /// As it is written in the configuration, without the scheme.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Network(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Network(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who the gateway is to a server. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `None` is the server's user `default`.
    pub user: Option<String>,
    /// For AUTH.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a claim was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The proof was used before.
    Replayed,
    /// Nobody can say: the claim could not be sent, or no answer came that can be trusted, so that the proof may be spent.
    Unavailable,
}

/// The store. Clones share it; with the last of them its connections end.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Settings>);

impl Redis {
    /// A store that connects in the background. Waits for nothing and cannot fail: a store that is away is a state.
    pub fn start(settings: Settings, _clock: Clock) -> Self {
        Self(Arc::new(settings))
    }

    /// Whether there is a vetted connection for this proof. A look at an atomic; `claim` may fail all the same.
    pub fn is_usable(&self, _proof: Digest<ProofId>) -> bool {
        false
    }

    /// Up to this second a proof may have been used before the store's memory begins. It never goes back. `None`: no server was vetted yet.
    pub fn line(&self) -> Option<UnixTime> {
        None
    }

    /// Takes a proof, once among all replicas, for `keep`: the time from now through its last second. What clocks may differ is added here.
    ///
    /// `judged_by` is the [`line`](Self::line) that the proof was found to be younger than. Where the line has moved before the answer, the claim may have met a memory that
    /// began later than the proof, and is refused.
    ///
    /// # Errors
    /// [`Refused`]; in both cases the request must not be forwarded.
    pub async fn claim(
        &self,
        _proof: Digest<ProofId>,
        _keep: Duration,
        _judged_by: UnixTime,
    ) -> Result<(), Refused> {
        Err(Refused::Unavailable)
    }

    /// How the store is.
    pub fn state(&self) -> State {
        let place = self.0.address.to_string();
        let server = Server { place, health: Health::Connecting, clock_difference: None };
        State { servers: vec![server], line: self.line(), counts: Counts::default() }
    }

    /// Whether the store was usable once, so that the line is known.
    pub fn first_contact(&self) -> bool {
        self.line().is_some()
    }
}
