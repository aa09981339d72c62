//! Names of header fields: which of them no caller has a say in, which the operator has given to what the gateway says, and which it cannot give.
//!
//! An upstream believes what the gateway says under these names, on every route. A name that is missed here, or a spelling of one, is an identity that
//! any caller can write (RFC 9700 §4.13); one too many costs a caller a header, which is seen at once.

use std::sync::Arc;

use http::HeaderName;

use super::complaint::quoted;
use super::decode::{FromText, Wrong};
use super::{Identity, Route};

/// What the names of the gateway's own words for upstreams start with; nothing that starts so is let through from a caller.
const OWN_PREFIX: &str = "x-auth-";

/// Names a caller has no say in, with `-` for `_`, which some servers take for the same (R-L-01), and for whatever else is no letter and no digit, of
/// which others make a `_` (RFC 3875 §4.1.18 leaves it to them).
const REFUSED: [&str; 21] = [
    // Another method than the one the proof is for (R-A-13).
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "-method",
    // Another path than the one that was authorised.
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-original-method",
    // Another host.
    "x-original-host",
    "x-http-host-override",
    // An address, or a certificate, that only a proxy may report.
    "x-real-ip",
    "forwarded",
    "forwarded-for",
    "x-forwarded",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-arr-clientcert",
    // What CGI programs take for the proxy to send their own requests by (CVE-2016-5385).
    "proxy",
];

/// The same, by how they start: `Client-Cert` and `Client-Cert-Chain` (RFC 9440 §2.4), and what other proxies call the certificate of a caller.
const REFUSED_PREFIXES: [&str; 7] = [
    "x-forwarded-",
    "client-cert",
    "x-client-cert",
    "x-ssl-",
    "ssl-client-",
    "x-tls-client-",
    "x-amzn-mtls-",
];

/// Names that are removed or set by their one spelling; only their twins are refused with the others.
const HANDLED: [&str; 13] = [
    "authorization",
    "dpop",
    "host",
    "connection",
    "transfer-encoding",
    "content-length",
    "proxy-authorization",
    "x-request-id",
    "via",
    // What a policy was judged by; a twin that a server joins with it would say something else.
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "x-fapi-interaction-id",
];

/// Names by which callers and upstreams talk to each other, or with the hop between them. To give one away would take it from every caller on every route.
const THEIRS: [&str; 46] = [
    "accept",
    "age",
    "allow",
    "alt-svc",
    "alt-used",
    "authentication-info",
    "baggage",
    "cache-control",
    "close",
    "cookie",
    "cookie2",
    "date",
    "depth",
    "destination",
    "early-data",
    "expect",
    "expires",
    "from",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "overwrite",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "signature",
    "signature-input",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "upgrade",
    "user-agent",
    "vary",
    "www-authenticate",
];

/// The same, by how they start.
const THEIR_PREFIXES: [&str; 11] = [
    "accept-",
    "access-control-",
    "content-",
    "dpop-",
    "grpc-",
    "if-",
    "mcp-",
    "proxy-",
    "sec-",
    "upgrade-",
    "x-fapi-",
];

/// The longest name that can be given.
const LONGEST: usize = 64;

