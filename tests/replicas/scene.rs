//! What a scene is: a group of gateways, their store, and what happens to them.

use std::fmt;
use std::time::Duration;

use crate::gateway::{NONCE_LIFETIME, Rules};
use crate::same_request;
use crate::server::Engine;
use crate::store::{self, OnFailure, Shape};
use crate::upset::Upset;

/// What is played with, and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// `None`: each replica has a memory of its own.
    pub(crate) store: Option<(Shape, Engine)>,
    pub(crate) replicas: usize,
    pub(crate) on_failure: OnFailure,
    /// `dpop.max_age`, in seconds
    pub(crate) max_age: u32,
    pub(crate) rules: Spread,
    /// `replay.redis.replicas`; left out, what it is by default
    pub(crate) copies: Option<u8>,
    pub(crate) clocks: Clocks,
    pub(crate) limits: Limits,
    pub(crate) act: Act,
    pub(crate) expected: Verdict,
}

/// Whose clocks are wrong, as far as is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clocks {
    /// Nobody's.
    Right,
    /// The gateways': ahead, right and behind, in turn.
    Apart,
    /// The servers': ahead and behind, in turn, so that one that is promoted is behind the one whose place it takes.
    Servers,
}

/// What a clock may be wrong by, in milliseconds. What the measurement adds of its own has to fit in too.
const BORNE: i32 = store::CLOCK_DIFFERENCE - 100;

impl Clocks {
    /// Milliseconds by which a gateway's is ahead.
    pub(crate) fn gateway(self, number: usize) -> i32 {
        if self == Self::Apart { [BORNE, 0, -BORNE][number % 3] } else { 0 }
    }

    /// Milliseconds by which a server's is ahead.
    pub(crate) fn server(self, number: usize) -> i32 {
        if self == Self::Servers { [BORNE, -BORNE][number % 2] } else { 0 }
    }
}

/// Whether the gateways go by the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spread {
    Same,
    /// Each has another `nonce_lifetime`, so short that all of it ends while a scene is played, and none a part of another.
    Apart,
}

/// `dpop.nonce_lifetime` of each gateway in turn, where they differ, in seconds.
const LIFETIMES: [u32; 3] = [13, 14, 12];

impl Spread {
    /// What a gateway goes by.
    pub(crate) fn rules(self, max_age: u32, gateway: usize) -> Rules {
        let nonce_lifetime = match self {
            Self::Same => NONCE_LIFETIME,
            Self::Apart => LIFETIMES[gateway % LIFETIMES.len()],
        };
        Rules { max_age, nonce_lifetime }
    }
}

/// Whether requests are counted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Limits {
    /// They are not.
    None,
    /// By key, in the store (`limits.shared`), and so seldom too many that none is refused for it.
    Shared,
}

/// What happens in it.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// One request many times at once, so many rounds.
    SameRequest(usize),
    /// Load, and these, one after the other.
    Upsets(Vec<Upset>),
    /// Load, and whatever fits, in any order, up to two at a time, for so long.
    Chaos(Duration),
}

/// What a scene showed, or has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No proof passed twice.
    Once,
    /// One did, or more.
    Twice,
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.expected == Verdict::Twice {
            write!(f, "has to be seen to fail: ")?;
        }
        match self.store {
            None => write!(f, "{} replicas, each with a memory of its own", self.replicas)?,
            Some((shape, engine)) => {
                write!(
                    f,
                    "{} replicas, {engine} {shape}, on_failure {}, proofs of {} s",
                    self.replicas, self.on_failure, self.max_age
                )?;
                match self.clocks {
                    Clocks::Right => {}
                    Clocks::Apart => write!(f, ", clocks apart")?,
                    Clocks::Servers => write!(f, ", servers' clocks apart")?,
                }
                if self.rules == Spread::Apart {
                    write!(f, ", rules apart")?;
                }
                if self.limits == Limits::Shared {
                    write!(f, ", shared limits")?;
                }
                if let Some(copies) = self.copies {
                    write!(f, ", claims with {copies} copies")?;
                }
            }
        }
        match &self.act {
            Act::SameRequest(rounds) => {
                write!(f, ": one request {} times at once, {rounds} rounds", same_request::COPIES)
            }
            Act::Upsets(upsets) => {
                let names: Vec<String> = upsets.iter().map(Upset::to_string).collect();
                write!(f, ": {}", names.join("; "))
            }
            Act::Chaos(time) => write!(f, ": anything for {} s", time.as_secs()),
        }
    }
}
