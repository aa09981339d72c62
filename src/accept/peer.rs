//! Who is really calling: the peer itself, or the one that a trusted proxy reports.
//!
//! A proxy is trusted by the address of its TCP connection, which is the one thing a caller cannot write. From anyone
//! else the headers here are never looked at, and the forwarding side removes them (R-F-09, R-L-04).

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::connection::Session;
use super::site::Site;
use super::target::{Line, single};
use super::tls::LARGEST_CERTIFICATE;
use crate::config::ClientCertificateHeader;
use crate::verify::digest::{Certificate, Digest};
use crate::verify::rejection::Rejection;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address that the request came from, as far back as trust goes. For the log, never for a decision.
    pub address: IpAddr,
    /// The certificate whose key the caller holds: proven in this connection's handshake, or to the trusted proxy that reports it.
    pub certificate: Option<Digest<Certificate>>,
}

/// The caller of a request with these headers; `site` is that of the listener which the session came in by.
///
/// # Errors
/// [`Rejection::ForwardedInvalid`] or [`Rejection::ClientCertInvalid`], for a trusted proxy's headers only.
pub fn caller(headers: &HeaderMap, site: &Site, session: &Session) -> Result<Caller, Rejection> {
    if !site.trusts(session.peer.ip()) {
        return Ok(Caller { address: session.peer.ip().to_canonical(), certificate: session.certificate });
    }
    let certificate = match site.client_certificate_header {
        ClientCertificateHeader::None => session.certificate,
        // The session's certificate is the proxy's own, so it must not stand in where none is reported.
        ClientCertificateHeader::ClientCert => reported_certificate(headers)?,
    };
    Ok(Caller { address: reported_address(headers, site, session)?, certificate })
}

/// The rightmost address of `X-Forwarded-For` that is not one of our proxies: each proxy appends the peer it saw, so what stands
/// further left was written by nobody we trust.
fn reported_address(headers: &HeaderMap, site: &Site, session: &Session) -> Result<IpAddr, Rejection> {
    let mut address = session.peer.ip().to_canonical();
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let line = line.to_str().map_err(|_| Rejection::ForwardedInvalid)?;
        for entry in line.rsplit(',') {
            address = read_address(entry.trim()).ok_or(Rejection::ForwardedInvalid)?;
            if !site.trusts(address) {
                return Ok(address);
            }
        }
    }
    Ok(address)
}

/// An address, as some proxies write it: with a port, or in brackets.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

fn reported_certificate(headers: &HeaderMap) -> Result<Option<Digest<Certificate>>, Rejection> {
    match single(headers, &CLIENT_CERT) {
        Line::Absent => Ok(None),
        Line::One(value) => read_certificate(value).map(Some).ok_or(Rejection::ClientCertInvalid),
        Line::Several => Err(Rejection::ClientCertInvalid),
    }
}

/// RFC 9440 §2.2: one byte sequence (RFC 8941 §3.3.5) of the certificate's DER; no PEM, no URL encoding, no parameters.
fn read_certificate(value: &HeaderValue) -> Option<Digest<Certificate>> {
    let encoded = value.as_bytes().strip_prefix(b":")?.strip_suffix(b":")?;
    // Four characters for three bytes: nothing larger than a certificate may be is decoded.
    if encoded.len() > LARGEST_CERTIFICATE.div_ceil(3) * 4 {
        return None;
    }
    let der = STANDARD.decode(encoded).ok()?;
    let (rest, _) = x509_parser::parse_x509_certificate(&der).ok()?;
    rest.is_empty().then(|| Digest::of(&der))
}
