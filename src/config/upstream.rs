//! What is wrong with `upstreams` beyond how they are written, and the upstreams.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::complaint::{Complaints, Span};
use super::decode::{Named, Setting};
use super::material::Surroundings;
use super::upstream_file as file;
use super::values::Count;
use crate::verify::htu::{Origin, Scheme};

/// One of `upstreams`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name
    pub name: String,
    /// `servers`, at least one
    pub servers: Vec<Server>,
    /// `protocol`
    pub protocol: Protocol,
    /// `trust`: the CA of https servers; `None` is the system's roots
    pub trust: Option<Arc<RootCertStore>>,
    /// `client_certificate`: what https servers are shown that ask for one
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// `server_name`: in the certificate of https servers; `None` is each server's host
    pub server_name: Option<ServerName<'static>>,
    /// `connect_timeout`; default 5 s
    pub connect_timeout: Duration,
    /// `response_timeout`: until the head of the answer; default 60 s
    pub response_timeout: Duration,
    /// `idle_timeout`: of an answer's body without a byte; default `limits.idle_timeout`
    pub idle_timeout: Duration,
    /// `keep_alive`: how long a connection waits for another request; default 55 s
    pub keep_alive: Duration,
    /// `resolve`: how often names are resolved again; default 30 s
    pub resolve: Duration,
    /// `retries`: how often a request may be sent once more; default 1
    pub retries: usize,
    /// `connections`: requests at once; default 1024
    pub connections: usize,
    /// `waiting`: requests that wait; default 1024
    pub waiting: usize,
    /// `health`
    pub health: Health,
}

/// One of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `http://` or `https://`, host and port
    Origin(Origin),
    /// `unix:` and the path of a socket
    Unix(PathBuf),
}

impl Server {
    /// Whether it is spoken to over TLS.
    pub fn is_https(&self) -> bool {
        matches!(self, Server::Origin(origin) if origin.scheme() == Scheme::Https)
    }
}

/// `health` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `failures` in a row; default 5
    pub failures: u32,
    /// `ejection`: the first time; default 10 s
    pub ejection: Duration,
    /// `check`; `None`: none is made
    pub check: Option<Check>,
}

/// `check` of `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `path`, perhaps with a query
    pub path: PathAndQuery,
    /// `interval`; default 5 s
    pub interval: Duration,
    /// `timeout`; default 2 s
    pub timeout: Duration,
    /// `healthy` answers in a row; default 2
    pub healthy: u32,
    /// `unhealthy` ones in a row; default 3
    pub unhealthy: u32,
    /// `status`; empty is every 2xx
    pub status: Vec<StatusCode>,
}

/// `protocol` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without (RFC 9113 §3.2, §3.3)
    Http2,
}

