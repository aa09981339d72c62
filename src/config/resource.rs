//! What is wrong with a route's `resource` beyond how it is written, and what it becomes (RFC 9728).
//!
//! Clients compare the identifier byte for byte (RFC 9728 §3.3), so it is one public URL and this path and has one spelling. A document that two
//! routes would write, or that a route would take requests away from, would be right by chance alone.

use super::complaint::{Complaints, Span, quoted};
use super::decode::{Setting, Wrong};
use super::pattern::{self, Allowed};
use super::route_file;
use super::{Access, PathMatch, Route, RouteMatch, Segment};

/// Where metadata is, in front of a resource's own path (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// `resource` of a route: a protected resource in the sense of RFC 9728, with every route below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `path`, in normal form; empty for `/`. Behind a public URL it is the resource's identifier.
    pub path: String,
    /// `scopes`; `None`: those of every route below it
    pub scopes: Option<Vec<String>>,
}

/// A resource as it is written, for what is judged between routes.
pub(super) struct Claimed {
    host: Option<String>,
    resource: Resource,
    path: Span,
    scopes: Span,
}

impl RouteMatch {
    /// Whether every request of this match is at `path` or below it, by whole segments. `path` is in normal form; empty, everything is below it.
    pub fn is_below(&self, path: &str) -> bool {
        let (PathMatch::Exact(pattern) | PathMatch::Prefix(pattern)) = &self.path;
        let mut pattern = pattern.iter();
        path.split('/').skip(1).all(|wanted| match pattern.next() {
            Some(Segment::Literal(text)) => text == wanted,
            Some(Segment::Any) | None => false,
        })
    }
}

/// Whether two hosts of matches have a request in common.
fn share_a_host(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

/// The resource of one route. `None` where there is none, or after a complaint.
pub(super) fn resource(
    route: &route_file::Route,
    matches: &RouteMatch,
    claimed: &mut Vec<Claimed>,
    complaints: &mut Complaints,
) -> Option<Resource> {
    let written = route.resource.as_ref()?;
    if route.public.value {
        complaints.add_with(
            written.span,
            "a public route needs no token, so nothing has to tell where to get one",
            "leave out `resource`, or `public`",
        );
        return None;
    }
    let path_setting = written.path.as_ref()?;
    let path = identifier_path(&path_setting.0)
        .map_err(|Wrong { what, mend, .. }| {
            complaints.add_with(path_setting.span, format!("{} {what}", quoted(&path_setting.0)), mend);
        })
        .ok()?;
    if !matches.is_below(&path) {
        complaints.add_with(
            path_setting.span,
            format!("the requests of this route are not all below {}", quoted(&path_setting.0)),
            "`match` has to begin with the resource's path, by whole segments",
        );
        return None;
    }
    let before = claimed.iter().find(|other| {
        other.resource.path == path && share_a_host(other.host.as_deref(), matches.host.as_deref())
    });
    if let Some(before) = before {
        let message =
            format!("the route with `resource` on line {} claims this identifier too", before.path.line);
        complaints.add_with(
            path_setting.span,
            message,
            "one of them; its challenges hold for every route below it",
        );
        return None;
    }
    let resource =
        Resource { path, scopes: written.scopes.as_ref().filter(|scopes| scopes.whole).map(texts) };
    claimed.push(Claimed {
        host: matches.host.clone(),
        resource: resource.clone(),
        path: path_setting.span,
        scopes: written.scopes.as_ref().map_or(path_setting.span, |scopes| scopes.span),
    });
    Some(resource)
}

fn texts(scopes: &Setting<super::decode::List<super::values::Scope, 1>>) -> Vec<String> {
    scopes.items.iter().map(|scope| scope.0.clone()).collect()
}

/// The path of an identifier; that of `/` is empty, since an identifier without a path has no slash (RFC 9728 §3.1).
fn identifier_path(text: &str) -> Result<String, Wrong> {
    if text == "/" {
        return Ok(String::new());
    }
    if text.ends_with('/') {
        return Err(Wrong::new(
            "ends with a slash",
            "identifiers are compared byte for byte: leave the slash out",
        ));
    }
    let PathMatch::Exact(segments) =
        pattern::exact(text, Allowed { empty_segments: false, encoded_slash: false })?
    else {
        return Err(Wrong::new("is no path", "a path as in a request"));
    };
    let mut path = String::new();
    for segment in segments {
        match segment {
            Segment::Literal(text) => {
                path.push('/');
                path.push_str(&text);
            }
            Segment::Any => {
                return Err(Wrong::new(
                    "is no single resource",
                    "an identifier has no `{name}`: write a path",
                ));
            }
        }
    }
    Ok(path)
}

/// What can be wrong between resources and routes once all are known.
pub(super) fn judge_all(claimed: &[Claimed], routes: &[Route], places: &[Span], complaints: &mut Complaints) {
    for (route, place) in routes.iter().zip(places) {
        let host = route.matches.host.as_deref();
        let near = || claimed.iter().filter(|one| share_a_host(one.host.as_deref(), host));
        // The gateway answers there itself, so a route would never be reached.
        if route.matches.is_below(WELL_KNOWN)
            && let Some(one) = near().next()
        {
            let message = format!("the metadata of the resource on line {} is here", one.path.line);
            complaints.add_with(*place, message, "leave the route out: the gateway answers there by itself");
        }
        let Access::Bound(policy) = &route.access else { continue };
        // The deepest one is the one that its challenges point to.
        let nearest = near()
            .filter(|one| route.matches.is_below(&one.resource.path))
            .max_by_key(|one| one.resource.path.len());
        if let Some(Claimed { resource: Resource { scopes: Some(listed), .. }, scopes, .. }) = nearest
            && let Some(missing) = policy.named_scopes().find(|scope| !listed.iter().any(|one| one == scope))
        {
            let message =
                format!("the scope {} of route {} is not listed", quoted(missing), quoted(&route.name));
            complaints.add_with(
                *scopes,
                message,
                "list it, or leave `scopes` out: then those of all routes are",
            );
        }
    }
}
