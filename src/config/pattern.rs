//! The path of a match: literal segments in the normal form of requests, and `{name}` for any one.
//!
//! A pattern is normalised as a request is, by the same reader, so that what an operator writes and what a caller sends cannot
//! differ in spelling alone.

use super::decode::Wrong;
use super::{PathMatch, Segment};
use crate::verify::htu::Path;
use crate::verify::rejection::Rejection;

/// What else the match allows in paths.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    pub(super) empty_segments: bool,
    pub(super) encoded_slash: bool,
}

/// `path`: these segments and no more. `/` is one empty segment, as a trailing slash is.
pub(super) fn exact(text: &str, allowed: Allowed) -> Result<PathMatch, Wrong> {
    segments(text, allowed).map(PathMatch::Exact)
}

/// `path_prefix`: whole segments. `/` is none at all, which every path begins with.
pub(super) fn prefix(text: &str, allowed: Allowed) -> Result<PathMatch, Wrong> {
    if text == "/" {
        return Ok(PathMatch::Prefix(Vec::new()));
    }
    if let Some(without) = text.strip_suffix('/') {
        // As segments, `/a/` does not begin `/a`, and whether it was meant to is not ours to guess.
        let mend = format!("write `{without}`, which is for whole segments: `{without}` and `{without}/…`");
        return Err(Wrong::new("ends with a slash", mend));
    }
    segments(text, allowed).map(PathMatch::Prefix)
}

fn segments(text: &str, allowed: Allowed) -> Result<Vec<Segment>, Wrong> {
    if !text.starts_with('/') {
        return Err(Wrong::new("does not begin with a slash", "a path as in a request: `/accounts/{id}`"));
    }
    let written: Vec<&str> = text[1..].split('/').collect();
    // `{` is in no path (RFC 3986 §3.3), so that `{name}` cannot be meant literally; for the reader it is a letter.
    let plain: Vec<&str> =
        written.iter().map(|segment| if is_name(segment) { "x" } else { segment }).collect();
    if plain.iter().any(|segment| segment.contains(['{', '}', '*'])) {
        return Err(Wrong::new("is no pattern", "`{name}` stands for one whole segment; there is no `*`"));
    }
    if text.contains(';') {
        // Routing refuses a path whose parameters would choose its route, so nothing could reach this one.
        return Err(Wrong::new(
            "has `;`, and path parameters choose no route",
            "write the segment without them",
        ));
    }
    let path = Path::read(&format!("/{}", plain.join("/"))).map_err(|rejection| {
        if rejection == Rejection::PathAmbiguous {
            Wrong::new(
                "has dots or characters that two readers understand differently",
                "write the path that such a request ends up at",
            )
        } else {
            Wrong::new("is no path", "a path without a query; other characters percent-encoded")
        }
    })?;
    if path.has_empty_segment() && !allowed.empty_segments {
        return Err(Wrong::new(
            "has an empty segment, which is refused",
            "or write `allow_empty_segments: true`",
        ));
    }
    if path.has_encoded_slash() && !allowed.encoded_slash {
        return Err(Wrong::new(
            "has an encoded slash, which is refused",
            "or write `allow_encoded_slash: true`",
        ));
    }
    // Normalising decodes nothing that would make or unmake a slash, so the segments still stand side by side.
    let normal = path.as_str()[1..].split('/');
    Ok(normal
        .zip(&written)
        .map(
            |(normal, written)| {
                if is_name(written) { Segment::Any } else { Segment::Literal(normal.to_owned()) }
            },
        )
        .collect())
}

/// Whether a segment is `{name}`.
fn is_name(segment: &str) -> bool {
    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(super::environment::is_name)
}

#[cfg(test)]
mod tests {
    use super::{Allowed, PathMatch, Segment, exact, prefix};

    const STRICT: Allowed = Allowed { empty_segments: false, encoded_slash: false };

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    #[test]
    fn patterns_are_in_the_normal_form_of_requests() {
        for (text, expected) in [
            ("/", vec![literal("")]),
            ("/healthz", vec![literal("healthz")]),
            ("/a/", vec![literal("a"), literal("")]),
            ("/%7euser/%c3%a9", vec![literal("~user"), literal("%C3%A9")]),
            ("/a/{id}/b", vec![literal("a"), Segment::Any, literal("b")]),
        ] {
            assert_eq!(exact(text, STRICT).ok(), Some(PathMatch::Exact(expected)), "{text}");
        }
        assert_eq!(prefix("/", STRICT).ok(), Some(PathMatch::Prefix(Vec::new())));
        assert_eq!(prefix("/a", STRICT).ok(), Some(PathMatch::Prefix(vec![literal("a")])));
    }

    #[test]
    fn patterns_that_no_request_could_match_or_two_readers_differ_on() {
        for text in [
            "",
            "a",
            "/a/../b",
            "/a/%2e%2e",
            "/a?b",
            "/a#b",
            "/a b",
            "/a*",
            "/{}",
            "/{a}b",
            "/{a",
            "//a",
            "/a%2Fb",
            "/a\\b",
            "/%",
            "/a;v=1",
        ] {
            assert!(exact(text, STRICT).is_err(), "{text}");
        }
        assert!(prefix("/a/", STRICT).is_err());
        let loose = Allowed { empty_segments: true, encoded_slash: true };
        assert!(exact("//a", loose).is_ok() && exact("/a%2Fb", loose).is_ok());
    }
}
