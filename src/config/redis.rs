//! `replay.redis`: the memory of used proofs that replicas share, and what is wrong with it beyond how it is written.
//!
//! What is read here decides whether a proof passes, so the answer has to come from the server that is meant: over TLS, or from this machine. Passwords are
//! never printed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::complaint::Complaints;
use super::decode::{Setting, Whole};
use super::either::Secret;
use super::material::Surroundings;
use super::places::Encrypted;
use super::redis_file as file;
use super::redis_servers::servers;
use super::upstream::refuse_tls_settings;
use super::values::Text;

/// `replay.redis`.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `url`, `sentinel` or `cluster`
    pub servers: RedisServers,
    /// `user` and `password`; `None`: nobody is logged in
    pub login: Option<RedisLogin>,
    /// How the servers are spoken to, and those that they tell of
    pub wire: RedisWire,
    /// `prefix` of every key: letters, digits, `-`, `_`, `.`, `:` and `/`, so no hash tag and no wildcard; default `hf:`
    pub prefix: String,
    /// `connections` to each server; default 2
    pub connections: usize,
    /// `timeout` of a reply; default 250 ms
    pub timeout: Duration,
    /// `connect_timeout`, TLS included; default 1 s
    pub connect_timeout: Duration,
    /// `replicas` that must have a claim; default 0 with `url`, otherwise 1
    pub replicas: usize,
    /// `clock_difference`: the most that is borne between the gateway's clock and a server's; default 1 s
    pub clock_difference: Duration,
    /// `on_failure`; default refuse
    pub on_failure: OnFailure,
}

/// Where the memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// `url`: one server
    Alone(RedisServer),
    /// `sentinel`: whichever server the sentinels call the master of the group
    Sentinel(Sentinel),
    /// `cluster`: all masters of the cluster that these nodes, at least one, are part of
    Cluster(Vec<RedisEndpoint>),
}

/// `sentinel` of `replay.redis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// `name` of the group
    pub name: String,
    /// `servers`: the sentinels, at least one
    pub servers: Vec<RedisEndpoint>,
    /// `user` and `password` for the sentinels; `None`: nobody is logged in
    pub login: Option<RedisLogin>,
}

/// A server, by where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServer {
    /// `redis://` or `rediss://`
    Network(RedisEndpoint),
    /// `unix:` and the path of a socket
    Unix(PathBuf),
}

impl fmt::Display for RedisServer {
    /// `host:port`, or `unix:` and the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisServer::Network(endpoint) => endpoint.fmt(f),
            RedisServer::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedisEndpoint {
    /// A name in lower case, or an address without brackets
    pub host: String,
    /// The port
    pub port: u16,
}

impl fmt::Display for RedisEndpoint {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How servers are spoken to: one way for all of them.
#[derive(Clone, Debug)]
pub enum RedisWire {
    /// `redis://` and `unix:`: in the clear, and therefore never to another machine
    Plain,
    /// `rediss://`
    Tls(RedisTls),
}

/// What TLS to the servers needs.
#[derive(Clone, Debug)]
pub struct RedisTls {
    /// `trust`; `None` is the system's roots
    pub trust: Option<Arc<RootCertStore>>,
    /// `client_certificate`: what a server is shown that asks for one
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// `server_name`, in every server's certificate; `None` is each server's host
    pub server_name: Option<ServerName<'static>>,
}

/// Who the gateway is to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLogin {
    /// `user`; `None` is the server's user `default`
    pub user: Option<String>,
    /// `password`
    pub password: RedisPassword,
}

/// A password. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPassword(String);

impl RedisPassword {
    /// The password of that text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for AUTH and nothing else.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisPassword(…)")
    }
}

/// `on_failure`: what becomes of proofs while the memory that is shared cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// `refuse`: they are refused
    Refuse,
    /// `nonce`: those with a nonce that this process alone has sealed pass, remembered by this process
    Nonce,
}

impl OnFailure {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            OnFailure::Refuse => "refuse",
            OnFailure::Nonce => "nonce",
        }
    }
}

impl Redis {
    /// Whether two configurations mean the same, so that what runs can stay.
    pub fn is_same(&self, other: &Self) -> bool {
        // A setting that is added has to be compared too, which the build asks for here.
        let Self {
            servers,
            login,
            wire,
            prefix,
            connections,
            timeout,
            connect_timeout,
            replicas,
            clock_difference,
            on_failure,
        } = self;
        *servers == other.servers
            && *login == other.login
            && wire.is_same(&other.wire)
            && *prefix == other.prefix
            && (*connections, *replicas) == (other.connections, other.replicas)
            && (*timeout, *connect_timeout) == (other.timeout, other.connect_timeout)
            && (*clock_difference, *on_failure) == (other.clock_difference, other.on_failure)
    }

