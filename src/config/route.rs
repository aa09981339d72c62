//! What is wrong with `routes` beyond how they are written, and the routes.

use std::sync::Arc;

use super::complaint::{Complaints, did_you_mean, one_of, quoted};
use super::decode::{List, Named, Setting, Wrong};
use super::file;
use super::pattern::{self, Allowed};
use super::values::Text;
use super::words::{Credentials, Identity};
use super::{Access, ClientCertificateHeader, Forward, PathMatch, Route, RouteMatch};
use crate::verify::policy::{BindingRule, NonceRule, Policy};

/// What routes name or rely on.
#[derive(Clone, Copy)]
pub(super) struct Around<'f> {
    pub(super) listeners: Option<&'f List<file::Listener, 1>>,
    pub(super) upstreams: Option<&'f Named<file::Upstream>>,
    pub(super) dpop: &'f file::Dpop,
}

/// The routes that could be built; all of them, when nothing was complained of.
pub(super) fn routes(
    written: &List<file::Route, 1>,
    around: Around<'_>,
    complaints: &mut Complaints,
) -> Vec<Route> {
    let mut routes = Vec::with_capacity(written.items.len());
    let mut matches: Vec<(&Setting<file::RouteMatch>, RouteMatch)> = Vec::new();
    for (position, route) in written.items.iter().enumerate() {
        refuse_twin(route, &written.items[..position], complaints);
        judge_access(route, around, complaints);
        let upstream = upstream_of(route, around, complaints);
        let Some(written_match) = &route.matches else { continue };
        let Some(built) = route_match(written_match, around, complaints) else { continue };
        if let Some((other, _)) = matches.iter().find(|(_, other)| equal(other, &built)) {
            complaints.add_with(
                written_match.span,
                format!("the match on line {} is for the same requests", other.span.line),
                "give them different paths, hosts or methods",
            );
        }
        matches.push((written_match, built.clone()));
        let (Some(name), Some(upstream)) = (&route.name, upstream) else { continue };
        routes.push(Route {
            name: Arc::from(name.0.as_str()),
            matches: built,
            upstream,
            access: access(route, around.dpop),
            forward: Forward {
                keep_credentials: route.forward.credentials.value == Credentials::Keep,
                identity_headers: route.forward.identity.value == Identity::Headers,
            },
        });
    }
    refuse_unused_upstreams(written, around, complaints);
    routes
}

fn refuse_twin(route: &file::Route, before: &[Setting<file::Route>], complaints: &mut Complaints) {
    let Some(name) = &route.name else { return };
    if let Some(taken) =
        before.iter().filter_map(|other| other.name.as_ref()).find(|other| other.value == name.value)
    {
        let message = format!("the route on line {} has this name too", taken.span.line);
        complaints.add_with(name.span, message, "names tell routes apart in logs and metrics");
    }
}

/// The index of a route's upstream among the names in order, as [`super::upstream::upstreams`] has them.
fn upstream_of(route: &file::Route, around: Around<'_>, complaints: &mut Complaints) -> Option<usize> {
    let name = route.upstream.as_ref()?;
    let mut names: Vec<&str> = around.upstreams?.names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let found = names.binary_search(&name.0.as_str()).ok();
    if found.is_none() {
        let mend = did_you_mean(&name.0, names.iter().copied()).unwrap_or_else(|| {
            if names.is_empty() {
                "add it to `upstreams`".to_owned()
            } else {
                format!("there is {}", one_of(&names))
            }
        });
        complaints.add_with(name.span, format!("there is no upstream {}", quoted(&name.0)), mend);
    }
    found
}

fn refuse_unused_upstreams(written: &List<file::Route, 1>, around: Around<'_>, complaints: &mut Complaints) {
    if !written.whole {
        return;
    }
    for (name, _) in around.upstreams.iter().flat_map(|upstreams| &upstreams.entries) {
        let used =
            |route: &Setting<file::Route>| route.upstream.as_ref().is_some_and(|used| used.0 == name.text);
        if !written.items.iter().any(used) {
            complaints.add_with(
                name.span,
                format!("no route uses the upstream {}", quoted(&name.text)),
                "leave it out, or name it in a route",
            );
        }
    }
}

