//! How `forward` of a route and `assertions` are written: what the upstream gets.

use super::Host;
use super::decode::List;
use super::either::Secret;
use super::table::settings;
use super::values::{Millis, Seconds, Text, UpgradeToken};
use super::words::{Credentials, Identity, Reported};

const DAY: u64 = 24 * 60 * 60 * 1000;

settings! {
    /// `forward` of a route.
    Forward {
        /// whether the upstream gets the token and the proof
        credentials: Credentials => default "strip";
        /// how it is told who is calling
        identity: Identity => default "none";
        /// whom an assertion is for: its `aud`
        audience: Text => optional;
        /// `Host` at the upstream: `caller` (the public name that was called), `upstream` (the server's own), or a name
        host: Host => default "caller";
        /// another path for the upstream than the one that was authorised
        rewrite: Rewrite => optional;
        /// what it is told of the caller and the request, in headers
        report: List<Reported> => default "[x-forwarded, x-request-id]";
        /// the protocols that a connection may switch to, such as `websocket`
        upgrade: List<UpgradeToken> => default "[]";
        /// how long a body, or both sides of an upgraded connection, may be silent; left out, `limits.idle_timeout`
        idle_timeout: Millis<10, DAY> => optional;
        /// whether what is still streaming ends when the token does
        end_at_expiry: bool => default "false";
    }
}

settings! {
    /// `rewrite` of a route.
    Rewrite {
        /// the whole segments that are taken from the start of the path; the match has to begin with them
        strip_prefix: Text => required;
        /// the segments that are put in their place; left out, none
        replace: Text => optional;
    }
}

settings! {
    /// `assertions`.
    Assertions {
        /// who signs: its `iss`
        issuer: Text => required;
        /// PEM of P-256 private keys; the first signs, all are published
        keys: Secret => required;
        /// how long one is good
        lifetime: Seconds<1, 300> => default "30s";
    }
}
