//! The demo's configuration: what an operator would write for these parts, as the value it becomes.
//!
//! It is built here rather than read, since a file would have to hold the keys and the demo writes nothing. It asks for no exception from any rule.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::net::TcpListener;

use super::surroundings::{AUDIENCE, DemoError, Surroundings};
use crate::config::{
    Access, AfterRestart, ClientCertificateHeader, ClientCertificates, ClientTrust, Config, Credentials,
    Dpop, Forward, ForwardedHeader, Health, Identity, Issuer, KeySource, Limits, Listener, ListenerTls, Log,
    NonceKeys, Onward, PathMatch, Profile, Protocol, ProxyProtocol, ReplayMemory, Report, Route, RouteMatch,
    Segment, Server, ServerCertificate, Streams, TlsSettings, Upstream, Watch,
};
use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::credential::CredentialLimits;
use crate::verify::htu::{Authority, Origin, Scheme};
use crate::verify::policy::{BindingRule, NonceRule, Policy};
use crate::verify::token::{TokenRules, TokenType};

/// Where a proof without a nonce will do.
pub const ACCOUNTS: &str = "accounts";
/// Where a nonce is required.
pub const PAYMENTS: &str = "payments";

/// The configuration of a gateway on `listener`, between these parts.
///
/// # Errors
/// [`DemoError`].
pub fn configuration(listener: &TcpListener, around: &Surroundings) -> Result<Config, DemoError> {
    let address = listener.local_addr()?;
    let at = |scheme, host: &str, port| {
        Origin::new(scheme, &Authority { host: host.to_owned(), port: Some(port) })
    };
    let (host, port) = (address.ip().to_string(), address.port());
    let origins = [host.as_str(), "localhost"].map(|name| Arc::new(at(Scheme::Https, name, port))).to_vec();
    let upstream = around.upstream.address();
    Ok(Config {
        profile: Profile::None,
        listeners: vec![Listener {
            name: "demo".to_owned(),
            address,
            origins,
            tls: ListenerTls::Tls(TlsSettings {
                only_tls13: false,
                certificates: vec![ServerCertificate {
                    names: vec![host, "localhost".to_owned()],
                    key: around.server.certified_key()?,
                }],
                client_certificates: ClientCertificates::Asked { required: false, trust: ClientTrust::Any },
            }),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwarded,
            proxy_protocol: ProxyProtocol::None,
            keeps_certificates: false,
            client_certificate_header: ClientCertificateHeader::None,
        }],
        issuers: vec![issuer(around)?],
        dpop: Dpop {
            algorithms: Algorithms::new(&[
                Algorithm::Es256,
                Algorithm::Es384,
                Algorithm::Ps256,
                Algorithm::EdDsa,
            ]),
            max_age: 60,
            max_future: 10,
            nonce_lifetime: 300,
            nonce_keys: NonceKeys(Vec::new()),
            nonce_region: None,
        },
        replay: ReplayMemory {
            capacity: 100_000,
            per_key: 10_000,
            // Every key was made in this process, so there is no proof from before its start.
            after_restart: AfterRestart::Accept,
        },
        redis: None,
        assertions: None,
        upstreams: vec![Upstream {
            name: "echo".to_owned(),
            protocol: Protocol::Http1,
            servers: vec![Server::Origin(at(Scheme::Http, &upstream.ip().to_string(), upstream.port()))],
            trust: None,
            client_certificate: None,
            server_name: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(55),
            resolve: Duration::from_secs(30),
            retries: 1,
            connections: 1024,
            waiting: 1024,
            health: Health { failures: 5, ejection: Duration::from_secs(10), check: None },
        }],
        routes: vec![
            route(ACCOUNTS, "accounts:read", NonceRule::None),
            route(PAYMENTS, "payments:write", NonceRule::Required),
        ],
        // The scenes are the output; a log line between two of them would hide them.
        log: Log { level: tracing::Level::WARN, access: false },
        admin: None,
        limits: Limits {
            header_bytes: 32 << 10,
            credentials: CredentialLimits { token_bytes: 16 << 10, proof_bytes: 8 << 10 },
            body_bytes: 10 << 20,
            connections: 1000,
            connections_per_address: 1000,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            least_rate: 500,
        },
        reload: Watch::None,
        shutdown_delay: Duration::ZERO,
        shutdown_grace: Duration::from_secs(2),
    })
}

fn issuer(around: &Surroundings) -> Result<Issuer, DemoError> {
    Ok(Issuer {
        rules: TokenRules {
            issuer: around.issuer.url().to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: Algorithms::new(&[Algorithm::Es256]),
            token_type: TokenType::AtJwt,
            required_claims: ["sub", "client_id", "iat", "jti"].map(str::to_owned).to_vec(),
            leeway: 5,
            max_lifetime: None,
        },
        keys: KeySource::Discovery,
        trust: Some(around.roots()?),
        refetch_cooldown: Duration::from_secs(30),
        refresh: Duration::from_secs(300),
        keep_stale: Duration::from_secs(3600),
        introspection: None,
        exchange: None,
        encryption: None,
    })
}

/// Everything under `/{name}`, for tokens bound in any way and with that scope.
fn route(name: &str, scope: &str, nonce: NonceRule) -> Route {
    Route {
        name: name.into(),
        matches: RouteMatch {
            host: None,
            path: PathMatch::Prefix(vec![Segment::Literal(name.to_owned())]),
            methods: vec![Method::GET, Method::POST],
            allow_empty_segments: false,
            allow_encoded_slash: false,
        },
        profile: Profile::None,
        upstream: 0,
        access: Access::Bound(Box::new(Policy {
            scopes: vec![scope.to_owned()],
            ..Policy::new(BindingRule::Any, nonce)
        })),
        issuer: None,
        forward: Forward {
            credentials: Credentials::Kept(Vec::new()),
            identity: Identity::Headers(Box::default()),
            report: Report { x_forwarded: true, forwarded: false, client_cert: false, request_id: true },
            interaction_id: false,
        },
        onward: Onward::default(),
        cors: None,
        resource: None,
        rate: None,
        streams: Streams::default(),
    }
}