/// What a route asks of its caller must be something a caller can show, and something that is looked at.
fn judge_access(route: &file::Route, around: Around<'_>, complaints: &mut Complaints) {
    let (require, forward) = (&route.require, &route.forward);
    if route.public.value {
        if require.written {
            let mend = "leave out `require`, or `public`";
            complaints.add_with(require.span, "a public route requires nothing", mend);
        }
        if forward.identity.value == Identity::Headers {
            let mend = "leave out `identity`; what callers send under these names is removed on every route";
            complaints.add_with(forward.identity.span, "a public route knows no identity", mend);
        }
        return;
    }
    let binding = &require.binding;
    match binding.value {
        BindingRule::Any | BindingRule::Dpop => {}
        BindingRule::Mtls | BindingRule::Both => {
            if around
                .listeners
                .is_some_and(|listeners| !listeners.items.iter().any(|one| may_have_certificate(one)))
            {
                complaints.add_with(
                    binding.span,
                    "this route wants a client certificate, and no listener ever asks for one",
                    "give a listener `client_certificates`, or trusted proxies and `client_certificate_header: client-cert`",
                );
            }
        }
    }
    if let Some(nonce) = &require.nonce
        && nonce.value == NonceRule::Required
        && binding.value == BindingRule::Mtls
    {
        complaints.add(nonce.span, "a nonce is in a DPoP proof, and this route is for certificates alone");
    }
}

/// Whether a caller's certificate can become known on this listener. What could not be read counts as yes.
fn may_have_certificate(listener: &file::Listener) -> bool {
    let asked = listener.tls.as_ref().is_none_or(|tls| match &tls.value {
        file::Tls::Plaintext => false,
        file::Tls::Settings(settings) => settings.client_certificates.is_some(),
    });
    asked || listener.client_certificate_header.value != ClientCertificateHeader::None
}

fn access(route: &file::Route, dpop: &file::Dpop) -> Access {
    if route.public.value {
        return Access::Public;
    }
    let file::Require { binding, scopes, audiences, nonce } = &route.require.value;
    Access::Bound(Policy {
        binding: binding.value,
        nonce: nonce.as_ref().map_or(dpop.nonce.value, |nonce| nonce.value),
        scopes: scopes.items.iter().map(|scope| scope.0.clone()).collect(),
        audiences: audiences.items.iter().map(|audience| audience.0.clone()).collect(),
    })
}

fn route_match(
    written: &Setting<file::RouteMatch>,
    around: Around<'_>,
    complaints: &mut Complaints,
) -> Option<RouteMatch> {
    let file::RouteMatch { host, path, path_prefix, methods, allow_empty_segments, allow_encoded_slash } =
        &written.value;
    let allowed =
        Allowed { empty_segments: allow_empty_segments.value, encoded_slash: allow_encoded_slash.value };
    let host = host.as_ref().map(|host| host_of(host, around, complaints));
    let path = match (path, path_prefix) {
        (Some(path), None) => read_pattern(path, |text| pattern::exact(text, allowed), complaints),
        (None, Some(prefix)) => read_pattern(prefix, |text| pattern::prefix(text, allowed), complaints),
        (Some(path), Some(prefix)) => {
            let second = path.span.max(prefix.span);
            complaints.add_with(second, "both `path` and `path_prefix`", "exactly one of them");
            None
        }
        (None, None) => {
            complaints.add_with(
                written.span,
                "neither `path` nor `path_prefix`",
                "exactly one of them; `path_prefix: /` is everything",
            );
            None
        }
    };
    Some(RouteMatch {
        host,
        path: path?,
        methods: methods.as_ref().map_or_else(Vec::new, |methods| methods.values()),
        allow_empty_segments: allow_empty_segments.value,
        allow_encoded_slash: allow_encoded_slash.value,
    })
}

fn read_pattern(
    written: &Setting<Text>,
    read: impl Fn(&str) -> Result<PathMatch, Wrong>,
    complaints: &mut Complaints,
) -> Option<PathMatch> {
    read(&written.0)
        .map_err(|Wrong { what, mend, .. }| {
            complaints.add_with(written.span, format!("{} {what}", quoted(&written.0)), mend);
        })
        .ok()
}

/// A host that no `public_urls` has is answered 421 before any route is looked at.
fn host_of(written: &Setting<Text>, around: Around<'_>, complaints: &mut Complaints) -> String {
    let host = written.0.to_ascii_lowercase();
    let known: Option<Vec<&str>> = around.listeners.and_then(|listeners| {
        let urls =
            listeners.items.iter().map(|listener| listener.public_urls.as_ref().filter(|urls| urls.whole));
        let urls: Option<Vec<_>> = urls.collect();
        Some(urls?.into_iter().flat_map(|urls| urls.items.iter().map(|url| url.host())).collect())
    });
    if let Some(known) = known
        && !known.contains(&host.as_str())
    {
        let mend = did_you_mean(&host, known.iter().copied())
            .unwrap_or_else(|| format!("there is {}", one_of(&known)));
        complaints.add_with(
            written.span,
            format!("no listener has the host {} in its `public_urls`", quoted(&host)),
            mend,
        );
    }
    host
}

/// Whether two matches are for the same requests and neither is more specific: same host, same shape of
/// path (the names in `{name}` are gone already), a method in common.
fn equal(one: &RouteMatch, other: &RouteMatch) -> bool {
    let a_method_in_common = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    one.host == other.host && one.path == other.path && a_method_in_common
}
