//! Which route a request belongs to: by host, whole path segments and method; the most specific wins.
//!
//! Path before method: when the most specific path does not take the method, the answer is 405 and never a broader route, or a
//! caller could reach a public catch-all by choosing another method.
//!
//! Path parameters (`;…` at the end of a segment, RFC 3986 §3.3) choose no route: some upstreams cut them off, and `/admin;x` would be the
//! catch-all's here and `/admin` there (R-L-05).

use std::cmp::Ordering;
use std::sync::Arc;

use http::Method;

use crate::config::{Access, Config, Forward, PathMatch, RouteMatch, Segment};
use crate::verify::policy::Policy;
use crate::verify::rejection::Rejection;
use crate::verify::request::Target;

/// A route as requests meet it.
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    matches: RouteMatch,
    access: Access,
    /// The upstream's index.
    pub upstream: usize,
    /// What is forwarded.
    pub forward: Forward,
}

/// What a route demands of its callers.
#[derive(Debug)]
pub enum Demand<'r> {
    /// Nothing: the route is public.
    Nothing(PublicRoute),
    /// A bound token that this policy grants.
    Bound(&'r Policy),
}

/// The operator has declared this route public. Only [`Route::demand`] makes one; `forward` takes it instead of a permit.
#[derive(Debug)]
#[must_use]
pub struct PublicRoute(());

impl Route {
    /// The route's name, for logs and metrics.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its callers must show.
    pub const fn demand(&self) -> Demand<'_> {
        match &self.access {
            Access::Public => Demand::Nothing(PublicRoute(())),
            Access::Bound(policy) => Demand::Bound(policy),
        }
    }

    /// The policy, unless the route is public.
    pub const fn policy(&self) -> Option<&Policy> {
        match &self.access {
            Access::Public => None,
            Access::Bound(policy) => Some(policy),
        }
    }
}

/// All routes, the most specific first.
#[derive(Debug)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Takes the routes out of a configuration, which has made sure that no two are equal.
    pub fn new(config: &mut Config) -> Self {
        let mut routes: Vec<Route> = config
            .routes
            .drain(..)
            .map(|route| Route {
                name: route.name,
                matches: route.matches,
                access: route.access,
                upstream: route.upstream,
                forward: route.forward,
            })
            .collect();
        routes.sort_by(|a, b| {
            specificity(&a.matches, &b.matches)
                .then_with(|| a.matches.methods.is_empty().cmp(&b.matches.methods.is_empty()))
        });
        Self(routes)
    }

    /// The route for a request.
    ///
    /// # Errors
    /// [`Rejection::RouteUnknown`], [`Rejection::MethodUnknown`], or [`Rejection::PathAmbiguous`] where the path has an empty segment or
    /// an encoded slash that the route does not allow; without a route, such a path is ambiguous too. So is one that belongs to another route
    /// once the parameters of its segments are cut off.
    pub fn find(&self, target: &Target, method: &Method) -> Result<&Route, Rejection> {
        if target.path.as_str().contains(';')
            && self.first_at(target, as_written) != self.first_at(target, without_parameters)
        {
            return Err(Rejection::PathAmbiguous);
        }
        let same_path = self.at_path(target);
        let allows = |matches: &RouteMatch| {
            (matches.allow_empty_segments || !target.path.has_empty_segment())
                && (matches.allow_encoded_slash || !target.path.has_encoded_slash())
        };
        let Some(first) = same_path.first() else {
            let plain = !target.path.has_empty_segment() && !target.path.has_encoded_slash();
            return Err(if plain { Rejection::RouteUnknown } else { Rejection::PathAmbiguous });
        };
        let takes =
            |route: &&Route| route.matches.methods.is_empty() || route.matches.methods.contains(method);
        let route = same_path.iter().find(takes);
        if !allows(&route.unwrap_or(first).matches) {
            return Err(Rejection::PathAmbiguous);
        }
        route.ok_or(Rejection::MethodUnknown)
    }

    /// The methods that the path of `target` takes, for `Allow` (RFC 9110 §10.2.1).
    pub fn methods_at<'r>(&'r self, target: &Target) -> impl Iterator<Item = &'r Method> + use<'r> {
        self.at_path(target).iter().flat_map(|route| &route.matches.methods)
    }

    /// The routes of the most specific host and path that match; they differ by their methods only.
    fn at_path(&self, target: &Target) -> &[Route] {
        let Some(start) = self.first_at(target, as_written) else { return &[] };
        let first = &self.0[start].matches;
        let count =
            self.0[start..].iter().take_while(|r| specificity(&r.matches, first) == Ordering::Equal).count();
        &self.0[start..start + count]
    }

    /// The position of the first, hence most specific, route for `target` to a reader with this view of its segments.
    fn first_at(&self, target: &Target, view: View) -> Option<usize> {
        self.0.iter().position(|route| matches(&route.matches, target, view))
    }
}

/// How a reader sees a segment.
type View = fn(&str) -> &str;

fn as_written(segment: &str) -> &str {
    segment
}

fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn matches(route: &RouteMatch, target: &Target, view: View) -> bool {
    if route.host.as_deref().is_some_and(|host| host != target.origin.host()) {
        return false;
    }
    let (pattern, exact) = match &route.path {
        PathMatch::Exact(pattern) => (pattern, true),
        PathMatch::Prefix(pattern) => (pattern, false),
    };
    let mut segments = target.path.as_str()[1..].split('/').map(view);
    for expected in pattern {
        let Some(segment) = segments.next() else { return false };
        let fits = match expected {
            Segment::Literal(text) => text == segment,
            Segment::Any => !segment.is_empty(),
        };
        if !fits {
            return false;
        }
    }
    !exact || segments.next().is_none()
}

/// Orders by specificity, the most specific first: a host before none; then, segment by segment, a literal before `{name}`
/// before the end of an exact path before the end of a prefix.
fn specificity(a: &RouteMatch, b: &RouteMatch) -> Ordering {
    let by_host = match (&a.host, &b.host) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_host.then_with(|| steps(&a.path).cmp(steps(&b.path)))
}

/// A path as the sequence that [`specificity`] compares.
fn steps(path: &PathMatch) -> impl Iterator<Item = Step<'_>> {
    let (pattern, end) = match path {
        PathMatch::Exact(pattern) => (pattern, Step::EndsHere),
        PathMatch::Prefix(pattern) => (pattern, Step::GoesOn),
    };
    let segments = pattern.iter().map(|segment| match segment {
        Segment::Literal(text) => Step::Literal(text),
        Segment::Any => Step::Any,
    });
    segments.chain([end])
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step<'p> {
    Literal(&'p str),
    Any,
    EndsHere,
    GoesOn,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::htu::{Origin, Path};

    fn segments(path: &str) -> Vec<Segment> {
        let segment = |s: &str| if s.starts_with('{') { Segment::Any } else { Segment::Literal(s.into()) };
        path[1..].split('/').map(segment).collect()
    }

    fn route(name: &str, host: Option<&str>, path: PathMatch, methods: &[Method]) -> Route {
        let matches = RouteMatch {
            host: host.map(Into::into),
            path,
            methods: methods.to_vec(),
            allow_empty_segments: name == "lax",
            allow_encoded_slash: name == "lax",
        };
        let forward = Forward { keep_credentials: false, identity_headers: false };
        Route { name: name.into(), matches, access: Access::Public, upstream: 0, forward }
    }

    fn routes() -> Routes {
        let exact = |path| PathMatch::Exact(segments(path));
        let prefix = |path| PathMatch::Prefix(if path == "/" { Vec::new() } else { segments(path) });
        let mut routes = vec![
            route("all", None, prefix("/"), &[]),
            route("accounts", None, prefix("/accounts"), &[Method::GET]),
            route("accounts-rest", None, prefix("/accounts"), &[Method::PUT]),
            route("account", None, exact("/accounts/{id}"), &[]),
            route("mine", None, exact("/accounts/mine"), &[]),
            route("root", None, exact("/"), &[]),
            route("lax", None, prefix("/files"), &[]),
            route("other-host", Some("b.example"), prefix("/"), &[]),
        ];
        routes.sort_by(|a, b| specificity(&a.matches, &b.matches));
        Routes(routes)
    }

    fn find(url: &str, method: Method) -> Result<String, Rejection> {
        let (host, path) = url.split_once('/').expect("a path");
        let origin = Origin::read(&format!("https://{host}")).expect("an origin");
        let target = Target { origin: Arc::new(origin), path: Path::read(&format!("/{path}"))?, query: None };
        routes().find(&target, &method).map(|route| route.name.to_string())
    }

    #[test]
    fn the_most_specific_wins() {
        for (url, name) in [
            ("a.example/", "root"),
            ("a.example/x", "all"),
            ("a.example/accounts", "accounts"),
            ("a.example/accounts/", "accounts"),
            ("a.example/%61ccounts", "accounts"),
            ("a.example/accounts/mine", "mine"),
            ("a.example/accounts/7", "account"),
            ("a.example/accounts/7/x", "accounts"),
            ("a.example/accountsx", "all"),
            ("a.example/x;v=1", "all"),
            ("a.example/accounts/7;v=1", "account"),
            ("a.example/accounts/7/x;v=1/;y", "accounts"),
            ("b.example/accounts", "other-host"),
            ("a.example/files/a%2Fb//c", "lax"),
        ] {
            assert_eq!(find(url, Method::GET).as_deref(), Ok(name), "{url}");
        }
    }

    #[test]
    fn another_method_does_not_reach_a_broader_route() {
        assert_eq!(find("a.example/accounts", Method::PUT).as_deref(), Ok("accounts-rest"));
        assert_eq!(find("a.example/accounts", Method::DELETE), Err(Rejection::MethodUnknown));
        assert_eq!(find("a.example/accounts", Method::HEAD), Err(Rejection::MethodUnknown));
    }

    /// R-L-05, T-PXY-11.
    #[test]
    fn parameters_choose_no_route() {
        for url in [
            "a.example/accounts;v=1",
            "a.example/accounts;/7",
            "a.example/accounts/mine;x",
            "a.example/accounts/;x",
            "a.example/;x",
            "a.example/;x/accounts",
        ] {
            assert_eq!(find(url, Method::GET), Err(Rejection::PathAmbiguous), "{url}");
        }
    }

    #[test]
    fn ambiguous_paths_pass_only_where_allowed() {
        for url in ["a.example//x", "a.example/accounts%2F7", "a.example/accounts//7", "b.example/a//"] {
            assert_eq!(find(url, Method::GET), Err(Rejection::PathAmbiguous), "{url}");
        }
    }
}
