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
    /// The URL that was authorised, without its query: what `htu` names (RFC 9449 §4.2).
    pub fn url_without_query(&self) -> String {
        format!("{}://{}{}", self.origin.scheme().name(), self.origin.authority(), self.path.as_str())
    }

    /// Whether the query has a parameter of this name, with a value or without. Names are compared as a form decoder reads them: what is
    /// refused under one spelling must not pass under another (`%5Fmethod`), those of PHP among them, which makes `_` of ` `, `.` and `[`, and lets a name
    /// begin behind spaces and end before a NUL (`.method`, `+_method`).
    pub fn has_parameter(&self, name: &str) -> bool {
        self.query.as_deref().is_some_and(|query| {
            query.split(['&', ';']).any(|pair| {
                let written = pair.split_once('=').map_or(pair, |(name, _)| name);
                let read = decoded(written.as_bytes())
                    .skip_while(|byte| matches!(byte, b' ' | b'+'))
                    .take_while(|byte| *byte != 0)
                    .map(|byte| if matches!(byte, b' ' | b'+' | b'.' | b'[') { b'_' } else { byte });
                read.eq(name.bytes())
            })
        })
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Origin, Path, Target};

    fn has(query: &str, name: &str) -> bool {
        let target = Target {
            origin: Arc::new(Origin::read("https://api.example.com").expect("an origin")),
            path: Path::read("/").expect("a path"),
            query: Some(query.to_owned()),
        };
        target.has_parameter(name)
    }

    /// T-REQ-34, R-A-13 and their percent-encoded spellings.
    #[test]
    fn parameters_are_found_in_any_spelling() {
        for query in
            ["access_token=x", "a=b&access_token=x", "access%5Ftoken=x", "%61ccess_token", "a;access_token=x"]
        {
            assert!(has(query, "access_token"), "{query}");
        }
        for query in [
            ".method=DELETE",
            "+_method",
            "%20%5fmethod=x",
            "[method=x",
            "_method%00.x=DELETE",
            "a&.metho%64=x",
        ] {
            assert!(has(query, "_method"), "{query}");
        }
        for query in ["", "access_token_hint=x", "a=access_token", "%access_token=x"] {
            assert!(!has(query, "access_token"), "{query}");
        }
        for query in ["_method=PUT", "_method", "a=b;%5fm%65thod=PUT", "_method=a=b"] {
            assert!(has(query, "_method"), "{query}");
        }
        for query in ["__method=PUT", "method=PUT", "a=_method", "%255Fmethod"] {
            assert!(!has(query, "_method"), "{query}");
        }
    }
}
