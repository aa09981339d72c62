//! `Config`: what the operator wrote, checked and immutable.
//!
//! Everything a part needs is in here in its final form: files are read, keys parsed, names resolved, defaults filled in. Nothing
//! after this point can find the configuration wrong. How it is written and what can be wrong with it is in
//! the files beside this one; the operator's reference is `deploy/gateway.reference.yaml`.

mod assertions;
mod client;
mod client_key;
mod complaint;
mod completion;
mod condition;
mod cors;
mod credentials;
mod decode;
mod document;
mod either;
mod encryption;
mod environment;
mod exchange;
pub mod fields;
mod file;
mod files;
mod identity;
mod introspection;
mod issuer;
mod issuer_file;
mod listener;
mod load;
mod material;
mod mcp;
mod onward;
mod pattern;
mod places;
mod print;
mod profile;
mod proofs;
mod rate;
mod redis;
mod redis_file;
mod redis_servers;
mod require;
mod resource;
mod route;
mod route_file;
mod streams;
mod table;
mod toml;
mod upstream;
mod upstream_file;
mod values;
mod words;
mod yaml;

#[cfg(test)]
mod answered;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod broken_forward;
#[cfg(test)]
mod broken_issuers;
#[cfg(test)]
mod broken_redis;
#[cfg(test)]
mod broken_routes;
#[cfg(test)]
mod broken_upstreams;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod presets;
#[cfg(test)]
mod reference;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::verify::algorithm::Algorithms;
use crate::verify::credential::CredentialLimits;
use crate::verify::htu::Origin;

pub use assertions::{AssertionKeys, Assertions};
pub use client::{Audience, ClientAuthentication, ClientSecret, OauthClient};
pub use client_key::ClientKey;
pub use complaint::{Complaint, Complaints, Span};
pub use credentials::{Credential, Credentials};
pub use decode::Described;
pub use document::Format;
pub use encryption::{Encryption, SealedTokens};
pub use environment::Environment;
pub use exchange::{Exchange, ExchangeTarget};
pub use fields::GivenNames;
pub use file::settings;
pub use files::Files;
pub use identity::{ASSERTION, Identity, IdentityHeaders};
pub use introspection::{AnswerForm, Introspection};
pub use issuer::{Issuer, KeySource};
pub use listener::{
    ClientCertificateHeader, ClientCertificates, ClientTrust, ForwardedHeader, Listener, ListenerTls,
    ProxyProtocol, ServerCertificate, TlsSettings,
};
pub use load::{Reading, load, read, read_files};
pub use onward::{Host, Onward, Rewrite};
pub use print::print;
pub use profile::Profile;
pub use rate::{LimitBy, Rate};
pub use redis::{
    OnFailure, Redis, RedisEndpoint, RedisLogin, RedisPassword, RedisServer, RedisServers, RedisTls,
    RedisWire, Sentinel,
};
pub use require::Access;
pub use resource::{Resource, WELL_KNOWN};
pub use streams::Streams;
pub use upstream::{Check, Health, Protocol, Server, Upstream};

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// `profile`
    pub profile: Profile,
    /// `listeners`, at least one
    pub listeners: Vec<Listener>,
    /// `issuers`, no two with the same `issuer`
    pub issuers: Vec<Issuer>,
    /// `dpop`
    pub dpop: Dpop,
    /// `replay.memory`
    pub replay: ReplayMemory,
    /// `replay.redis`; `None`: no other process knows what this one remembers
    pub redis: Option<Redis>,
    /// `assertions`; there is one where a route's identity is an assertion
    pub assertions: Option<Assertions>,
    /// `upstreams`, in the order of their names
    pub upstreams: Vec<Upstream>,
    /// `routes`
    pub routes: Vec<Route>,
    /// `log`
    pub log: Log,
    /// `admin`; left out, there is no admin listener
    pub admin: Option<Admin>,
    /// `limits`
    pub limits: Limits,
    /// `reload`
    pub reload: Watch,
    /// `shutdown.delay`: how long connections are still taken after SIGTERM; default 200 ms
    pub shutdown_delay: Duration,
    /// `shutdown.grace`: how long requests in flight may take to end after that; default 30 s
    pub shutdown_grace: Duration,
}

/// `dpop`.
#[derive(Debug)]
pub struct Dpop {
    /// `algorithms`
    pub algorithms: Algorithms,
    /// `max_age`, in seconds
    pub max_age: i64,
    /// `max_future`, in seconds
    pub max_future: i64,
    /// `nonce_lifetime`, in seconds; default 300
    pub nonce_lifetime: i64,
    /// `nonce_keys`, first one seals; empty: made at start
    pub nonce_keys: NonceKeys,
    /// `nonce_region`; default none: a nonce counts wherever its key is
    pub nonce_region: Option<String>,
}

/// The secrets of `nonce_keys`. They are never printed.
pub struct NonceKeys(pub Vec<[u8; 32]>);

impl std::fmt::Debug for NonceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NonceKeys({})", self.0.len())
    }
}

