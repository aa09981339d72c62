//! Why a server cannot be asked about proofs: one reason each, with what mends it.
//!
//! A server that fails in any of these ways gets no claims until it has been vetted anew. The label is the metric's; the sentence is the operator's, in the log
//! and in readiness detail. Neither holds a key, a password or anything of a caller's.

use std::fmt;
use std::io;

/// What is wrong with a server, or with the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or it broke off.
    Unreachable(String),
    /// No TLS with it, or not with the server that is meant.
    Tls(String),
    /// It does not take the user or the password, or wants one.
    WrongPassword(String),
    /// Its user may not do what has to be done; the server's words say what.
    NotPermitted(String),
    /// What answers there does not speak Redis' protocol.
    NotRedis,
    /// It is a replica, whose writes would be lost.
    ReadOnly,
    /// Its `maxmemory-policy`, by which it may forget a proof that could still pass.
    MayEvict(String),
    /// It is a node of a cluster, which has some of the keys.
    InCluster,
    /// It is no node of a cluster, though a cluster was meant.
    NoCluster,
    /// It has no room left.
    Full,
    /// It takes no writes since it cannot write to its disk.
    CannotPersist,
    /// It is still reading its data.
    Loading,
    /// Fewer copies have a claim than must have it before it counts.
    TooFewReplicas,
    /// A reply took longer than `timeout`.
    Late,
    /// Its memory is not the one it was vetted with: emptied, or another server's, or its clock was set, by which claims end; or another gateway has begun a new one there, since it needs
    /// claims for longer than the marker says.
    MemoryLost,
    /// Its memory begins in so many seconds, by what this key says. More than a few: clocks were wrong when it was written.
    NotBegun {
        /// From now on, by its clock
        seconds: u64,
        /// The key
        marker: String,
    },
    /// Its clock is so many milliseconds ahead of ours, or behind where the number is negative.
    ClockDiffers(i64),
    /// No sentinel could name the group's master.
    NoMaster(String),
    /// The sentinels have made another server master.
    Replaced,
    /// No known server of the cluster has the slot.
    NoSlot,
    /// The cluster says that it is down.
    ClusterDown,
    /// More claims wait than can be sent.
    Overloaded,
    /// An answer that there should not be.
    Broken(String),
}

/// The longest part of a server's words that is repeated.
const LONGEST: usize = 160;

/// A server's words, fit for a log: what is no printable ASCII is escaped, and what is long is cut.
pub(super) fn said(words: &[u8]) -> String {
    words[..words.len().min(LONGEST)].escape_ascii().to_string()
}

impl Trouble {
    /// Every label, in the order of the reasons: what a metric shows before the first of them happens.
    pub const LABELS: [&str; 23] = [
        "unreachable",
        "tls",
        "wrong_password",
        "not_permitted",
        "not_redis",
        "read_only",
        "may_evict",
        "in_cluster",
        "no_cluster",
        "full",
        "cannot_persist",
        "loading",
        "too_few_replicas",
        "late",
        "memory_lost",
        "not_begun",
        "clock_differs",
        "no_master",
        "replaced",
        "no_slot",
        "cluster_down",
        "overloaded",
        "broken",
    ];

    /// The place of the label.
    pub(super) const fn number(&self) -> usize {
        match self {
            Trouble::Unreachable(_) => 0,
            Trouble::Tls(_) => 1,
            Trouble::WrongPassword(_) => 2,
            Trouble::NotPermitted(_) => 3,
            Trouble::NotRedis => 4,
            Trouble::ReadOnly => 5,
            Trouble::MayEvict(_) => 6,
            Trouble::InCluster => 7,
            Trouble::NoCluster => 8,
            Trouble::Full => 9,
            Trouble::CannotPersist => 10,
            Trouble::Loading => 11,
            Trouble::TooFewReplicas => 12,
            Trouble::Late => 13,
            Trouble::MemoryLost => 14,
            Trouble::NotBegun { .. } => 15,
            Trouble::ClockDiffers(_) => 16,
            Trouble::NoMaster(_) => 17,
            Trouble::Replaced => 18,
            Trouble::NoSlot => 19,
            Trouble::ClusterDown => 20,
            Trouble::Overloaded => 21,
            Trouble::Broken(_) => 22,
        }
    }

