//! `upstreams` as they are written: every setting once, as in `file.rs`.

use super::Protocol;
use super::decode::List;
use super::file::{CaTrust, Certificate};
use super::places::{Server, ServerName, UrlPath};
use super::table::settings;
use super::values::{Count, Millis};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

settings! {
    /// One of `upstreams`.
    Upstream {
        /// http or https origins, or `unix:` and the path of a socket
        servers: List<Server, 1> => required;
        /// `http1`, or `http2`: by ALPN over TLS, with prior knowledge without
        protocol: Protocol => default "http1";
        /// for https servers; left out, the system's roots
        trust: CaTrust => optional;
        /// what the gateway shows to https servers that ask for a certificate
        client_certificate: Certificate => optional;
        /// the name in the certificates of https servers, and in SNI; left out, each server's host
        server_name: ServerName => optional;
        /// for a connection to a server, and for a free place among `connections`
        connect_timeout: Millis<10, { 5 * MINUTE }> => default "5s";
        /// until the head of the answer
        response_timeout: Millis<10, HOUR> => default "60s";
        /// of an answer's body without a byte; left out, `limits.idle_timeout`
        idle_timeout: Millis<10, HOUR> => optional;
        /// how long a connection waits for another request
        keep_alive: Millis<10, HOUR> => default "55s";
        /// how often names of servers are resolved again
        resolve: Millis<100, DAY> => default "30s";
        /// how often a request may be sent once more
        retries: Count<0, 10> => default "1";
        /// requests at once, over all servers; with http1 each has a connection
        connections: Count<1, 1_000_000> => default "1024";
        /// requests that wait for one of these; one more is answered 503
        waiting: Count<0, 1_000_000> => default "1024";
        /// when a server gets no requests
        health: Health => default "{}";
    }
}

settings! {
    /// `health` of an upstream.
    Health {
        /// after this many failures in a row, an address gets no requests
        failures: Count<1, 1000> => default "5";
        /// for this long the first time, doubled each time up to 32 times as long
        ejection: Millis<10, HOUR> => default "10s";
        /// requests that the gateway makes itself; left out, none
        check: Check => optional;
    }
}

settings! {
    /// `check` of `health`.
    Check {
        /// GET this path and query
        path: UrlPath => required;
        /// how often
        interval: Millis<10, HOUR> => default "5s";
        /// for the answer; not longer than `interval`
        timeout: Millis<10, HOUR> => default "2s";
        /// good answers in a row that bring an address back
        healthy: Count<1, 100> => default "2";
        /// bad ones that turn it away
        unhealthy: Count<1, 100> => default "3";
        /// what a good answer is; empty, every 2xx
        status: List<Count<200, 599>> => default "[]";
    }
}
