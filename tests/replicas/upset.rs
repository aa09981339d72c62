//! What is done to a group while it is under load.

use std::fmt;

use crate::store::Shape;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Upset {
    /// The server is killed and starts with an empty memory.
    Emptied,
    /// The server is killed and starts with a memory of some time ago.
    OldSnapshot,
    /// The server is stopped and goes on (SIGSTOP, SIGCONT).
    Paused,
    /// FLUSHALL.
    Flushed,
    /// Another password, and every connection is ended; the gateways' file has it later.
    PasswordChanged,
    /// No memory is left.
    Full,
    /// The policy is set to one that evicts.
    MayEvict,
    /// The server becomes the replica of one that is not there.
    ReadOnly,
    /// The master of a group, or one of a cluster, is killed; it comes back later, with its disk as it was.
    MasterKilled,
    /// The master of a group, or one of a cluster, is stopped and goes on, when another has taken its place.
    MasterPaused,
    /// Slots move from one node of a cluster to another.
    Resharded,
    /// The network is cut, with the master and one gateway on the wrong side.
    Cut,
    /// A gateway is killed and started again.
    GatewayKilled,
    /// A gateway is stopped and goes on.
    GatewayPaused,
    /// A gateway starts again with a clock that is too far ahead, and later with the right one.
    ClockWrong,
}

/// How a group comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comeback {
    /// By itself, while it is still broken.
    Alone,
    /// When what was broken is back.
    Mended,
}

impl Upset {
    /// What can be done to a store of this shape.
    pub(crate) fn all(shape: Shape) -> &'static [Self] {
        use Upset::*;
        match shape {
            Shape::Alone => &[
                Emptied,
                OldSnapshot,
                Paused,
                Flushed,
                PasswordChanged,
                Full,
                ReadOnly,
                GatewayKilled,
                GatewayPaused,
                ClockWrong,
                MayEvict,
            ],
            Shape::Sentinel => &[MasterKilled, MasterPaused, Flushed, GatewayKilled, GatewayPaused],
            Shape::Cluster => &[Resharded, MasterKilled, MasterPaused, Flushed, GatewayKilled, GatewayPaused],
            Shape::Split => &[Cut, MasterKilled, GatewayKilled],
        }
    }

    pub(crate) fn comeback(self, shape: Shape) -> Comeback {
        use Upset::*;
        match self {
            Flushed | Resharded | Cut => Comeback::Alone,
            // In a cluster the one copy has become the master, and WAIT has to find another before claims count.
            MasterKilled | MasterPaused if shape != Shape::Cluster => Comeback::Alone,
            MasterKilled | MasterPaused | Emptied | OldSnapshot | Paused | PasswordChanged | Full
            | MayEvict | ReadOnly | GatewayKilled | GatewayPaused | ClockWrong => Comeback::Mended,
        }
    }

    /// Whether the store is away while it is broken, for a gateway at least.
    pub(crate) fn takes_the_store_away(self) -> bool {
        use Upset::*;
        match self {
            Emptied | OldSnapshot | Paused | PasswordChanged | Full | MayEvict | ReadOnly | ClockWrong => {
                true
            }
            MasterKilled | MasterPaused | Flushed | Resharded | Cut | GatewayKilled | GatewayPaused => false,
        }
    }

    /// Milliseconds that it stays broken.
    pub(crate) fn lasts(self) -> u64 {
        match self {
            // The policy is looked at every ten seconds.
            Self::MayEvict => 13_000,
            Self::MasterKilled | Self::MasterPaused => 5_000,
            _ => 2_000,
        }
    }
}

impl fmt::Display for Upset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emptied => "killed, restarted empty",
            Self::OldSnapshot => "killed, restarted from an old snapshot",
            Self::Paused => "paused",
            Self::Flushed => "FLUSHALL",
            Self::PasswordChanged => "password changed",
            Self::Full => "full",
            Self::MayEvict => "policy changed to allkeys-lru",
            Self::ReadOnly => "made a replica",
            Self::MasterKilled => "master killed",
            Self::MasterPaused => "master paused",
            Self::Resharded => "resharded",
            Self::Cut => "network cut",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayPaused => "gateway paused",
            Self::ClockWrong => "gateway with a clock too far ahead",
        })
    }
}
