//! Which route a request belongs to: by host, whole path segments and method; the most specific wins.
//!
//! Path before method: when the most specific path does not take the method, the answer is 405 and never a broader route, or a
//! caller could reach a public catch-all by choosing another method.

use std::cmp::Ordering;
use std::sync::Arc;

use http::Method;

use crate::config::{Access, Config, Forward, Onward, PathMatch, RouteMatch, Segment, Streams};
use crate::cors::CrossOrigin;
use crate::coverage::Coverage;
use crate::coverage::report::Watched;
use crate::rate::Limiter;
use crate::verify::enforcement::Enforcement;
use crate::verify::policy::Policy;
use crate::verify::rejection::Rejection;
use crate::verify::request::Target;
use crate::verify::time::UnixTime;
use resource::Resources;
use watch::Watch;

pub mod resource;
mod watch;

/// A route as requests meet it.
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    matches: RouteMatch,
    access: Access,
    cross_origin: Option<CrossOrigin>,
    limiter: Option<Arc<Limiter>>,
    watch: Option<Watch>,
    /// The issuer whose tokens it takes, by its index; `None`: any.
    pub issuer: Option<usize>,
    /// The upstream's index.
    pub upstream: usize,
    /// What is forwarded.
    pub forward: Forward,
    /// Where it goes on to.
    pub onward: Onward,
    /// How long, and what beyond one answer.
    pub streams: Streams,
}

/// What a route demands of its callers.
#[derive(Debug)]
pub enum Demand<'r> {
    /// Nothing: the route is public.
    Nothing(PublicRoute),
    /// A token that this policy grants: a bound one, unless the route is report-only.
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

    /// What it does with tokens that are bound to nothing. A public route looks at none.
    pub const fn enforcement(&self) -> Enforcement {
        self.access.enforcement()
    }

    /// How many requests of one caller it takes; `None`: any number.
    pub fn limiter(&self) -> Option<&Limiter> {
        self.limiter.as_deref()
    }

    /// Where its requests are counted; `None` on a public route.
    pub fn coverage(&self) -> Option<&Coverage> {
        self.watch.as_ref().map(Watch::coverage)
    }

    /// What pages of other origins may do; `None` where the gateway leaves CORS to the upstream.
    pub const fn cross_origin(&self) -> Option<&CrossOrigin> {
        self.cross_origin.as_ref()
    }

    /// The policy, unless the route is public.
    pub const fn policy(&self) -> Option<&Policy> {
        match &self.access {
            Access::Public => None,
            Access::Bound(policy) => Some(policy),
        }
    }
}

/// All routes, the most specific first, and the metadata of the resources behind them.
#[derive(Debug)]
pub struct Routes {
    all: Vec<Route>,
    /// What is said of them at their well-known paths, which belong to no route.
    pub resources: Resources,
}

impl Routes {
    /// Takes the routes out of a configuration, which has made sure that no two are equal. What they count begins `now`.
    pub fn new(config: &mut Config, now: UnixTime) -> Self {
        let resources = Resources::new(config);
        let mut routes: Vec<Route> = config
            .routes
            .drain(..)
            .map(|route| Route {
                cross_origin: route
                    .cors
                    .as_ref()
                    .map(|cors| CrossOrigin::new(cors, &route.matches.methods, &route.access)),
                limiter: route.rate.map(|rate| Arc::new(Limiter::new(rate))),
                watch: Watch::new(&route.access, now),
                name: route.name,
                matches: route.matches,
                access: route.access,
                issuer: route.issuer,
                upstream: route.upstream,
                forward: route.forward,
                onward: route.onward,
                streams: route.streams,
            })
            .collect();
        routes.sort_by(|a, b| {
            specificity(&a.matches, &b.matches)
                .then_with(|| a.matches.methods.is_empty().cmp(&b.matches.methods.is_empty()))
        });
        Self { all: routes, resources }
    }

    /// The route for a request.
    ///
    /// # Errors
    /// [`Rejection::RouteUnknown`], [`Rejection::MethodUnknown`], or [`Rejection::PathAmbiguous`] where the path has an empty segment or
    /// an encoded slash that the route does not allow; without a route, such a path is ambiguous too. So is one that an upstream could
    /// take for a path of another route (see `lenient`).
    pub fn find(&self, target: &Target, method: &Method) -> Result<&Route, Rejection> {
        let same_path = self.at_path(target);
        // Such a path is rare, so the second look costs others nothing.
        if target.path.as_str().contains([';', '%'])
            && !std::ptr::eq(same_path, self.at(target, |text, segment| lenient(text) == lenient(segment)))
        {
            return Err(Rejection::PathAmbiguous);
        }
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

    /// Whether every request that asks for proof is asked for a nonce where `other` asks for one, and nowhere else.
    pub fn asks_for_nonces_like(&self, other: &Self) -> bool {
        let nonces = |route: &Route| route.policy().map(|policy| policy.nonce);
        self.all.len() == other.all.len()
            && self
                .all
                .iter()
                .zip(&other.all)
                .all(|(one, other)| one.matches == other.matches && nonces(one) == nonces(other))
    }

    /// Goes on counting where `before` has counted. Of a limit: a route of the same name with the same limit, or a reload would give everyone a whole allowance. Of who
    /// presents what: a route of the same name; but only as long as it matches and enforces the same does it go on being watched.
    pub fn count_on_from(&mut self, before: &Self) {
        for route in &mut self.all {
            let same = before.all.iter().find(|other| other.name == route.name);
            if let (Some(limiter), Some(before)) =
                (&mut route.limiter, same.and_then(|same| same.limiter.as_ref()))
                && limiter.rate() == before.rate()
            {
                *limiter = Arc::clone(before);
            }
            if let (Some(same), Some(watch)) = (same, &mut route.watch)
                && let Some(before) = &same.watch
            {
                let is_as_it_was =
                    route.matches == same.matches && route.access.enforcement() == same.access.enforcement();
                watch.count_on_from(before, is_as_it_was);
            }
        }
    }

    /// Those that let unbound tokens through.
    pub fn report_only(&self) -> impl Iterator<Item = &Route> {
        self.all.iter().filter(|route| route.enforcement() == Enforcement::ReportOnly)
    }

    /// What was counted of every route that asks for a token, in the order of their names.
    pub fn watched(&self) -> Vec<Watched> {
        let watched = |route: &Route| Some(route.watch.as_ref()?.watched(route));
        let mut all: Vec<Watched> = self.all.iter().filter_map(watched).collect();
        all.sort_by(|one, other| one.route.cmp(&other.route));
        all
    }

    /// The limits there are.
    pub fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        self.all.iter().filter_map(Route::limiter)
    }

