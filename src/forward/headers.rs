//! Which headers reach the upstream, and which the caller (RFC 9110 §7.6.1, RFC 9700 §4.13).
//!
//! Strip, then set. What a caller may not say is removed after `Connection` was dealt with, and what the gateway says is set last, so that
//! `Connection: x-auth-subject` can delete nothing of ours (R-L-02). `HeaderMap::remove` takes every line of a name; `get` sees only one.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_body::Body;

use super::fault::Fault;
use super::report::{self, Origin, REQUEST_ID};
use super::{Pass, identity};
use crate::config::{Credential, Forward, GivenNames, Identity, Protocol, fields};
use crate::verify::credential::DPOP;
use crate::verify::nonce::DPOP_NONCE;
use crate::verify::request::Target;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What belongs to one hop without being named by `Connection` (RFC 9110 §7.6.1), and that field itself.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Rewrites a request's headers for the upstream. `version` is that of the caller's request; `origin` is what is known of the caller; `given` are the names
/// that the operator has given to the gateway's words, on whatever route.
///
/// # Errors
/// [`Fault::IdentityUnfit`]
pub(super) fn for_upstream(
    headers: &mut HeaderMap,
    version: Version,
    pass: &Pass,
    forward: &Forward,
    target: &Target,
    origin: &Origin<'_>,
    given: &GivenNames,
) -> Result<(), Fault> {
    remove_hop_by_hop(headers);
    // The server side answers an expectation itself, when the body is first read.
    headers.remove(EXPECT);
    remove_what_callers_may_not_say(headers, given);
    join_cookies(headers);
    // R-B-13: whoever is behind us is not who the token was made for.
    if !forward.credentials.keeps(Credential::Authorization) {
        headers.remove(AUTHORIZATION);
    }
    if !forward.credentials.keeps(Credential::Dpop) {
        headers.remove(DPOP);
    }
    let text = |value: &str| HeaderValue::from_str(value).map_err(|_| Fault::IdentityUnfit);
    headers.insert(HOST, text(target.origin.authority())?);
    report::set(headers, forward.report, target, origin)?;
    // RFC 9110 §7.6.3: the version that the message was received in.
    let via = match version {
        Version::HTTP_2 => "2 holdfast",
        Version::HTTP_10 => "1.0 holdfast",
        _ => "1.1 holdfast",
    };
    headers.append(VIA, HeaderValue::from_static(via));
    if let Pass::Exchanged(_, exchanged) = pass {
        headers.insert(AUTHORIZATION, exchanged.authorization().clone());
    }
    match (pass.permit(), &forward.identity) {
        (Some(permit), Identity::Headers(names)) => identity::set(headers, permit, names),
        (Some(_) | None, _) => Ok(()),
    }
}