/// `replay.memory`.
#[derive(Clone, Copy, Debug)]
pub struct ReplayMemory {
    /// `capacity`: live proofs
    pub capacity: usize,
    /// `per_key`: of them, for one key
    pub per_key: usize,
    /// `after_restart`
    pub after_restart: AfterRestart,
}

/// `after_restart`: what happens to a proof that may have been used before this process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRestart {
    /// It is refused.
    Refuse,
    /// It is accepted.
    Accept,
}

/// One of `routes`.
#[derive(Debug)]
pub struct Route {
    /// `name`
    pub name: Arc<str>,
    /// `match`
    pub matches: RouteMatch,
    /// `profile`, or that of the file
    pub profile: Profile,
    /// `upstream`: an index into [`Config::upstreams`]
    pub upstream: usize,
    /// `require`, or `public: true`
    pub access: Access,
    /// `require.issuer`: an index into [`Config::issuers`]; `None`: any of them
    pub issuer: Option<usize>,
    /// `forward`: what the upstream gets
    pub forward: Forward,
    /// `forward.host` and `forward.rewrite`
    pub onward: Onward,
    /// `forward`: how long, and what beyond one answer
    pub streams: Streams,
    /// `cors`; `None`: the gateway has no part in it
    pub cors: Option<Cors>,
    /// `resource`
    pub resource: Option<Resource>,
    /// `limits`
    pub rate: Option<Rate>,
}

/// `match` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// `host`, lower case; `None` is every host of every listener
    pub host: Option<String>,
    /// `path` or `path_prefix`
    pub path: PathMatch,
    /// `methods`; empty is all
    pub methods: Vec<http::Method>,
    /// `allow_empty_segments`: `//` in a path is not refused
    pub allow_empty_segments: bool,
    /// `allow_encoded_slash`: `%2F` in a path is not refused
    pub allow_encoded_slash: bool,
}

/// The path of a match: whole segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `path`: these segments and no more
    Exact(Vec<Segment>),
    /// `path_prefix`: these segments and any behind them; empty for `/`
    Prefix(Vec<Segment>),
}

/// One segment of a match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, in normal form
    Literal(String),
    /// `{name}`: any one non-empty segment
    Any,
}

/// `forward` of a route.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `credentials`
    pub credentials: Credentials,
    /// `identity`
    pub identity: Identity,
    /// `report`
    pub report: Report,
    /// `interaction_id`: `x-fapi-interaction-id` in both directions and in the log
    pub interaction_id: bool,
}

/// `forward.report` of a route: what the upstream is told of the caller and the request. All of these headers are removed
/// from what the caller sent, whatever is in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// `x-forwarded`: `X-Forwarded-For`, `-Host` and `-Proto`
    pub x_forwarded: bool,
    /// `forwarded`: `Forwarded` (RFC 7239)
    pub forwarded: bool,
    /// `client-cert`: `Client-Cert` (RFC 9440)
    pub client_cert: bool,
    /// `x-request-id`
    pub request_id: bool,
}

/// `cors` of a route.
#[derive(Debug)]
pub struct Cors {
    /// `origins`
    pub origins: CorsOrigins,
    /// `headers`: what pages may set, besides what the route itself needs
    pub headers: Vec<HeaderName>,
    /// `expose`: what pages may read, besides what the protocol itself needs
    pub expose: Vec<HeaderName>,
    /// `credentials`: whether browsers may add cookies and client certificates; never with `*`
    pub credentials: bool,
    /// `max_age`: how many seconds a browser may keep the answer to a preflight
    pub max_age: i64,
}

/// `origins` of `cors`.
#[derive(Debug)]
pub enum CorsOrigins {
    /// `*`
    Any,
    /// These, at least one
    Listed(Vec<Origin>),
}

/// `log`.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// `level`
    pub level: tracing::Level,
    /// `access: json` rather than `none`
    pub access: bool,
}

/// `admin`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `address`
    pub address: SocketAddr,
    /// `names`, in lower case: what it may be called, besides `localhost` and every IP address
    pub names: Vec<String>,
}

/// `reload`: what makes the configuration be read again, besides SIGHUP and `POST /reload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// `watch: none`: nothing else.
    None,
    /// `watch: files`: a change of any file it was read from.
    Files {
        /// `poll`: how often they are looked at where the system does not tell; default 30 s
        poll: Duration,
    },
}

/// `limits`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `header_bytes`; default 32 KiB
    pub header_bytes: usize,
    /// `token_bytes` (16 KiB) and `proof_bytes` (8 KiB)
    pub credentials: CredentialLimits,
    /// `body_bytes`; default 10 MiB
    pub body_bytes: u64,
    /// `connections`, over all listeners; default 10000
    pub connections: usize,
    /// `connections_per_address`; left out, three quarters of `connections`, or no limit where these are 100 at most
    pub connections_per_address: usize,
    /// `handshake_timeout`; default 5 s
    pub handshake_timeout: Duration,
    /// `header_timeout`: from a request's first byte to the end of its head; default 10 s
    pub header_timeout: Duration,
    /// `idle_timeout`: a connection without a request, or a body without a byte; default 60 s
    pub idle_timeout: Duration,
    /// `least_rate`: bytes in a second, of a body and of an answer that is read; default 500
    pub least_rate: u64,
}
