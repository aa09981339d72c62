//! What is done to a group while it is under load.

use std::fmt;

use crate::store::Shape;

/// One thing that goes wrong, or is changed.
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
    /// A replica is killed and started again.
    ReplicaKilled,
    /// Slots move from one node of a cluster to another.
    Resharded,
    /// The network is cut, with the master and one gateway on the wrong side.
    Cut,
    /// A gateway is killed and started again.
    GatewayKilled,
    /// A gateway is stopped and goes on.
    GatewayPaused,
    /// The server is killed, a gateway starts again while it is away, and the server comes back with an empty memory.
    GatewayLate,
    /// A gateway starts again with a clock that is too far ahead, and later with the right one.
    ClockWrong,
    /// Another key seals nonces, first added everywhere, then in front; in the end the old one is gone.
    RingRotated,
    /// Each gateway goes by another `max_age` and `nonce_lifetime`, and then as before again.
    Reloaded,
}

/// How a group comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comeback {
    /// By itself, while it is still broken.
    Alone,
    /// When what was broken is back.
    Mended,
}

/// What an upset needs, and so which ones can overlap: those of different kinds, and gateways that die together. They strike in this order, so that no command has to wait for a
/// server that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It asks every gateway to reload.
    Reload,
    /// It asks a server.
    Command,
    /// It takes a server or the network away.
    Outage,
    /// It takes a gateway away.
    Gateway,
    /// It takes both away.
    Everything,
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
                MayEvict,
                GatewayKilled,
                GatewayPaused,
                GatewayLate,
                ClockWrong,
                RingRotated,
                Reloaded,
            ],
            Shape::Sentinel => &[
                ReplicaKilled,
                MasterKilled,
                MasterPaused,
                Flushed,
                PasswordChanged,
                Full,
                ReadOnly,
                MayEvict,
                GatewayKilled,
                GatewayPaused,
                RingRotated,
            ],
            Shape::Cluster => &[
                Resharded,
                MasterKilled,
                MasterPaused,
                ReplicaKilled,
                Flushed,
                GatewayKilled,
                GatewayPaused,
                Reloaded,
            ],
            Shape::Split => &[Cut, ReplicaKilled, MasterKilled, Flushed, GatewayKilled, GatewayPaused],
            Shape::SplitCluster => &[Cut, Flushed, GatewayKilled],
        }
    }

    /// How the group comes back.
    pub(crate) fn comeback(self, shape: Shape) -> Comeback {
        use Upset::*;
        match self {
            Flushed | Resharded | Cut => Comeback::Alone,
            // In a cluster the one copy has become the master, and WAIT has to find another before claims count.
            MasterKilled | MasterPaused if !shape.is_cluster() => Comeback::Alone,
            MasterKilled | MasterPaused | ReplicaKilled | Emptied | OldSnapshot | Paused
            | PasswordChanged | Full | MayEvict | ReadOnly | GatewayKilled | GatewayPaused | GatewayLate
            | ClockWrong | RingRotated | Reloaded => Comeback::Mended,
        }
    }

    /// See [`Kind`].
    pub(crate) fn kind(self) -> Kind {
        use Upset::*;
        match self {
            PasswordChanged | RingRotated | Reloaded => Kind::Reload,
            Flushed | Full | MayEvict | ReadOnly | Resharded => Kind::Command,
            Emptied | OldSnapshot | Paused | MasterKilled | MasterPaused | ReplicaKilled | Cut => {
                Kind::Outage
            }
            GatewayKilled | GatewayPaused | ClockWrong => Kind::Gateway,
            GatewayLate => Kind::Everything,
        }
    }

    /// Whether both can be there at once.
    pub(crate) fn goes_with(self, other: Self) -> bool {
        let kinds = (self.kind(), other.kind());
        match kinds {
            (Kind::Everything, _) | (_, Kind::Everything) => false,
            (Kind::Gateway, Kind::Gateway) => true,
            (one, another) => one != another,
        }
    }

    /// Whether proofs of before are unknown to the store afterwards, so that they may not pass.
    pub(crate) fn forgets(self) -> bool {
        use Upset::*;
        match self {
            Emptied | OldSnapshot | Flushed | MasterKilled | MasterPaused | Cut | GatewayLate => true,
            Paused | PasswordChanged | Full | MayEvict | ReadOnly | ReplicaKilled | Resharded
            | GatewayKilled | GatewayPaused | ClockWrong | RingRotated | Reloaded => false,
        }
    }

    /// Milliseconds after which everybody has felt it: twice what a gateway waits for the store, and for the policy how often it is looked at.
    pub(crate) fn settles(self) -> u64 {
        match self {
            Self::MayEvict => 1_600,
            _ => 600,
        }
    }

    /// Milliseconds that it stays broken after that, or until it is looked at how it comes back alone.
    pub(crate) fn lasts(self, shape: Shape) -> u64 {
        match self {
            Self::MasterKilled | Self::MasterPaused if shape.is_cluster() => 4_500,
            // Before the sentinels call it down.
            Self::MasterKilled | Self::MasterPaused => 400,
            Self::ClockWrong | Self::GatewayLate => 2_500,
            Self::Flushed | Self::Resharded | Self::Cut => 400,
            _ => 1_500,
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
            Self::ReplicaKilled => "replica killed",
            Self::Resharded => "resharded",
            Self::Cut => "network cut",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayPaused => "gateway paused",
            Self::GatewayLate => "gateway started while the store is away",
            Self::ClockWrong => "gateway with a clock too far ahead",
            Self::RingRotated => "nonce keys rotated",
            Self::Reloaded => "gateways with different rules",
        })
    }
}