    /// The word for metrics.
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.number()]
    }

    /// What an error reply means. The first word of one is its kind; servers agree on these (redis.io, "RESP protocol: simple errors").
    pub(super) fn of_error(words: &[u8]) -> Self {
        // What a server refuses as late as at EXEC has its reason behind these words.
        let words = words.strip_prefix(b"EXECABORT Transaction discarded because of: ").unwrap_or(words);
        let kind = words.split(|byte| *byte == b' ').next().unwrap_or_default();
        match kind {
            b"NOAUTH" | b"WRONGPASS" => Trouble::WrongPassword(said(words)),
            b"NOPERM" => Trouble::NotPermitted(said(words)),
            b"READONLY" | b"MASTERDOWN" | b"UNBLOCKED" => Trouble::ReadOnly,
            b"OOM" => Trouble::Full,
            b"MISCONF" => Trouble::CannotPersist,
            b"LOADING" => Trouble::Loading,
            b"NOREPLICAS" => Trouble::TooFewReplicas,
            b"CLUSTERDOWN" => Trouble::ClusterDown,
            b"MOVED" | b"ASK" | b"TRYAGAIN" => Trouble::NoSlot,
            _ => Trouble::Broken(said(words)),
        }
    }
}

impl Trouble {
    /// Whether it may be the trouble of one command alone, on a server that does all others: a right that the user lacks, or words that speak of this command's key.
    pub(super) const fn is_of_one_command(&self) -> bool {
        matches!(self, Trouble::NotPermitted(_) | Trouble::Broken(_))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        // With TLS 1.3 a server refuses our certificate when the handshake is over for us, in the place of its first reply.
        match error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) {
            true => Trouble::Tls(error.to_string()),
            false => Trouble::Unreachable(error.to_string()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            Trouble::Tls(why) => write!(f, "no TLS with it: {why}; see `trust`, `server_name` and `client_certificate`"),
            Trouble::WrongPassword(said) => {
                write!(f, "it refuses `user` and `password`, or wants them: {said}")
            }
            Trouble::NotPermitted(said) => {
                write!(f, "its ACL does not let the user do what is needed (see the README): {said}")
            }
            Trouble::NotRedis => f.write_str("what answers there is no Redis and no Valkey; is it the right port, and is TLS on at both ends?"),
            Trouble::ReadOnly => {
                f.write_str("it is a replica, and claims need the master: see to it that `replay.redis` leads there, by its `url`, its sentinels or its cluster")
            }
            Trouble::MayEvict(policy) => write!(
                f,
                "its maxmemory-policy is {policy}, so it may forget a used proof: set `maxmemory-policy noeviction`"
            ),
            Trouble::InCluster => f.write_str("it is a node of a cluster: name it in `cluster`, not in `url`"),
            Trouble::NoCluster => f.write_str("it is no node of a cluster (`cluster-enabled no`): name it in `url`"),
            Trouble::Full => f.write_str("it is full: give it more `maxmemory`"),
            Trouble::CannotPersist => f.write_str(
                "it takes no writes since it cannot save to its disk: mend the disk, or save nothing (`save \"\"`)",
            ),
            Trouble::Loading => f.write_str("it is still loading its data"),
            Trouble::TooFewReplicas => {
                f.write_str("fewer replicas have a claim than `replicas` asks for: see to its replicas")
            }
            Trouble::Late => f.write_str("a reply took longer than `timeout`"),
            Trouble::MemoryLost => f.write_str(
                "its memory was emptied or replaced, or its clock was set, while it was in use; or another gateway came that needs claims for longer, and began a new memory",
            ),
            Trouble::NotBegun { seconds, marker } => write!(
                f,
                "its memory begins in {seconds} s, as its key {marker} says: if that is long, clocks were wrong when the key was written; set them right, stop the gateways, delete the key, start them"
            ),
            Trouble::ClockDiffers(milliseconds) => write!(
                f,
                "its clock differs from this machine's by {milliseconds} ms, more than `clock_difference`: set both by NTP"
            ),
            Trouble::NoMaster(why) => write!(f, "no sentinel could name the master: {why}"),
            Trouble::Replaced => f.write_str("the sentinels have made another server master"),
            Trouble::NoSlot => f.write_str("no known server of the cluster has the proof's slot"),
            Trouble::ClusterDown => f.write_str("the cluster says that it is down: see `CLUSTER INFO`"),
            Trouble::Overloaded => f.write_str("more claims wait than can be sent"),
            Trouble::Broken(said) => write!(f, "an answer that there should not be: {said}"),
        }
    }
}
