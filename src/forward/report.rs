//! What an upstream is told of the caller and of the request: `forward.report` of a route.
//!
//! Whatever a caller sent under these names is gone by now (`headers`), and so is what a proxy before us sent: what was believed of it is said
//! anew. So an upstream may take each of them for the gateway's word.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::Fault;
use crate::config::Report;
use crate::verify::request::Target;
use crate::verify::time::UnixTime;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What FAPI names a request by, in both directions.
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// What is known of a request besides what it says.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'r> {
    /// The address that the request came from, as far back as trust goes.
    pub address: IpAddr,
    /// The DER of the certificate whose key the caller holds, where it is known.
    pub certificate: Option<&'r [u8]>,
    /// Its name, in the log and for the upstream.
    pub request_id: &'r HeaderValue,
    /// What FAPI names it by, where the route wants that.
    pub interaction_id: Option<&'r HeaderValue>,
    /// When it was judged.
    pub now: UnixTime,
}

/// Says what the route reports.
///
/// # Errors
/// [`Fault::IdentityUnfit`]
pub(super) fn set(
    headers: &mut HeaderMap,
    report: Report,
    target: &Target,
    origin: &Origin<'_>,
) -> Result<(), Fault> {
    let text = |value: &str| HeaderValue::from_str(value).map_err(|_| Fault::IdentityUnfit);
    let (host, scheme) = (target.origin.authority(), target.origin.scheme().name());
    if report.x_forwarded {
        headers.insert(FORWARDED_FOR, text(&origin.address.to_string())?);
        headers.insert(FORWARDED_HOST, text(host)?);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if report.forwarded {
        headers.insert(FORWARDED, text(&forwarded(origin.address, host, scheme))?);
    }
    if let (true, Some(der)) = (report.client_cert, origin.certificate) {
        // RFC 9440 §2.2: a byte sequence (RFC 8941 §3.3.5).
        headers.insert(CLIENT_CERT, text(&format!(":{}:", STANDARD.encode(der)))?);
    }
    if report.request_id {
        headers.insert(REQUEST_ID, origin.request_id.clone());
    } else {
        headers.remove(REQUEST_ID);
    }
    if let Some(id) = origin.interaction_id {
        headers.insert(INTERACTION_ID, id.clone());
    }
    Ok(())
}

/// Says what was taken from the start of the path, as other proxies do that strip it.
///
/// # Errors
/// [`Fault::IdentityUnfit`], which no path in normal form comes to.
pub(super) fn set_prefix(headers: &mut HeaderMap, prefix: &str) -> Result<(), Fault> {
    let prefix = HeaderValue::from_str(prefix).map_err(|_| Fault::IdentityUnfit)?;
    headers.insert(FORWARDED_PREFIX, prefix);
    Ok(())
}

/// RFC 7239 §4: one element, ours. `by` is the name that `Via` has too, obfuscated as §6.3 has it: our address is nobody's business.
fn forwarded(address: IpAddr, host: &str, scheme: &str) -> String {
    let mut line = match address {
        IpAddr::V4(address) => format!("for={address}"),
        // §6.1: in brackets, and so in quotes.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    // A port or brackets do not fit in a token. Nothing in an authority needs an escape.
    let quote = if host.contains([':', '[']) { "\"" } else { "" };
    // Writing into a string cannot fail.
    let _ = write!(line, ";host={quote}{host}{quote};proto={scheme};by=_holdfast");
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::verify::htu;

    fn told(report: Report, address: &str, url: &str, certificate: Option<&[u8]>) -> Vec<String> {
        let target = Target {
            origin: Arc::new(htu::Origin::read(url).expect("an origin")),
            path: htu::Path::read("/").expect("a path"),
            query: None,
        };
        let request_id = &HeaderValue::from_static("ours");
        let now = UnixTime::from_seconds(0);
        let interaction_id = None;
        let address = address.parse().expect("an address");
        let origin = Origin { address, certificate, request_id, interaction_id, now };
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("the caller's"));
        set(&mut headers, report, &target, &origin).expect("values");
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect()
    }

    #[test]
    fn each_as_configured_and_correctly_quoted() {
        let nothing = Report { x_forwarded: false, forwarded: false, client_cert: false, request_id: false };
        let url = "https://api.example.com";
        assert_eq!(told(nothing, "192.0.2.1", url, Some(b"der")), Vec::<String>::new());
        assert_eq!(
            told(Report { x_forwarded: true, request_id: true, ..nothing }, "2001:db8::1", url, None),
            [
                "x-request-id: ours",
                "x-forwarded-for: 2001:db8::1",
                "x-forwarded-host: api.example.com",
                "x-forwarded-proto: https"
            ]
        );
        for (address, url, line) in [
            ("192.0.2.1", url, "for=192.0.2.1;host=api.example.com;proto=https;by=_holdfast"),
            (
                "2001:db8::1",
                "http://[::1]:8080",
                "for=\"[2001:db8::1]\";host=\"[::1]:8080\";proto=http;by=_holdfast",
            ),
            (
                "192.0.2.1",
                "https://a.example:8443",
                "for=192.0.2.1;host=\"a.example:8443\";proto=https;by=_holdfast",
            ),
        ] {
            let report = Report { forwarded: true, ..nothing };
            assert_eq!(told(report, address, url, None), [format!("forwarded: {line}")]);
        }
        let report = Report { client_cert: true, ..nothing };
        assert_eq!(told(report, "192.0.2.1", url, Some(&[0xfb, 0xff])), ["client-cert: :+/8=:"]);
        assert_eq!(told(report, "192.0.2.1", url, None), Vec::<String>::new());
    }
}
