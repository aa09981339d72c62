//! Where a route's requests go on to: the host and the path that the upstream is told.
//!
//! Nothing here changes what is authorised: routing, `htu` and the policy see the path that was asked for.

use http::HeaderValue;

use super::complaint::{Complaints, quoted};
use super::decode::{Setting, Wrong};
use super::pattern::{self, Allowed};
use super::{PathMatch, RouteMatch, Segment, route_file};

/// What the upstream of a route is told of where the request goes: `forward.host` and `forward.rewrite`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Onward {
    /// `host`
    pub host: Host,
    /// `rewrite`; `None`: the path that was authorised
    pub rewrite: Option<Rewrite>,
}

/// `forward.host` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The public name that was called.
    #[default]
    Caller,
    /// The server's own, as `servers` has it; `localhost` for a Unix socket.
    Upstream,
    /// This one.
    Name(HeaderValue),
}

/// `forward.rewrite` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// How many segments `strip_prefix` has. The match begins with the same ones, so that every path of the route has them.
    pub strip: usize,
    /// `replace` in normal form, with its leading `/` and none at its end; empty for none
    pub replace: String,
}

/// `forward.host` and `forward.rewrite` of a route with this match; `None` after a complaint.
pub(super) fn onward(
    written: &route_file::Forward,
    matches: &RouteMatch,
    complaints: &mut Complaints,
) -> Option<Onward> {
    let rewrite = match &written.rewrite {
        None => None,
        Some(written) => Some(rewrite(written, matches, complaints)?),
    };
    Some(Onward { host: written.host.value.clone(), rewrite })
}

fn rewrite(
    written: &Setting<route_file::Rewrite>,
    matches: &RouteMatch,
    complaints: &mut Complaints,
) -> Option<Rewrite> {
    let route_file::Rewrite { strip_prefix, replace } = &written.value;
    let strip_prefix = strip_prefix.as_ref()?;
    let stripped = segments(strip_prefix, matches, complaints)?;
    let (PathMatch::Exact(matched) | PathMatch::Prefix(matched)) = &matches.path;
    if !matched.starts_with(&stripped) {
        complaints.add_with(
            strip_prefix.span,
            format!("the match of this route does not begin with {}", quoted(&strip_prefix.0)),
            "whole segments from the start of `path` or `path_prefix`",
        );
        return None;
    }
    if matches.allow_empty_segments {
        // `/api//evil.example` without `/api` would be another host to an upstream that takes it for a reference (RFC 3986 §4.2).
        let mend = "leave out `allow_empty_segments`, or `rewrite`";
        complaints.add_with(written.span, "a path with empty segments cannot be rewritten safely", mend);
        return None;
    }
    let mut text = String::new();
    if let Some(replace) = replace {
        for segment in segments(replace, matches, complaints)? {
            let Segment::Literal(literal) = segment else {
                let mend = "write the segment itself; nothing is carried over from the match";
                complaints.add_with(replace.span, "a name stands for no segment here", mend);
                return None;
            };
            text.push('/');
            text.push_str(&literal);
        }
    }
    if stripped.is_empty() && text.is_empty() {
        complaints.add_with(written.span, "this changes no path", "leave it out, or add `replace`");
        return None;
    }
    Some(Rewrite { strip: stripped.len(), replace: text })
}

/// Whole segments in normal form, read as those of a match are.
fn segments(
    written: &Setting<super::values::Text>,
    matches: &RouteMatch,
    complaints: &mut Complaints,
) -> Option<Vec<Segment>> {
    let allowed = Allowed { empty_segments: false, encoded_slash: matches.allow_encoded_slash };
    match pattern::prefix(&written.0, allowed) {
        Ok(PathMatch::Exact(segments) | PathMatch::Prefix(segments)) => Some(segments),
        Err(Wrong { what, mend, .. }) => {
            complaints.add_with(written.span, format!("{} {what}", quoted(&written.0)), mend);
            None
        }
    }
}
