//! The file as it is written: every setting once, with its meaning, its type and range, and what holds when it is left out.
//!
//! The operator's reference, `deploy/gateway.reference.yaml`, has the same settings with the same defaults; a test holds the two together.
//! What a setting means for the others is judged where its part is built: `listener.rs`, `issuer.rs`, `proofs.rs`, `redis.rs`, `upstream.rs`,
//! `route.rs`.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::complaint::Complaints;
use super::completion::Completion;
use super::decode::{Decode, Described, List, Named, Whole, refuse_kind};
use super::document::{Node, Value};
use super::either::{ClientTrust, Secret, Tls};
use super::issuer_file::Issuer;
use super::places::DnsName;
use super::profile::Profile;
use super::redis_file::Redis;
use super::route_file::Route;
use super::table::settings;
use super::upstream_file::Upstream;
use super::values::{Bytes, Count, FilePath, Millis, Name, Seconds, Text};
use super::words::{AccessLog, CertificateRequest, MinVersion, Watching};
use super::{AfterRestart, ClientCertificateHeader, ForwardedHeader, ProxyProtocol};
use crate::verify::algorithm::Algorithm;
use crate::verify::htu::Origin;
use crate::verify::policy::NonceRule;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

settings! {
    /// The whole file.
    File {
        /// a preset: `fapi2` or `mcp` set what their specifications ask for, wherever nothing is written, and refuse what they rule out
        profile: Profile => default "none";
        /// the addresses that callers connect to
        listeners: List<Listener, 1> => required;
        /// the authorization servers whose tokens are accepted
        issuers: List<Issuer> => default "[]";
        /// what a DPoP proof must be
        dpop: Whole<Dpop> => default "{}";
        /// where used proofs are remembered
        replay: Whole<Replay> => default "{}";
        /// the gateway's own word for upstreams, signed; left out, there is none
        assertions: Assertions => optional;
        /// the servers behind the gateway, by name
        upstreams: Named<Upstream> => required;
        /// which requests go where, and what they need; the most specific match wins
        routes: List<Route, 1> => required;
        /// what is logged
        log: Log => default "{}";
        /// a listener for health checks and metrics; left out, there is none
        admin: Admin => optional;
        /// how much of everything
        limits: Limits => default "{}";
        /// what makes the configuration be read again, besides SIGHUP and `POST /reload`
        reload: Reload => default "{}";
        /// how it stops
        shutdown: Shutdown => default "{}";
    }
}

settings! {
    /// One of `listeners`.
    Listener {
        /// names the listener in logs
        name: Name => required;
        /// IP address and port to listen on; port 0 lets the system choose
        address: SocketAddr => required;
        /// scheme and authority as callers see them; any other name is answered 421
        public_urls: List<Origin, 1> => required;
        /// TLS settings, or `plaintext`
        tls: Tls => required;
        /// the peers whose forwarding headers, client certificates and PROXY protocol are believed, as CIDRs
        trusted_proxies: List<IpNet> => default "[]";
        /// the headers in which a trusted proxy says who is calling, and for which URL
        forwarded_header: ForwardedHeader => default "x-forwarded";
        /// the header in which a trusted proxy hands on the client's certificate
        client_certificate_header: ClientCertificateHeader => default "none";
        /// whether connections begin with the PROXY protocol
        proxy_protocol: ProxyProtocol => default "none";
    }
}

settings! {
    /// `tls` of a listener that is not `plaintext`.
    TlsSettings {
        /// the oldest TLS version that is spoken
        min_version: MinVersion => default "1.2";
        /// chosen by SNI; the first also answers when no name matches
        certificates: List<Certificate, 1> => required;
        /// left out: a certificate is never asked for
        client_certificates: ClientCertificates => optional;
    }
}

settings! {
    /// One of `certificates`.
    Certificate {
        /// PEM file: the certificate, then its intermediates
        chain: FilePath => required;
        /// PEM file: the private key
        key: FilePath => required;
    }
}

settings! {
    /// `client_certificates` of a listener.
    ClientCertificates {
        /// whether a handshake without a certificate goes on
        request: CertificateRequest => default "optional";
        /// `any` (RFC 8705 self-signed use), or the CA that must have issued it
        trust: ClientTrust => required;
    }
}

settings! {
    /// Certificates that others must chain to.
    CaTrust {
        /// PEM file of CA certificates
        ca: FilePath => required;
    }
}

