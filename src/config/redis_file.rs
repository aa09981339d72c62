//! `replay.redis` as it is written: every setting once, as in `file.rs`.

use super::OnFailure;
use super::decode::{FromText, List, Wrong};
use super::either::Secret;
use super::file::{CaTrust, Certificate};
use super::places::{RedisUrl, ServerName};
use super::table::settings;
use super::values::{Count, Millis, Text};

const MINUTE: u64 = 60_000;

/// Redis' own port, where an address has none.
pub(super) const REDIS_PORT: u16 = 6379;
/// Sentinel's.
pub(super) const SENTINEL_PORT: u16 = 26_379;

settings! {
    /// `replay.redis`.
    Redis {
        /// one server: `redis://` or `rediss://` with host and port, or `unix:` and the path of a socket
        url: RedisUrl<REDIS_PORT> => optional;
        /// a group that Sentinel watches
        sentinel: Sentinel => optional;
        /// a Redis Cluster
        cluster: Cluster => optional;
        /// who the gateway is to the server (ACL); left out, the user `default`
        user: Text => optional;
        /// its password; left out, none is sent
        password: Secret => optional;
        /// for rediss servers; left out, the system's roots
        trust: CaTrust => optional;
        /// what the gateway shows to rediss servers that ask for a certificate
        client_certificate: Certificate => optional;
        /// the name in the certificates of rediss servers, and in SNI; left out, each server's host
        server_name: ServerName => optional;
        /// in front of every key
        prefix: KeyPrefix => default "\"hf:\"";
        /// to each server
        connections: Count<1, 64> => default "2";
        /// for a reply; one that is later costs the connection
        timeout: Millis<10, 10_000> => default "250ms";
        /// for a connection, TLS included
        connect_timeout: Millis<10, MINUTE> => default "1s";
        /// copies that must have a claim before it counts; left out, 0 with `url`, 1 with `sentinel` and `cluster`
        replicas: Count<0, 16> => optional;
        /// how far the clocks of gateway and server may differ
        clock_difference: Millis<100, MINUTE> => default "1s";
        /// `refuse`: 503 until it is back; or `nonce`: proofs with a nonce of this process alone, remembered by it
        on_failure: OnFailure => default "refuse";
    }
}

settings! {
    /// `sentinel` of `replay.redis`.
    Sentinel {
        /// what the sentinels call the group
        name: Text => required;
        /// the sentinels; all are asked
        servers: List<RedisUrl<SENTINEL_PORT>, 1> => required;
        /// who the gateway is to the sentinels; left out, the user `default`
        user: Text => optional;
        /// its password; left out, none is sent
        password: Secret => optional;
    }
}

settings! {
    /// `cluster` of `replay.redis`.
    Cluster {
        /// some of the nodes; each tells of all
        servers: List<RedisUrl<REDIS_PORT>, 1> => required;
    }
}

/// What stands in front of keys in a store that others use too. Nothing in it means anything to the store: braces would put every key of a cluster into one slot, and `*`
/// and `?` stand for anything in rules on who may use which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPrefix(pub(super) String);

impl FromText for KeyPrefix {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            let mend = "letters, digits, `-`, `_`, `.`, `:` and `/`, at most 64 of them";
            return Err(Wrong::new("is no prefix of keys", mend));
        }
        Ok(Self(text.to_owned()))
    }
}
