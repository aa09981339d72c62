//! The URI as the caller sees it: one of the listener's public origins, and the path that was asked for.
//!
//! Everything that could name a host must name the same one: the TLS server name, Host or `:authority`, the target of an absolute
//! form, and what a trusted proxy reports. What they name is only looked up among the origins of the configuration, never
//! copied from, so no header can make an `htu` that we would accept (R-A-17).

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::connection::Session;
use super::peer::Caller;
use super::site::Site;
use crate::verify::field::{Line, single};
use crate::verify::htu::{Authority, Origin, Path, Scheme};
use crate::verify::rejection::Rejection;
use crate::verify::request::Target;

/// Where `request` was sent to; `site` is that of the listener which the session came in by. Whether a route exists there is not looked at.
///
/// # Errors
/// [`Rejection::MethodRefused`], [`Rejection::HostInvalid`], [`Rejection::SniMismatch`], [`Rejection::HostUnknown`], [`Rejection::PathInvalid`] or [`Rejection::PathAmbiguous`].
pub fn target<B>(
    request: &Request<B>,
    caller: &Caller,
    site: &Site,
    session: &Session,
) -> Result<Target, Rejection> {
    let (uri, headers) = (request.uri(), request.headers());
    served(request.method(), uri)?;
    let authority = authority(uri, headers, &site.origins)?;
    // RFC 9110 §7.4: a connection made for one name says nothing about another, its client certificate least of all (R-F-13).
    if session.server_name.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case(&authority.host)) {
        return Err(Rejection::SniMismatch);
    }
    let origin = origin(authority, uri, caller, site, session)?;
    // A target in absolute form may lack the path, which is then `/` (RFC 9110 §4.2.3).
    let path = Path::read(uri.path())?;
    let query = match uri.query() {
        Some(query) if !query.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err(Rejection::PathInvalid);
        }
        query => query.map(str::to_owned),
    };
    Ok(Target { origin, path, query })
}

/// Refuses what has no path, or whose answer would be the request itself, credentials and all (TRACE, RFC 9110 §9.3.8).
fn served(method: &Method, uri: &Uri) -> Result<(), Rejection> {
    let no_path = uri.path() == "*" || uri.path().is_empty();
    if no_path || *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Rejection::MethodRefused);
    }
    Ok(())
}

/// The authority that the request names, once or twice alike.
fn authority(uri: &Uri, headers: &HeaderMap, origins: &[Arc<Origin>]) -> Result<Authority, Rejection> {
    // RFC 9112 §3.2: one Host line.
    let host = match single(headers, &HOST) {
        Line::Absent => None,
        Line::One(value) => Some(read(value).ok_or(Rejection::HostInvalid)?),
        Line::Several => return Err(Rejection::HostInvalid),
    };
    // `:authority` (RFC 9113 §8.3.1), or the target of an absolute form (RFC 9112 §3.2.2).
    let named = match uri.authority() {
        None => None,
        Some(authority) => Some(Authority::read(authority.as_str()).ok_or(Rejection::HostInvalid)?),
    };
    match (named, host) {
        (Some(named), None) => Ok(named),
        (None, Some(host)) => Ok(host),
        // RFC 9112 §3.2.2 would have the target win, but the upstream may look at the other one.
        (Some(named), Some(host)) if named == host || are_one(&named, &host, origins) => Ok(named),
        (Some(_), Some(_)) | (None, None) => Err(Rejection::HostInvalid),
    }
}

/// Whether two spellings name the same origin: with its default port and without.
fn are_one(one: &Authority, other: &Authority, origins: &[Arc<Origin>]) -> bool {
    origins.iter().any(|origin| origin.is_at(one) && origin.is_at(other))
}

/// The public origin that is meant.
fn origin(
    authority: Authority,
    uri: &Uri,
    caller: &Caller,
    site: &Site,
    session: &Session,
) -> Result<Arc<Origin>, Rejection> {
    // What a trusted proxy was asked for; from anyone else there is nothing here (R-L-04, T-ORG-06, T-ORG-09).
    let authority = caller.host.as_ref().unwrap_or(&authority);
    let scheme = caller.scheme;
    // An absolute form or `:scheme` on a TLS connection can only mean https; without TLS it is the proxy in front who knows.
    if uri.scheme_str().is_some_and(|scheme| {
        Scheme::read(scheme).is_none_or(|scheme| session.tls && scheme != Scheme::Https)
    }) {
        return Err(Rejection::HostUnknown);
    }
    let fits = |origin: &&Arc<Origin>| {
        origin.is_at(authority) && scheme.is_none_or(|scheme| origin.scheme() == scheme)
    };
    site.origins.iter().find(fits).cloned().ok_or(Rejection::HostUnknown)
}

fn read(value: &HeaderValue) -> Option<Authority> {
    Authority::read(value.to_str().ok()?)
}