    /// Whether what was claimed through the one is found through the other, as far as can be told from here: the same place in name, and the same keys. Where not,
    /// a proof that passed before the change would pass again after it.
    pub fn has_memory_of(&self, other: &Self) -> bool {
        let place = match (&self.servers, &other.servers) {
            (RedisServers::Alone(one), RedisServers::Alone(two)) => one == two,
            (RedisServers::Sentinel(one), RedisServers::Sentinel(two)) => {
                one.name == two.name && shares(&one.servers, &two.servers)
            }
            (RedisServers::Cluster(one), RedisServers::Cluster(two)) => shares(one, two),
            (RedisServers::Alone(_) | RedisServers::Sentinel(_) | RedisServers::Cluster(_), _) => false,
        };
        place && self.prefix == other.prefix
    }
}

/// Whether two lists have one in common: then both are about the same group.
fn shares(one: &[RedisEndpoint], other: &[RedisEndpoint]) -> bool {
    one.iter().any(|endpoint| other.contains(endpoint))
}

impl RedisWire {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (RedisWire::Plain, RedisWire::Plain) => true,
            (RedisWire::Tls(one), RedisWire::Tls(two)) => {
                let RedisTls { trust, client_certificate, server_name } = one;
                let roots =
                    |trust: &Option<Arc<RootCertStore>>| trust.as_ref().map(|trust| trust.roots.clone());
                // A certificate's key is the one that belongs to it.
                let chain =
                    |shown: &Option<Arc<CertifiedKey>>| shown.as_ref().map(|shown| shown.cert.clone());
                roots(trust) == roots(&two.trust)
                    && chain(client_certificate) == chain(&two.client_certificate)
                    && *server_name == two.server_name
            }
            (RedisWire::Plain | RedisWire::Tls(_), _) => false,
        }
    }
}

/// What could be built; `None` after a complaint.
pub(super) fn redis(
    written: &Setting<Whole<file::Redis>>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Redis> {
    let Whole { settings, whole } = &written.value;
    let trust = settings.trust.as_ref().map(|trust| surroundings.roots(trust, complaints));
    let shown = settings
        .client_certificate
        .as_ref()
        .map(|certificate| surroundings.server_certificate(certificate, complaints));
    if !whole {
        return None;
    }
    let login = login(settings.user.as_ref(), settings.password.as_ref(), surroundings, complaints);
    let (servers, encrypted) = servers(settings, written.span, surroundings, complaints)?;
    let wire = match encrypted {
        Encrypted::No => {
            refuse_tls_settings(
                settings.trust.as_ref().map(|trust| trust.span),
                settings.client_certificate.as_ref().map(|shown| shown.span),
                settings.server_name.as_ref().map(|name| name.span),
                ("this server is not spoken to over TLS", "rediss://"),
                complaints,
            );
            RedisWire::Plain
        }
        Encrypted::Yes if matches!(trust, Some(None)) || matches!(shown, Some(None)) => return None,
        Encrypted::Yes => RedisWire::Tls(RedisTls {
            trust: trust.flatten(),
            client_certificate: shown.flatten().map(|shown| shown.key),
            server_name: settings.server_name.as_ref().map(|name| name.value.0.clone()),
        }),
    };
    let copies = match &servers {
        RedisServers::Alone(_) => 0,
        // Masters of these change while they live, and what no replica has is gone then.
        RedisServers::Sentinel(_) | RedisServers::Cluster(_) => 1,
    };
    Some(Redis {
        servers,
        login: login?,
        wire,
        prefix: settings.prefix.0.clone(),
        connections: settings.connections.0,
        timeout: settings.timeout.0,
        connect_timeout: settings.connect_timeout.0,
        replicas: settings.replicas.as_ref().map_or(copies, |replicas| replicas.0),
        clock_difference: settings.clock_difference.0,
        on_failure: settings.on_failure.value,
    })
}

/// Whom the servers know the gateway as: `Some(None)` where nothing is written, `None` after a complaint.
pub(super) fn login(
    user: Option<&Setting<Text>>,
    password: Option<&Setting<Secret>>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Option<RedisLogin>> {
    let Some(place) = password else {
        if let Some(user) = user {
            let mend = "a user is logged in by its `password`; leave `user` out where there is none";
            complaints.add_with(user.span, "`user` has no effect without a `password`", mend);
        }
        return Some(None);
    };
    let text = surroundings.secret(place, complaints)?;
    if text.is_empty() {
        complaints.add(place.span, "this secret is empty");
        return None;
    }
    Some(Some(RedisLogin { user: user.map(|user| user.0.clone()), password: RedisPassword(text) }))
}
