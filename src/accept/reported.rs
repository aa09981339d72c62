//! What a trusted proxy says of who is calling and of the URL: `X-Forwarded-For`, `-Host` and `-Proto`, or `Forwarded` (RFC 7239).
//!
//! A listener reads one of the two and never both. Proxies write one of them and pass the other one on as their caller wrote it, so a
//! reader of both would take that caller's word.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::{self, Node};
use super::site::Site;
use crate::config::ForwardedHeader;
use crate::verify::field::{Line, single};
use crate::verify::htu::{Authority, Scheme};
use crate::verify::rejection::Rejection;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is believed of a request, as far back as trust goes.
pub(super) struct Reported {
    pub(super) address: IpAddr,
    pub(super) host: Option<Authority>,
    pub(super) scheme: Option<Scheme>,
}

/// Reads what the proxy at `peer` says. It is believed already; whether those before it are goes by their addresses.
///
/// # Errors
/// [`Rejection::ForwardedInvalid`]
pub(super) fn read(headers: &HeaderMap, site: &Site, peer: IpAddr) -> Result<Reported, Rejection> {
    match site.forwarded_header {
        ForwardedHeader::None => Ok(Reported { address: peer, host: None, scheme: None }),
        ForwardedHeader::XForwarded => x_forwarded(headers, site, peer),
        ForwardedHeader::Forwarded => forwarded(headers, site, peer),
    }
}

fn x_forwarded(headers: &HeaderMap, site: &Site, peer: IpAddr) -> Result<Reported, Rejection> {
    Ok(Reported {
        address: x_forwarded_for(headers, site, peer)?,
        host: one(headers, &X_FORWARDED_HOST, Authority::read)?,
        scheme: one(headers, &X_FORWARDED_PROTO, Scheme::read)?,
    })
}

/// The rightmost address of `X-Forwarded-For` that is not one of our proxies: each proxy appends the peer it saw, so what stands
/// further left was written by nobody we trust.
fn x_forwarded_for(headers: &HeaderMap, site: &Site, peer: IpAddr) -> Result<IpAddr, Rejection> {
    let mut address = peer;
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

/// The same of `Forwarded`. Host and scheme are those of the element that names the caller: what the first trusted proxy was asked for,
/// whatever the proxies behind it made of it.
fn forwarded(headers: &HeaderMap, site: &Site, peer: IpAddr) -> Result<Reported, Rejection> {
    let lines = headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes);
    let elements = forwarded::read(lines).ok_or(Rejection::ForwardedInvalid)?;
    let mut reported = Reported { address: peer, host: None, scheme: None };
    for element in elements.into_iter().rev() {
        (reported.host, reported.scheme) = (element.host, element.scheme);
        match element.client {
            Some(Node::Address(address)) => {
                reported.address = address;
                if !site.trusts(address) {
                    break;
                }
            }
            // Somebody whom the proxy does not name is nobody whose words are believed: the proxy is as far as trust goes.
            Some(Node::Hidden) | None => break,
        }
    }
    Ok(reported)
}

/// The value of a field that may be there once.
fn one<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Rejection> {
    match single(headers, name) {
        Line::Absent => Ok(None),
        Line::One(value) => value.to_str().ok().and_then(read).map(Some).ok_or(Rejection::ForwardedInvalid),
        Line::Several => Err(Rejection::ForwardedInvalid),
    }
}

/// An address, as some proxies write it: with a port, or in brackets.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}
