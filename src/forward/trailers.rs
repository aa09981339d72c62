//! Trailers: which fields may come behind a body (RFC 9110 §6.5), in either direction.
//!
//! What may not be said in a head must not get past the rules for heads by coming late: some readers merge trailers into the head, and what was
//! decided by the head has been decided. gRPC has its verdict in trailers, so they cannot simply be dropped.

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, COOKIE, DATE, EXPECT, EXPIRES, HOST, LOCATION, MAX_FORWARDS, PRAGMA,
    RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, UPGRADE, VARY, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{GivenNames, fields};
use crate::verify::nonce::DPOP_NONCE;

/// The most bytes of names and values together.
const MOST_BYTES: usize = 8 * 1024;

/// RFC 9110 §6.5.1: what frames, routes, modifies or authenticates a request, or controls an answer, has to stand in the head.
const NEVER_LATE: [HeaderName; 22] = [
    AGE,
    CACHE_CONTROL,
    CONNECTION,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    HeaderName::from_static("keep-alive"),
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    UPGRADE,
    VARY,
    WARNING,
    WWW_AUTHENTICATE,
    DPOP_NONCE,
];

/// The same, by how they start: content format and length, conditions, CORS, what browsers are told, and what is for proxies.
const NEVER_LATE_PREFIXES: [&str; 5] = ["content-", "if-", "access-control-", "sec-", "proxy-"];

/// More trailers than are passed on. The message must not seem complete without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Whether the sender of a request with these headers reads trailers (RFC 9110 §10.1.4).
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    let mut members = headers.get_all(TE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Leaves what may be passed on. `None` where that is nothing. `given` are names that the operator has given to what the gateway says in this direction.
///
/// # Errors
/// [`TooMany`]
pub(super) fn filter(mut trailers: HeaderMap, given: &GivenNames) -> Result<Option<HeaderMap>, TooMany> {
    let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MOST_BYTES {
        return Err(TooMany);
    }
    let is_refused = |name: &&HeaderName| !may_come_late(name) || given.has(name.as_str());
    let late: Vec<HeaderName> = trailers.keys().filter(is_refused).cloned().collect();
    for name in late {
        trailers.remove(name);
    }
    Ok((!trailers.is_empty()).then_some(trailers))
}

/// What of an announcement (RFC 9110 §6.6.2) stays true. Where nothing does, there is none.
pub(super) fn announced(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers.get_all(TRAILER).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let kept: Vec<String> = names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(may_come_late)
        .map(|name| name.as_str().to_owned())
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(", ")).ok() }
}

fn may_come_late(name: &HeaderName) -> bool {
    !fields::is_never_the_callers(name.as_str())
        && !NEVER_LATE.contains(name)
        && !NEVER_LATE_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect()
    }

    /// T-PXY-04.
    #[test]
    fn what_a_head_may_not_say_may_not_be_said_late() {
        let kept =
            map(&["grpc-status", "grpc-message", "grpc-status-details-bin", "x-checksum", "server-timing"]);
        let mut all = kept.clone();
        all.extend(map(&[
            "x-auth-subject",
            "x_auth_subject",
            "authorization",
            "dpop",
            "dpop-nonce",
            "www-authenticate",
            "client-cert",
            "x-forwarded-for",
            "forwarded",
            "x-request-id",
            "via",
            "host",
            "content-length",
            "content-type",
            "transfer-encoding",
            "transfer_encoding",
            "connection",
            "te",
            "trailer",
            "upgrade",
            "set-cookie",
            "cookie",
            "cache-control",
            "access-control-allow-origin",
            "x-http-method-override",
            "if-match",
            "proxy-authorization",
        ]));
        assert_eq!(filter(all, &GivenNames::default()), Ok(Some(kept)));
        assert_eq!(filter(map(&["x-auth-subject"]), &GivenNames::default()), Ok(None));
    }

    #[test]
    fn they_are_bounded() {
        let of = |length: usize| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-a", HeaderValue::from_str(&"y".repeat(length)).expect("a value"));
            trailers
        };
        assert!(filter(of(MOST_BYTES - 3), &GivenNames::default()).is_ok());
        assert_eq!(filter(of(MOST_BYTES - 2), &GivenNames::default()), Err(TooMany));
    }

    #[test]
    fn who_wants_them_says_so() {
        for (line, wanted) in [
            ("trailers", true),
            ("gzip;q=0.5, Trailers", true),
            ("gzip", false),
            ("trailersx", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TE, HeaderValue::from_static(line));
            assert_eq!(are_wanted(&headers), wanted, "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRAILER, HeaderValue::from_static("X-Checksum, DPoP-Nonce"));
        headers.append(TRAILER, HeaderValue::from_static("Content-Length"));
        assert_eq!(announced(&headers), Some(HeaderValue::from_static("x-checksum")));
    }
}
