//! A server as the operator wrote it: where it is, and what TLS to it needs.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
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
    /// Its own name, for `Host`: the authority that stands in the configuration.
    pub(super) authority: HeaderValue,
}

/// Where a server is.
pub(super) enum Whereabouts {
    /// At this address.
    Address(SocketAddr),
    /// Wherever the name points to, at this port.
    Name(String, u16),
    /// At this socket of the file system.
    Socket(PathBuf),
}

/// What a TLS handshake with a server needs.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    /// The name that its certificate must be valid for, which is sent as SNI too unless it is an address.
    pub(super) name: ServerName<'static>,
}

/// The servers of an upstream, in the order of the configuration.
///
/// # Errors
/// When TLS to them cannot be set up: the system's roots cannot be had, or a host is no name that a certificate could be for.
pub(super) fn servers(upstream: &config::Upstream) -> Result<Vec<Arc<Server>>, rustls::Error> {
    let tls = client_config(upstream)?;
    let build = |server: &config::Server| match server {
        config::Server::Unix(path) => Ok(Arc::new(Server {
            whereabouts: Whereabouts::Socket(path.clone()),
            tls: None,
            authority: HeaderValue::from_static("localhost"),
        })),
        config::Server::Origin(origin) => at_origin(origin, upstream, &tls).map(Arc::new),
    };
    upstream.servers.iter().map(build).collect()
}

fn at_origin(
    origin: &Origin,
    upstream: &config::Upstream,
    tls: &Arc<ClientConfig>,
) -> Result<Server, rustls::Error> {
    let whereabouts = match origin.host().parse::<IpAddr>() {
        Ok(address) => Whereabouts::Address(SocketAddr::new(address, origin.port())),
        Err(_) => Whereabouts::Name(origin.host().to_owned(), origin.port()),
    };
    let no_name = || rustls::Error::General(format!("{} is no name of a server", origin.host()));
    let tls = match (origin.scheme(), &upstream.server_name) {
        (Scheme::Http, _) => None,
        (Scheme::Https, Some(name)) => Some(name.clone()),
        (Scheme::Https, None) => Some(ServerName::try_from(origin.host().to_owned()).map_err(|_| no_name())?),
    }
    .map(|name| Tls { connector: TlsConnector::from(Arc::clone(tls)), name });
    let authority = HeaderValue::from_str(origin.authority()).map_err(|_| no_name())?;
    Ok(Server { whereabouts, tls, authority })
}

/// TLS to an upstream: its certificate is always verified, against `trust` or the system's roots.
fn client_config(upstream: &config::Upstream) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let encrypted = upstream.servers.iter().any(config::Server::is_https);
    let builder = match &upstream.trust {
        Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
        // Without an https server the roots are never used, and a machine without any can still start.
        None if !encrypted => builder.with_root_certificates(rustls::RootCertStore::empty()),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(rustls_platform_verifier::Verifier::new(provider)?)),
    };
    let mut config = match &upstream.client_certificate {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            let shown = SingleCertAndKey::from(CertifiedKey::clone(certified));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    let protocol = match upstream.protocol {
        Protocol::Http1 => connect::HTTP_1_1,
        Protocol::Http2 => connect::H2,
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}
