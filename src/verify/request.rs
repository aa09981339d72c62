//! What is known of a request before anything is judged.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::digest::{Certificate, Digest};
use super::htu::{Origin, Path};

/// The URI as the caller sees it: one of the listener's public origins and the path it asked for.
///
/// One value serves routing, `htu` and the upstream, so that the bytes that are authorised are the bytes that are forwarded.
#[derive(Clone, Debug)]
pub struct Target {
    /// The public origin the request was made to; from the configuration, chosen by the request's authority.
    pub origin: Arc<Origin>,
    /// The path, normalised once (RFC 3986 §6.2.2).
    pub path: Path,
    /// The query without `?`, as it arrived. It takes no part in `htu` (RFC 9449 §4.3 check 9).
    pub query: Option<String>,
}

/// The facts of one request. All of them come from the connection or the request line; none from a header that anyone may set,
/// except `Authorization` and `DPoP` in `headers`, which are what is to be judged.
pub struct RequestFacts<'r> {
    /// The method that arrived on the wire; method-override headers do not change it.
    pub method: &'r Method,
    /// Where it was sent.
    pub target: &'r Target,
    /// Every header line.
    pub headers: &'r HeaderMap,
    /// The certificate that the caller proved to hold: of this TLS session, or reported by a trusted proxy (RFC 9440).
    pub certificate: Option<Digest<Certificate>>,
}

impl fmt::Debug for RequestFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No headers: they hold the token and the proof.
        f.debug_struct("RequestFacts")
            .field("method", self.method)
            .field("target", self.target)
            .finish_non_exhaustive()
    }
}
