//! Who is really calling: the peer itself, or the one that a trusted proxy reports.
//!
//! Trust goes by addresses. The TCP peer's is the one thing that a caller cannot write, so only a peer among `trusted_proxies` may send a
//! PROXY header. What follows such a header was not written by that proxy: it is the bytes of whoever the header speaks for. So
//! whether request headers are believed is asked of *that* address. An HTTP proxy behind a balancer that speaks the PROXY protocol
//! is believed when it is listed too; a caller that came straight through the balancer is not, and neither is one that the balancer does not name.
//!
//! From anyone else the headers here are never looked at, and the forwarding side removes them (R-F-09, R-L-04).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};

use super::certificate::{self, CLIENT_CERT, ClientCertificate, XFCC};
use super::connection::Session;
use super::reported::{self, Reported};
use super::site::Site;
use crate::config::ClientCertificateHeader;
use crate::verify::field::{Line, single};
use crate::verify::htu::{Authority, Scheme};
use crate::verify::rejection::Rejection;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over, in bytes.
const LONGEST_ID: usize = 128;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The other end of the TCP connection.
    Direct(SocketAddr),
    /// The one that a trusted proxy's PROXY header speaks for.
    Reported(SocketAddr),
    /// Someone whom a trusted proxy's PROXY header does not name; the address is the proxy's.
    Unnamed(SocketAddr),
}

impl Peer {
    /// The address, as far as it is known. An IPv4 address that came through an IPv6 socket is the IPv4 address.
    pub const fn ip(&self) -> IpAddr {
        match self {
            Peer::Direct(address) | Peer::Reported(address) | Peer::Unnamed(address) => {
                address.ip().to_canonical()
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Direct(address) | Peer::Reported(address) => address.fmt(f),
            Peer::Unnamed(proxy) => write!(f, "unnamed by {proxy}"),
        }
    }
}

/// Who is calling, and what a trusted proxy says of the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address that the request came from, as far back as trust goes. For the log and the upstream, never for a decision.
    pub address: IpAddr,
    /// The certificate whose key the caller holds: proven in this connection's handshake, or to the trusted proxy that reports it.
    pub certificate: Option<ClientCertificate>,
    /// The host that was asked for, where a trusted proxy says so.
    pub(super) host: Option<Authority>,
    /// How it was asked for, where a trusted proxy says so.
    pub(super) scheme: Option<Scheme>,
}

/// The caller of a request with these headers; `site` is that of the listener which the session came in by.
///
/// # Errors
/// [`Rejection::ForwardedInvalid`] or [`Rejection::ClientCertInvalid`], for a trusted proxy's headers only.
pub fn caller(headers: &HeaderMap, site: &Site, session: &Session) -> Result<Caller, Rejection> {
    if !site.believes(session.peer) {
        let certificate = session.certificate.clone();
        return Ok(Caller { address: session.peer.ip(), certificate, host: None, scheme: None });
    }
    let certificate = match site.client_certificate_header {
        ClientCertificateHeader::None => session.certificate.clone(),
        // The session's certificate is the proxy's own, so it must not stand in where none is reported.
        header @ (ClientCertificateHeader::ClientCert | ClientCertificateHeader::Xfcc) => {
            certificate::reported(headers, header)?
        }
    };
    let Reported { address, host, scheme } = reported::read(headers, site, session.peer.ip())?;
    Ok(Caller { address, certificate, host, scheme })
}

/// The name that a trusted proxy has given to a request, so that one name finds it in all logs. One that is too long, or not of visible
/// characters, is nobody's loss: the request gets one of ours.
pub fn request_id<'h>(headers: &'h HeaderMap, site: &Site, session: &Session) -> Option<&'h HeaderValue> {
    let Line::One(id) = single(headers, &X_REQUEST_ID) else { return None };
    let fits =
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_graphic());
    (fits && site.believes(session.peer)).then_some(id)
}

/// Whether somebody who is not to be believed names a client certificate: an attempt to be someone else, or a proxy that is missing in
/// `trusted_proxies`. It is removed either way; the operator wants to know.
pub fn claims_certificate(headers: &HeaderMap, site: &Site, session: &Session) -> bool {
    (headers.contains_key(CLIENT_CERT) || headers.contains_key(XFCC)) && !site.believes(session.peer)
}