/// The upstreams that could be built, in the order of their names. `idle_timeout` is that of `limits`.
pub(super) fn upstreams(
    written: &Named<file::Upstream>,
    idle_timeout: Duration,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Vec<Upstream> {
    let mut upstreams = Vec::with_capacity(written.entries.len());
    for (name, upstream) in &written.entries {
        refuse_tls_without_https(upstream, complaints);
        let trust = upstream.trust.as_ref().map(|trust| surroundings.roots(trust, complaints));
        let shown = upstream
            .client_certificate
            .as_ref()
            .map(|certificate| surroundings.server_certificate(certificate, complaints));
        let health = health(&upstream.health, complaints);
        let (Some(servers), Some(health)) = (&upstream.servers, health) else { continue };
        if matches!(trust, Some(None)) || matches!(shown, Some(None)) {
            continue;
        }
        let file::Upstream { protocol, server_name, connect_timeout, response_timeout, .. } = upstream;
        upstreams.push(Upstream {
            name: name.text.clone(),
            servers: servers.items.iter().map(|server| server.value.0.clone()).collect(),
            protocol: protocol.value,
            trust: trust.flatten(),
            client_certificate: shown.flatten().map(|shown| shown.key),
            server_name: server_name.as_ref().map(|name| name.value.0.clone()),
            connect_timeout: connect_timeout.0,
            response_timeout: response_timeout.0,
            idle_timeout: upstream.idle_timeout.as_ref().map_or(idle_timeout, |timeout| timeout.0),
            keep_alive: upstream.keep_alive.0,
            resolve: upstream.resolve.0,
            retries: upstream.retries.0,
            connections: upstream.connections.0,
            waiting: upstream.waiting.0,
            health,
        });
    }
    upstreams.sort_by(|one, other| one.name.cmp(&other.name));
    upstreams
}

/// Settings of TLS have no effect where no server is https.
fn refuse_tls_without_https(upstream: &file::Upstream, complaints: &mut Complaints) {
    let Some(servers) = upstream.servers.as_ref().filter(|servers| servers.whole) else { return };
    if servers.items.iter().any(|server| server.value.0.is_https()) {
        return;
    }
    refuse_tls_settings(
        upstream.trust.as_ref().map(|trust| trust.span),
        upstream.client_certificate.as_ref().map(|shown| shown.span),
        upstream.server_name.as_ref().map(|name| name.span),
        ("no server of this upstream is https", "https://"),
        complaints,
    );
}

/// Complains of those that are written of `trust`, `client_certificate` and `server_name`, where `why` there is no TLS and which scheme would have it.
pub(super) fn refuse_tls_settings(
    trust: Option<Span>,
    client_certificate: Option<Span>,
    server_name: Option<Span>,
    (why, scheme): (&str, &str),
    complaints: &mut Complaints,
) {
    let written =
        [("trust", trust), ("client_certificate", client_certificate), ("server_name", server_name)];
    for (key, span) in written {
        if let Some(span) = span {
            complaints.add_with(span, why, format!("leave `{key}` out, or write `{scheme}`"));
        }
    }
}

fn health(written: &Setting<file::Health>, complaints: &mut Complaints) -> Option<Health> {
    let file::Health { failures, ejection, check } = &written.value;
    let built = check.as_ref().map(|written| check_of(written, complaints));
    if matches!(built, Some(None)) {
        return None;
    }
    Some(Health { failures: small(failures), ejection: ejection.0, check: built.flatten() })
}

fn check_of(written: &file::Check, complaints: &mut Complaints) -> Option<Check> {
    let file::Check { path, interval, timeout, healthy, unhealthy, status } = written;
    if timeout.0 > interval.0 {
        let span = if timeout.written { timeout.span } else { interval.span };
        complaints.add_with(
            span,
            "a check may take longer than until the next one",
            "`timeout` is at most `interval`",
        );
    }
    let code = |count: &Setting<Count<200, 599>>| StatusCode::from_u16(u16::try_from(count.0).ok()?).ok();
    Some(Check {
        path: path.as_ref()?.value.0.clone(),
        interval: interval.0,
        timeout: timeout.0,
        healthy: small(healthy),
        unhealthy: small(unhealthy),
        status: status.items.iter().filter_map(code).collect(),
    })
}

fn small<const LEAST: u64, const MOST: u64>(count: &Count<LEAST, MOST>) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

impl Upstream {
    /// Whether two configurations mean the same upstream, so that the one that runs can stay: its connections, and what it knows of its servers.
    pub fn is_same(&self, other: &Self) -> bool {
        // A setting that is added has to be compared too, which the build asks for here.
        let Self {
            name,
            servers,
            protocol,
            trust,
            client_certificate,
            server_name,
            connect_timeout,
            response_timeout,
            idle_timeout,
            keep_alive,
            resolve,
            retries,
            connections,
            waiting,
            health,
        } = self;
        let roots = |trust: &Option<Arc<RootCertStore>>| trust.as_ref().map(|trust| trust.roots.clone());
        // A certificate's key is the one that belongs to it.
        let chain = |shown: &Option<Arc<CertifiedKey>>| shown.as_ref().map(|shown| shown.cert.clone());
        *name == other.name
            && *servers == other.servers
            && *protocol == other.protocol
            && roots(trust) == roots(&other.trust)
            && chain(client_certificate) == chain(&other.client_certificate)
            && *server_name == other.server_name
            && *connect_timeout == other.connect_timeout
            && *response_timeout == other.response_timeout
            && *idle_timeout == other.idle_timeout
            && *keep_alive == other.keep_alive
            && *resolve == other.resolve
            && *retries == other.retries
            && *connections == other.connections
            && *waiting == other.waiting
            && *health == other.health
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::fixture::{Fixture, REFERENCE};
    use super::Upstream;

    fn accounts(fixture: &Fixture, text: &str) -> Upstream {
        let config = fixture.read(text, Format::Yaml).unwrap_or_else(|complaints| panic!("{complaints}"));
        config.upstreams[0].clone()
    }

    /// A reload keeps what means the same, and nothing else: an old CA that went on being trusted would be the worst of it.
    #[test]
    fn any_setting_makes_another_upstream() {
        let fixture = Fixture::new();
        let before = accounts(&fixture, REFERENCE);
        assert!(before.is_same(&accounts(&fixture, REFERENCE)));
        assert!(before.is_same(&accounts(&fixture, &REFERENCE.replace("level: info", "level: warn"))));
        for (from, to) in [
            ("servers: [https://accounts.internal:9443]", "servers: [https://accounts.internal]"),
            ("protocol: http1", "protocol: http2"),
            ("    server_name: accounts.internal\n", ""),
            ("connect_timeout: 5s", "connect_timeout: 6s"),
            ("response_timeout: 60s", "response_timeout: 61s"),
            ("    idle_timeout: 60s                     # 10ms", "    idle_timeout: 61s # 10ms"),
            ("keep_alive: 55s", "keep_alive: 54s"),
            ("resolve: 30s", "resolve: 31s"),
            ("retries: 1\n", "retries: 2\n"),
            ("    connections: 1024 ", "    connections: 1025 "),
            ("waiting: 1024", "waiting: 1025"),
            ("failures: 5", "failures: 6"),
            ("healthy: 2 ", "healthy: 3 "),
        ] {
            assert_eq!(REFERENCE.matches(from).count(), 1, "{from}");
            assert!(!before.is_same(&accounts(&fixture, &REFERENCE.replace(from, to))), "{from}");
        }
        // The same file names, and other certificates in them.
        let other = Fixture::new();
        for files in [&["certs/upstream-ca.pem"][..], &["certs/server.pem", "certs/server.key"]] {
            let swap = |from: &Fixture, to: &Fixture| {
                for file in files {
                    to.write(file, &std::fs::read(from.base().join(file)).expect("it is there"));
                }
            };
            let kept = Fixture::new();
            swap(&fixture, &kept);
            swap(&other, &fixture);
            assert!(!before.is_same(&accounts(&fixture, REFERENCE)), "{files:?}");
            swap(&kept, &fixture);
            assert!(before.is_same(&accounts(&fixture, REFERENCE)), "{files:?}");
        }
    }
}
