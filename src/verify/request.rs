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

impl Target {
    /// Whether the query has a parameter of this name, percent-encoded or not, with a value or without: names are compared as a form decoder
    /// behind us would read them, or what is refused in one spelling would arrive in another.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.query.as_deref().is_some_and(|query| names(query, name))
    }
}

fn names(query: &str, name: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let named = pair.split_once('=').map_or(pair, |(named, _)| named);
        decoded(named.as_bytes()).eq(name.bytes())
    })
}

/// The bytes that percent-encoded `text` stands for; a `%` that encodes nothing stands for itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *text.get(at)?;
        if byte == b'%'
            && let Some(hex) = text.get(at + 1..at + 3)
            && let Ok(hex) = std::str::from_utf8(hex)
            && let Ok(value) = u8::from_str_radix(hex, 16)
        {
            at += 3;
            return Some(value);
        }
        at += 1;
        Some(byte)
    })
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

#[cfg(test)]
mod tests {
    use super::names;

    /// T-REQ-34 and R-A-13, with their percent-encoded spellings.
    #[test]
    fn parameters_by_the_name_a_form_decoder_reads() {
        for query in
            ["access_token=x", "a=b&access_token=x", "access%5Ftoken=x", "%61ccess_token", "a;access_token=x"]
        {
            assert!(names(query, "access_token"), "{query}");
        }
        for query in ["", "access_token_hint=x", "a=access_token", "%access_token=x", "ACCESS_TOKEN=x"] {
            assert!(!names(query, "access_token"), "{query}");
        }
        assert!(names("a&%5f%6dethod=DELETE", "_method"));
    }
}