    /// The methods that the path of `target` takes, for `Allow` (RFC 9110 §10.2.1).
    pub fn methods_at<'r>(&'r self, target: &Target) -> impl Iterator<Item = &'r Method> + use<'r> {
        self.at_path(target).iter().flat_map(|route| &route.matches.methods)
    }

    /// The routes of the most specific host and path that match; they differ by their methods only.
    fn at_path(&self, target: &Target) -> &[Route] {
        self.at(target, |text, segment| text == segment)
    }

    /// The same, where `is` says whether a literal of a pattern is a segment.
    fn at(&self, target: &Target, is: fn(&str, &str) -> bool) -> &[Route] {
        let Some(start) = self.all.iter().position(|route| matches(&route.matches, target, is)) else {
            return &[];
        };
        let first = &self.all[start].matches;
        let count = self.all[start..]
            .iter()
            .take_while(|r| specificity(&r.matches, first) == Ordering::Equal)
            .count();
        &self.all[start..start + count]
    }
}

fn matches(route: &RouteMatch, target: &Target, is: fn(&str, &str) -> bool) -> bool {
    if route.host.as_deref().is_some_and(|host| host != target.origin.host()) {
        return false;
    }
    let (pattern, exact) = match &route.path {
        PathMatch::Exact(pattern) => (pattern, true),
        PathMatch::Prefix(pattern) => (pattern, false),
    };
    let mut segments = target.path.as_str()[1..].split('/');
    for expected in pattern {
        let Some(segment) = segments.next() else { return false };
        let fits = match expected {
            Segment::Literal(text) => is(text, segment),
            Segment::Any => !segment.is_empty(),
        };
        if !fits {
            return false;
        }
    }
    !exact || segments.next().is_none()
}

/// A segment as lenient upstreams read it: parameters cut off, as servlet containers do with `;x`, and decoded, as nearly all do with `%3A`.
///
/// It chooses no route and is never forwarded. But a caller who can spell the path of one route so that it belongs to another, `/admin;x` or
/// `/docs%3Acommit`, would have the upstream serve the first on the terms of the second (R-L-05). `%2F` stays: a route that allows
/// it has an upstream that tells it from `/`.
fn lenient(segment: &str) -> String {
    let name = segment.split(';').next().unwrap_or(segment);
    let mut parts = name.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A path in normal form has two hex digits behind each `%`.
        let octet = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet {
            Some(octet) if octet.is_ascii_graphic() && !matches!(octet, b'/' | b'%') => {
                text.push(char::from(octet));
                text.push_str(&part[2..]);
            }
            Some(_) | None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
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
    use crate::config::{Credentials, Identity, Report};
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
        let report = Report { x_forwarded: true, forwarded: false, client_cert: false, request_id: true };
        let forward = Forward {
            credentials: Credentials::Kept(Vec::new()),
            identity: Identity::None,
            report,
            interaction_id: false,
        };
        Route {
            name: name.into(),
            matches,
            access: Access::Public,
            cross_origin: None,
            limiter: None,
            watch: None,
            issuer: None,
            upstream: 0,
            forward,
            onward: Onward::default(),
            streams: Streams::default(),
        }
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
            route("home", None, exact("/accounts/me@home"), &[]),
            route("root", None, exact("/"), &[]),
            route("lax", None, prefix("/files"), &[]),
            route("other-host", Some("b.example"), prefix("/"), &[]),
        ];
        routes.sort_by(|a, b| specificity(&a.matches, &b.matches));
        Routes { all: routes, resources: Resources::none() }
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
            ("a.example/accounts/7;v=1", "account"),
            ("a.example/other;v=1/%3A", "all"),
            ("a.example/files/a%3Ab;c", "lax"),
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

    #[test]
    fn ambiguous_paths_pass_only_where_allowed() {
        for url in [
            "a.example//x",
            "a.example/accounts%2F7",
            "a.example/accounts//7",
            "b.example/a//",
            "a.example/accounts;v=1",
            "a.example/accounts;/7",
            "a.example/accounts/mine;v=1",
            "a.example/;x/accounts",
            "a.example/accounts/me%40home",
            "a.example/;files/a",
        ] {
            assert_eq!(find(url, Method::GET), Err(Rejection::PathAmbiguous), "{url}");
        }
    }
}
