//! How the store is: what metrics, readiness and the log tell of it. Nothing here decides about a proof.

use std::time::{Duration, SystemTime};

use super::trouble::Trouble;
use crate::verify::time::UnixTime;

/// A look at the whole store.
#[derive(Clone, Debug)]
pub struct State {
    /// Each server that is used, or ought to be.
    pub servers: Vec<Server>,
    /// Up to this second a proof may have been used before the store's memory begins. `None`: no server was vetted yet.
    pub line: Option<UnixTime>,
    /// What became of claims, and how long the servers took.
    pub counts: Counts,
}

/// A look at one server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is; no user, no password.
    pub place: String,
    /// Whether it can be asked.
    pub health: Health,
    /// How far its clock was ahead of ours when last asked, in milliseconds; negative where it was behind. `None`: not asked yet.
    pub clock_difference: Option<i64>,
}

/// Whether a server can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not reached yet, nor has that failed yet.
    Connecting,
    /// It is asked.
    Usable,
    /// It is not asked, since when and why.
    Away {
        /// Since when
        since: SystemTime,
        /// Why
        trouble: Trouble,
    },
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claims that were taken
    pub taken: u64,
    /// Claims of proofs that were used before
    pub replayed: u64,
    /// Claims without an answer that could be trusted: refused, and perhaps spent
    pub unavailable: u64,
    /// How often each [`Trouble`] ended or prevented a connection, in the order of [`Trouble::LABELS`]
    pub troubles: [u64; Trouble::LABELS.len()],
    /// Round trips of batches: so many took no longer than each of [`ROUND_TRIPS`], and the last is all of them
    pub round_trips: [u64; ROUND_TRIPS.len() + 1],
    /// What they took together
    pub round_trips_sum: Duration,
}

/// The bounds by which round trips are counted, in microseconds.
pub const ROUND_TRIPS: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000, 1_000_000];

impl State {
    /// Whether every server can be asked.
    pub fn is_usable(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.health == Health::Usable)
    }
}
