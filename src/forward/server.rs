//! A server as the operator wrote it: where it is, and what TLS to it needs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::connect;
use crate::config::{self, Protocol};
use crate::verify::htu::{Origin, Scheme};

/// One of an upstream's servers.
pub(super) struct Server {
    /// Where it is.
    pub(super) whereabouts: Whereabouts,
    /// TLS, for https.
    pub(super) tls: Option<Tls>,
}

/// Where a server is.
pub(super) enum Whereabouts {
    /// At this address.
    Address(SocketAddr),
    /// Wherever the name points to, at this port.
    Name(String, u16),
}

/// What a TLS handshake with a server needs.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    /// The name that its certificate must be valid for, which is sent as SNI too unless it is an address.
    pub(super) name: ServerName<'static>,
}

impl Server {
    /// # Errors
    /// When its name cannot be in a certificate.
    pub(super) fn new(origin: &Origin, tls: &Arc<ClientConfig>) -> Result<Self, rustls::Error> {
        let whereabouts = match origin.host().parse::<IpAddr>() {
            Ok(address) => Whereabouts::Address(SocketAddr::new(address, origin.port())),
            Err(_) => Whereabouts::Name(origin.host().to_owned(), origin.port()),
        };
        let tls = match origin.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(Tls {
                connector: TlsConnector::from(Arc::clone(tls)),
                name: ServerName::try_from(origin.host().to_owned())
                    .map_err(|_| rustls::Error::General(format!("{} is no server name", origin.host())))?,
            }),
        };
        Ok(Self { whereabouts, tls })
    }
}

/// TLS to an upstream: its certificate is always verified, against `trust` or the system's roots.
///
/// # Errors
/// When the system's roots are needed and cannot be had.
pub(super) fn client_config(upstream: &config::Upstream) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let encrypted = upstream.servers.iter().any(|server| server.scheme() == Scheme::Https);
    let config = match &upstream.trust {
        Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
        // Without an https server the roots are never used, and a machine without any can still start.
        None if !encrypted => builder.with_root_certificates(rustls::RootCertStore::empty()),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(rustls_platform_verifier::Verifier::new(provider)?)),
    };
    let mut config = config.with_no_client_auth();
    let protocol = match upstream.protocol {
        Protocol::Http1 => connect::HTTP_1_1,
        Protocol::Http2 => connect::H2,
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}