settings! {
    /// `dpop`.
    Dpop {
        /// the signature algorithms of proofs
        algorithms: List<Algorithm, 1> => default "[ES256, ES384, PS256, EdDSA]";
        /// how old `iat` may be
        max_age: Seconds<1, 300> => default "60s";
        /// how far ahead `iat` may be
        max_future: Seconds<0, 60> => default "10s";
        /// whether a proof must hold a nonce of ours; a route may say otherwise
        nonce: NonceRule => default "none";
        /// a nonce is good for one to two lifetimes
        nonce_lifetime: Seconds<10, 3600> => default "5m";
        /// one key a line, 32 bytes in base64url: the first seals, all open; left out, made at start
        nonce_keys: Secret => optional;
        /// nonces count in the region of this name alone, and so do proofs that hold them
        nonce_region: Name => optional;
    }
}

settings! {
    /// The place of a secret.
    SecretPlace {
        /// a file; one newline at its end is dropped
        file: FilePath => optional;
        /// a variable of the environment
        env: Name => optional;
    }
}

settings! {
    /// `replay`.
    Replay {
        /// in this process
        memory: ReplayMemory => default "{}";
        /// in a server that replicas share, and that outlives them
        redis: Whole<Redis> => optional;
    }
}

settings! {
    /// `replay.memory`.
    ReplayMemory {
        /// live proofs; when full a request is refused (503), none is forgotten
        capacity: Count<1, 100_000_000> => default "1000000";
        /// of them, for one key
        per_key: Count<1, 100_000_000> => default "100000";
        /// proofs whose iat lies before the second this process started in
        after_restart: AfterRestart => default "refuse";
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

settings! {
    /// `log`.
    Log {
        /// `error`, `warn`, `info`, `debug` or `trace`
        level: tracing::Level => default "info";
        /// one line a request on standard output, or none
        access: AccessLog => default "json";
    }
}

settings! {
    /// `admin`.
    Admin {
        /// IP address and port; never one of a listener
        address: SocketAddr => required;
        /// the names it may be called by, besides `localhost` and every IP address
        names: List<DnsName> => default "[]";
    }
}

settings! {
    /// `limits`.
    Limits {
        /// of a request's head
        header_bytes: Bytes<{ 8 * KIB }, MIB> => default "32KiB";
        /// of an access token
        token_bytes: Bytes<256, { 256 * KIB }> => default "16KiB";
        /// of a DPoP proof
        proof_bytes: Bytes<256, { 256 * KIB }> => default "8KiB";
        /// of a request's body
        body_bytes: Bytes<1, TIB> => default "10MiB";
        /// over all listeners
        connections: Count<1, 1_000_000> => default "10000";
        /// of them, from one address; left out, three quarters of more than 100
        connections_per_address: Count<1, 1_000_000> => optional;
        /// for a TLS handshake
        handshake_timeout: Millis<10, HOUR> => default "5s";
        /// from a request's first byte to the end of its head
        header_timeout: Millis<10, HOUR> => default "10s";
        /// of a connection without a request, or a body without a byte
        idle_timeout: Millis<10, HOUR> => default "60s";
        /// bytes in a second that whoever sends a body or reads an answer must manage, over 20s of waiting for it
        least_rate: Bytes<1, MIB> => default "500";
    }
}

settings! {
    /// `reload`.
    Reload {
        /// `files`: a change of any file it was read from; or `none`
        watch: Watching => default "files";
        /// how often the files are looked at, where the system does not tell of a change
        poll: Millis<100, DAY> => default "30s";
    }
}

settings! {
    /// `shutdown`.
    Shutdown {
        /// how long connections are still taken after SIGTERM, while readiness is 503 already
        delay: Millis<0, HOUR> => default "200ms";
        /// how long requests in flight may take to end after that
        grace: Millis<0, HOUR> => default "30s";
    }
}

/// Every setting there is, in the order of the reference.
pub fn settings() -> Vec<Described> {
    let mut all = Vec::new();
    File::describe("", &mut all);
    all
}

/// Reads the tree of a whole file.
pub(super) fn read(node: &Node, complaints: &mut Complaints) -> Option<File> {
    match &node.value {
        Value::Mapping(_) => File::decode(node, complaints),
        _ => refuse_kind(node, "a mapping of settings", complaints),
    }
}

/// Puts every default into the tree of a whole file that is right.
pub(super) fn complete(tree: &mut Node, completion: &mut Completion) {
    File::complete(tree, completion);
}
