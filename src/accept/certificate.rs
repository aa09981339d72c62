//! The certificate that a caller has shown to a trusted proxy, as the proxy reports it: RFC 9440, or Envoy's way.
//!
//! Whoever can write one of these headers can be anyone, so whether the peer may is asked before anything here is (`peer`), and every
//! deviation refuses the request: what is not understood is not guessed at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::tls::LARGEST_CERTIFICATE;
use super::xfcc;
use crate::config::ClientCertificateHeader;
use crate::verify::digest::{Certificate, Digest};
use crate::verify::field::{Line, single};
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;

pub(super) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
pub(super) const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// A certificate whose key a caller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// What a token is bound to (RFC 8705 §3.1).
    pub digest: Digest<Certificate>,
    /// Its DER, where it is known and a route passes it on.
    pub der: Option<Bytes>,
    /// Until when a CA vouches for it, where this gateway has judged that: see [`ClientCertificate::has_expired`].
    pub vouched_until: Option<UnixTime>,
}

impl ClientCertificate {
    /// The certificate that was shown in a handshake. `vouched_for` says whether a CA of the listener has to have issued it.
    pub(super) fn shown(der: &[u8], vouched_for: bool, keep: bool) -> Self {
        Self {
            digest: Digest::of(der),
            der: keep.then(|| Bytes::copy_from_slice(der)),
            vouched_until: vouched_for.then(|| last_second(der)),
        }
    }

    /// Whether nobody vouches for it any more at `now`, though a CA has to.
    ///
    /// A handshake judges this, but a session that is resumed brings its certificate along unjudged, with a new ticket each time, and a connection may
    /// last for days. Without this look at each request a caller could go on with a certificate for as long as it keeps coming back.
    ///
    /// Where any certificate is taken (RFC 8705 §2.2), nobody vouches for its dates: what counts is the key, and the token that names the
    /// certificate has an end of its own. Nor are the dates judged of one that a trusted proxy reports, which the proxy has judged. Looked at are
    /// the dates of the certificate itself; those of the CAs above it only in a whole handshake.
    pub fn has_expired(&self, now: UnixTime) -> bool {
        // RFC 5280 §4.1.2.5: valid through notAfter, that second included.
        self.vouched_until.is_some_and(|last| now > last)
    }
}

/// The last second in which a certificate is valid. One that cannot be read never is; a handshake does not let it through.
fn last_second(der: &[u8]) -> UnixTime {
    let parsed = x509_parser::parse_x509_certificate(der);
    let last = parsed.map_or(i64::MIN, |(_, certificate)| certificate.validity().not_after.timestamp());
    UnixTime::from_seconds(last)
}

/// What a trusted proxy reports in `header`, if anything. The other header is not looked at: its proxy passes it on as it came.
///
/// # Errors
/// [`Rejection::ClientCertInvalid`]
pub(super) fn reported(
    headers: &HeaderMap,
    header: ClientCertificateHeader,
) -> Result<Option<ClientCertificate>, Rejection> {
    match header {
        ClientCertificateHeader::None => Ok(None),
        ClientCertificateHeader::ClientCert => one(headers, &CLIENT_CERT, rfc9440),
        ClientCertificateHeader::Xfcc => one(headers, &XFCC, xfcc),
    }
}

fn one(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&[u8]) -> Option<ClientCertificate>,
) -> Result<Option<ClientCertificate>, Rejection> {
    match single(headers, name) {
        Line::Absent => Ok(None),
        Line::One(value) => read(value.as_bytes()).map(Some).ok_or(Rejection::ClientCertInvalid),
        Line::Several => Err(Rejection::ClientCertInvalid),
    }
}

/// RFC 9440 §2.2: one byte sequence (RFC 8941 §3.3.5) of the certificate's DER; no PEM, no URL encoding, no parameters.
fn rfc9440(value: &[u8]) -> Option<ClientCertificate> {
    let encoded = value.strip_prefix(b":")?.strip_suffix(b":")?;
    // Four characters for three bytes: nothing larger than a certificate may be is decoded.
    if encoded.len() > LARGEST_CERTIFICATE.div_ceil(3) * 4 {
        return None;
    }
    let der = STANDARD.decode(encoded).ok()?;
    is_certificate(&der).then(|| ClientCertificate {
        digest: Digest::of(&der),
        der: Some(der.into()),
        vouched_until: None,
    })
}

fn xfcc(value: &[u8]) -> Option<ClientCertificate> {
    let named = xfcc::read(value)?;
    if named.der.as_ref().is_some_and(|der| !is_certificate(der)) {
        return None;
    }
    Some(ClientCertificate { digest: named.digest, der: named.der, vouched_until: None })
}

/// RFC 5280 §4.1, and nothing behind it.
fn is_certificate(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
}
