//! The request target that the upstream sees, in origin form (RFC 9112 §3.2.1): the path and query that were authorised, or what the operator makes of that path.

use bytes::Bytes;
use http::Uri;
use http::uri::{Parts, PathAndQuery};

use crate::config::Rewrite;
use crate::verify::request::Target;

/// The target for the upstream. `asked` is the caller's, whose bytes are used as they are where the path is in normal form and stays what it is, as it nearly
/// always does. `None` cannot come of a target that was read from a request, and sends nothing.
pub(super) fn for_upstream(asked: Uri, target: &Target, rewrite: Option<&Rewrite>) -> Option<Uri> {
    let path = target.path.as_str();
    let unchanged = rewrite.is_none() && asked.path() == path && asked.query() == target.query.as_deref();
    let path_and_query = match (asked.into_parts().path_and_query, rewrite) {
        (Some(same), _) if unchanged => same,
        (_, None) => joined(path, "", target.query.as_deref())?,
        (_, Some(rewrite)) => {
            let rest = without_segments(path, rewrite.strip)?;
            joined(&rewrite.replace, rest, target.query.as_deref())?
        }
    };
    let mut parts = Parts::default();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).ok()
}

/// What a rewrite takes from the start of the path, where it puts nothing in its place: what an upstream has to put in front of its own paths to name them as
/// callers know them. Where something else is put there, no prefix alone does that.
pub(super) fn taken_off<'t>(target: &'t Target, rewrite: &Rewrite) -> Option<&'t str> {
    let path = target.path.as_str();
    let rest = without_segments(path, rewrite.strip)?;
    let prefix = path.strip_suffix(rest)?;
    (rewrite.replace.is_empty() && !prefix.is_empty()).then_some(prefix)
}

/// What is left behind the first `count` segments of a path: empty, or with a slash in front.
///
/// The route's match begins with these segments, so they are there; they are counted, not compared, since the match has compared them in every spelling. `None` where they are
/// not there after all, or where the rest would begin with an empty segment: `//` in front is a host to whoever takes the target for a reference
/// (RFC 3986 §4.2).
fn without_segments(path: &str, count: usize) -> Option<&str> {
    let mut rest = path;
    for _ in 0..count {
        let behind = rest.strip_prefix('/')?;
        rest = behind.find('/').map_or("", |slash| &behind[slash..]);
    }
    (!rest.starts_with("//")).then_some(rest)
}

/// A path of two parts that begin with a slash or are empty, and never an empty one.
fn joined(front: &str, rest: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let mut text = String::with_capacity(front.len() + rest.len() + query.map_or(1, |query| query.len() + 2));
    text.push_str(front);
    text.push_str(rest);
    if text.is_empty() {
        text.push('/');
    }
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::verify::htu::{Origin, Path};

    fn rewritten(asked: &str, strip: usize, replace: &str) -> Option<String> {
        let uri: Uri = asked.parse().expect(asked);
        let target = Target {
            origin: Arc::new(Origin::read("https://api.example.com").expect("an origin")),
            path: Path::read(uri.path()).expect(asked),
            query: uri.query().map(str::to_owned),
        };
        let rewrite = Rewrite { strip, replace: replace.to_owned() };
        for_upstream(uri, &target, Some(&rewrite)).map(|uri| uri.to_string())
    }

    #[test]
    fn whole_segments_are_replaced() {
        for (asked, strip, replace, expected) in [
            ("/api", 1, "", "/"),
            ("/api/", 1, "", "/"),
            ("/api/x", 1, "", "/x"),
            ("/api/x/", 1, "", "/x/"),
            ("/api/x?y=/api", 1, "", "/x?y=/api"),
            ("/api?y", 1, "", "/?y"),
            ("/api?", 1, "", "/?"),
            ("/api/x", 1, "/v2", "/v2/x"),
            ("/api", 1, "/v2/w", "/v2/w"),
            ("/api/", 1, "/v2", "/v2/"),
            ("/t/7/api/x", 2, "", "/api/x"),
            ("/x", 0, "/v2", "/v2/x"),
            ("/", 0, "/v2", "/v2/"),
            ("/%61pi/%7ex/%2f", 1, "", "/~x/%2F"),
            ("https://api.example.com/api/x?y", 1, "/v2", "/v2/x?y"),
            ("/api/http://evil.example", 0, "/v2", "/v2/api/http://evil.example"),
        ] {
            assert_eq!(rewritten(asked, strip, replace).as_deref(), Some(expected), "{asked}");
        }
    }

    #[test]
    fn never_two_slashes_in_front_and_never_less_than_was_matched() {
        for (asked, strip) in [("/api//evil.example", 1), ("/api//", 1), ("/x", 2), ("/a/b//c", 2)] {
            assert_eq!(rewritten(asked, strip, ""), None, "{asked}");
        }
    }
}