/// Whether a caller may not say this to any upstream. Names arrive in lower case.
pub fn is_refused(name: &str) -> bool {
    // Most names have letters, digits and `-` alone and are compared as they are.
    if has_twin(name) {
        let twin = fold(name);
        // The twin of a name that is handled by its one spelling, such as `Transfer_Encoding`, goes as well.
        return is_refused(&twin) || HANDLED.contains(&twin.as_str());
    }
    REFUSED.contains(&name)
        || name.starts_with(OWN_PREFIX)
        || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether only the gateway says this to an upstream, or nobody. In a head most of these are set anew; behind a body they have no place.
pub fn is_never_the_callers(name: &str) -> bool {
    is_refused(name) || HANDLED.contains(&name)
}

fn has_twin(name: &str) -> bool {
    name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

/// The one spelling of a name in lower case that stands for all that some server takes for the same.
fn fold(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

/// The names that the operator has given, on any route, in the spelling that stands for all. Where there are none it takes no memory and a look costs
/// a branch.
#[derive(Clone, Debug, Default)]
pub struct GivenNames(Option<Arc<[Box<str>]>>);

impl GivenNames {
    /// Those of `routes`: all of them, for all of them. One upstream may serve several routes, and what one of these says there must be nobody's else.
    pub fn of(routes: &[Route]) -> Self {
        let names = routes.iter().filter_map(|route| match &route.forward.identity {
            Identity::Headers(names) => Some(names.all()),
            Identity::None | Identity::Assertion(_) => None,
        });
        let names = names.flatten();
        let folded = names.map(|name| fold(name.as_str())).filter(|name| !is_refused(name));
        let mut folded: Vec<Box<str>> = folded.map(String::into_boxed_str).collect();
        folded.sort_unstable();
        folded.dedup();
        Self((!folded.is_empty()).then(|| folded.into()))
    }

    /// Whether this is one of them, in whatever spelling. Names arrive in lower case.
    pub fn has(&self, name: &str) -> bool {
        let Some(given) = &self.0 else { return false };
        let is_given = |name: &str| given.iter().any(|given| **given == *name);
        if has_twin(name) { is_given(&fold(name)) } else { is_given(name) }
    }
}

/// A name that the operator gives to something the gateway says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldName(pub(super) HeaderName);

impl FieldName {
    /// Whether a server somewhere could take the two for the same.
    pub(super) fn is_twin_of(&self, other: &Self) -> bool {
        fold(self.0.as_str()) == fold(other.0.as_str())
    }
}

impl FromText for FieldName {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        const MEND: &str = "a name of your own, such as `X-User-Id`";
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let ends = |b: u8| b.is_ascii_alphanumeric();
        let bytes = text.as_bytes();
        let is_name = bytes.iter().copied().all(fits)
            && bytes.first().copied().is_some_and(ends)
            && bytes.last().copied().is_some_and(ends);
        let name = HeaderName::from_bytes(bytes).ok().filter(|_| is_name && text.len() <= LONGEST);
        let Some(name) = name else {
            let mend =
                format!("letters, digits, `-` and `_`, none of these two at an end, at most {LONGEST}");
            return Err(Wrong::new("is no name of a header here", mend));
        };
        let folded = fold(name.as_str());
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| folded.starts_with(prefix));
        let listed = |names: &[&str]| names.contains(&folded.as_str());
        if listed(&THEIRS) || starts(&THEIR_PREFIXES) {
            let what = "means something between callers and servers, and would be taken from every caller";
            return Err(Wrong::new(what, MEND));
        }
        if listed(&HANDLED) || listed(&REFUSED) || starts(&REFUSED_PREFIXES) {
            return Err(Wrong::new("means something else to upstreams", MEND));
        }
        if folded.starts_with(OWN_PREFIX) && folded != name.as_str() {
            // The gateway's own name has one spelling.
            return Err(Wrong::new(
                "looks like a name of the gateway's own",
                format!("write {}", quoted(&folded)),
            ));
        }
        Ok(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-A-13, R-L-01, R-F-10, T-MTL-21.
    #[test]
    fn what_callers_may_not_say_in_any_spelling() {
        for name in [
            "x-auth-subject",
            "x_auth_subject",
            "x-auth_key-thumbprint",
            "x-auth-anything",
            "client_cert",
            "client-cert-chain",
            "x-ssl-client-cert",
            "x_ssl_client_verify",
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "x_forwarded_host",
            "forwarded",
            "x-client-cert",
            "x-http-method-override",
            "x_http_method",
            "x-method-override",
            "_method",
            "x-original-url",
            "x-rewrite-url",
            "x-real-ip",
            "ssl-client-cert",
            "transfer_encoding",
            "content_length",
            "x_request_id",
            "mcp_name",
            "mcp.method",
            "mcp-protocol_version",
            "x.auth.subject",
            "x~auth-subject",
            "client.cert",
            "content+length",
        ] {
            assert!(is_refused(name), "{name}");
        }
        for name in ["accept", "x-authentic", "content-type", "x_trace", "x.trace", "cookie"] {
            assert!(!is_refused(name), "{name}");
        }
    }

    #[test]
    fn given_names_in_any_spelling() {
        let given = GivenNames(Some([Box::from("x-user-id"), Box::from("sm-user")].into()));
        for name in ["x-user-id", "x_user_id", "x.user~id", "x-user%id", "sm_user", "sm-user", "sm!user"] {
            assert!(given.has(name), "{name}");
        }
        for name in ["x-user", "x-user-id2", "xuserid", "user-id", "", "x-auth-subject"] {
            assert!(!given.has(name), "{name}");
            assert!(!GivenNames::default().has(name), "{name}");
        }
    }

    #[test]
    fn names_that_can_be_given() {
        for (text, given) in [
            ("X-User-Id", true),
            ("SM_USER", true),
            ("Remote-User", true),
            ("X-Auth-Tenant", true),
            ("x1", true),
            ("X_Auth_Tenant", false),
            ("", false),
            ("X-User-", false),
            ("_user", false),
            ("X User", false),
            ("X.User", false),
            ("X~User", false),
            ("X-Us\u{e9}r", false),
            ("Host", false),
            ("Authorization", false),
            ("AUTHORIZATION", false),
            ("Proxy-Authorization", false),
            ("Content-Length", false),
            ("Content_Length", false),
            ("Content-Type", false),
            ("Transfer-Encoding", false),
            ("Connection", false),
            ("Close", false),
            ("Keep-Alive", false),
            ("TE", false),
            ("Trailer", false),
            ("Upgrade", false),
            ("Cookie", false),
            ("Set-Cookie", false),
            ("Forwarded", false),
            ("X-Forwarded-User", false),
            ("X_Forwarded_For", false),
            ("Client-Cert", false),
            ("X-Real-IP", false),
            ("Proxy", false),
            ("DPoP", false),
            ("DPoP-Nonce", false),
            ("Via", false),
            ("X-Request-Id", false),
            ("Origin", false),
            ("Sec-Fetch-Site", false),
            ("If-Match", false),
            ("X-HTTP-Method-Override", false),
        ] {
            assert_eq!(FieldName::from_text(text).is_ok(), given, "{text}");
        }
        assert!(FieldName::from_text(&"x".repeat(65)).is_err());
    }
}