/// RFC 9113 §8.2.3: HTTP/2 splits a cookie into crumbs, which are one line in HTTP/1, joined with `; `. An upstream that reads the first
/// line alone would miss a session; one that joins them with commas would see another.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Values joined by visible characters are a value, so this never leaves the crumbs as they were.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Says where the body ends, as the body itself has it and never as the caller wrote it.
///
/// HTTP/2 frames a body by itself, so `Content-Length` may come twice there, or empty, and nothing is wrong; to an HTTP/1 upstream it is where
/// requests are told apart (RFC 9112 §6.3, R-L-06). And hyper takes a body of unknown length for none when the method is GET or
/// HEAD, so the upstream would be asked something else than the caller asked.
pub(super) fn frame(headers: &mut HeaderMap, body: &impl Body) {
    let declared = headers.remove(CONTENT_LENGTH).is_some();
    match body.size_hint().exact() {
        // Most requests have no body and say nothing of it.
        _ if body.is_end_stream() && !declared => {}
        _ if body.is_end_stream() => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Passes on that the caller reads trailers (RFC 9110 §10.1.4); the rest of its `TE` was for the hop behind us. To be called when everything else is settled.
pub(super) fn want_trailers(headers: &mut HeaderMap, protocol: Protocol) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
    match protocol {
        // RFC 9113 §8.2.2: there is no `Connection` there, and `trailers` is all that `TE` may say.
        Protocol::Http2 => {}
        Protocol::Http1 => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// Whether the body of an answer with these headers is what the client to the upstream makes of it: it takes `chunked` off and leaves every
/// other coding on. With `Transfer-Encoding` gone the caller would take the coded bytes for the content. No coding but `chunked`, once, was
/// asked for: our request has no `TE` for another (RFC 9112 §7.1, §7.4).
pub(super) fn is_coded_as_read(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let first = lines.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && lines.next().is_none()
}

/// Leaves one length where an answer says the same one more than once, or with zeros in front, and none where it is no number (RFC 9110 §8.6). Only
/// what has no body comes here with such a length.
fn say_length_once(headers: &mut HeaderMap) {
    let read = |member: &[u8]| {
        let digits = std::str::from_utf8(member.trim_ascii()).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return };
    // Nearly always it is one line of digits.
    let plain = first.as_bytes().iter().all(u8::is_ascii_digit) && !first.as_bytes().starts_with(b"0");
    if lines.next().is_none() && plain {
        return;
    }
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(read);
    match members.next().flatten().filter(|length| members.all(|other| other == Some(*length))) {
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
}

/// Rewrites an answer's headers for the caller.
pub(super) fn for_caller(headers: &mut HeaderMap, pass: &Pass, forward: &Forward, request_id: &HeaderValue) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 §6.3: the length beside it is not the body's, and once the other is gone the caller would believe it.
        headers.remove(CONTENT_LENGTH);
    }
    say_length_once(headers);
    remove_hop_by_hop(headers);
    match pass.permit() {
        None => {}
        Some(permit) => {
            // R-C-10: an upstream that never saw the credentials has nothing to say about them, one with a token of its own neither, and a second
            // `DPoP-Nonce` would be one too many (RFC 9449 §8).
            if !forward.credentials.keeps(Credential::Authorization) {
                headers.remove(WWW_AUTHENTICATE);
            }
            if !forward.credentials.keeps(Credential::Dpop) {
                headers.remove(DPOP_NONCE);
            }
            keep_private(headers);
            if let Some(nonce) = permit.binding().next_nonce() {
                nonce.send_with(headers);
            }
        }
    }
    headers.insert(REQUEST_ID, request_id.clone());
}

/// Keeps shared caches from storing an answer that was made for one caller (R-C-08). The upstream saw no `Authorization`, so it may have said `public`;
/// beside `private`, no shared cache may store (RFC 9111 §3).
fn keep_private(headers: &mut HeaderMap) {
    let directives = |value: &HeaderValue| {
        let lower = value.as_bytes().to_ascii_lowercase();
        lower
            .split(|b| *b == b',')
            .any(|directive| matches!(directive.trim_ascii(), b"private" | b"no-store"))
    };
    if !headers.get_all(CACHE_CONTROL).iter().any(directives) {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// RFC 9110 §7.6.1: what `Connection` names, `Connection` itself, and what belongs to one hop without being named.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // Most heads have none of them, and one look at what is there costs less than a search for each.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

fn remove_what_callers_may_not_say(headers: &mut HeaderMap, given: &GivenNames) {
    let is_ours = |name: &&HeaderName| fields::is_refused(name.as_str()) || given.has(name.as_str());
    let refused: Vec<HeaderName> = headers.keys().filter(is_ours).cloned().collect();
    for name in refused {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn connection_takes_what_it_names_in_every_line() {
        let mut headers = map(&[
            ("connection", "close, X-Hop"),
            ("connection", " x-other "),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-other", "3"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("x-kept", "4"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-kept", "4")]));
    }

    /// RFC 9110 §7.6.1 names them, and `Proxy-Connection` is what was made up beside them: each goes, whether another is there or not.
    #[test]
    fn each_hop_by_hop_field_goes_by_itself() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ] {
            for value in ["", "x-kept-not"] {
                let mut headers = map(&[("x-kept", "1"), (name, value), ("x-other", "2"), (name, value)]);
                remove_hop_by_hop(&mut headers);
                assert_eq!(headers, map(&[("x-kept", "1"), ("x-other", "2")]), "{name}");
            }
        }
    }

    #[test]
    fn answers_for_one_caller_are_private() {
        for (before, expected) in [
            (&[][..], &["private"][..]),
            (&["public, max-age=60"], &["public, max-age=60", "private"]),
            (&["No-Store"], &["No-Store"]),
            (&["max-age=1 , Private"], &["max-age=1 , Private"]),
            (&["private=\"x-a\""], &["private=\"x-a\"", "private"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            keep_private(&mut headers);
            let after: Vec<&HeaderValue> = headers.get_all(CACHE_CONTROL).iter().collect();
            assert_eq!(after, expected);
        }
    }
}
