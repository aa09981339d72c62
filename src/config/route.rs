//! What is wrong with `routes` beyond how they are written, and the routes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::complaint::{Complaints, Span, did_you_mean, one_of, quoted};
use super::cors;
use super::credentials;
use super::decode::{List, Named, Setting, Wrong};
use super::either;
use super::exchange;
use super::file;
use super::identity;
use super::issuer::issuer_of;
use super::issuer_file::Issuer;
use super::mcp;
use super::onward;
use super::pattern::{self, Allowed};
use super::profile::{self, Profile};
use super::proofs::Shared;
use super::rate;
use super::require;
use super::resource;
use super::route_file;
use super::streams;
use super::upstream_file::Upstream;
use super::values::Text;
use super::words::{Identity, Reported};
use super::{Access, ClientCertificateHeader, Forward, PathMatch, Report, Route, RouteMatch};
use crate::verify::policy::{BindingRule, NonceRule};

/// What routes name or rely on.
#[derive(Clone, Copy)]
pub(super) struct Around<'f> {
    pub(super) profile: Profile,
    pub(super) listeners: Option<&'f List<file::Listener, 1>>,
    pub(super) upstreams: Option<&'f Named<Upstream>>,
    pub(super) dpop: &'f file::Dpop,
    pub(super) shared: Shared,
    pub(super) assertions: Option<&'f Setting<file::Assertions>>,
    pub(super) issuers: &'f List<Issuer>,
}

/// How a caller's certificate becomes known.
const ASK: &str =
    "give a listener `client_certificates`, or trusted proxies and `client_certificate_header: client-cert`";

impl Around<'_> {
    /// Whether no listener can know a caller's certificate.
    fn never_has_certificate(self) -> bool {
        self.listeners.is_some_and(|listeners| !listeners.items.iter().any(|one| may_have_certificate(one)))
    }
}

/// The routes that could be built; all of them, when nothing was complained of.
pub(super) fn routes(
    written: &List<route_file::Route, 1>,
    around: Around<'_>,
    complaints: &mut Complaints,
) -> Vec<Route> {
    let mut routes = Vec::with_capacity(written.items.len());
    let mut names = HashMap::new();
    let mut taken = Taken::default();
    let (mut claimed, mut places) = (Vec::new(), Vec::with_capacity(written.items.len()));
    for route in &written.items {
        if let Some(name) = &route.name
            && let Some(line) = names.insert(name.0.as_str(), name.span.line)
        {
            let message = format!("the route on line {line} has this name too");
            complaints.add_with(name.span, message, "names tell routes apart in logs and metrics");
        }
        judge_access(route, around, complaints);
        let streams = streams::streams(route, around, complaints);
        let upstream = upstream_of(route, around, complaints);
        cors::judge_pages(route, complaints);
        mcp::judge(route, complaints);
        let cors = route.cors.as_ref().map(|written| cors::cors(written, complaints));
        let rate = rate::rate(route, around.shared, complaints);
        let Some(written_match) = &route.matches else { continue };
        let Some(built) = route_match(written_match, around, complaints) else { continue };
        taken.take(&built, written_match.span, complaints);
        let resource = resource::resource(route, &built, &mut claimed, complaints);
        let onward = onward::onward(&route.forward, &built, complaints);
        let (Some(name), Some(upstream), Some(onward)) = (&route.name, upstream, onward) else { continue };
        routes.push(Route {
            name: Arc::from(name.0.as_str()),
            matches: built,
            profile: profile::rules::of(route, around.profile),
            upstream,
            access: access(route, around.dpop, complaints),
            issuer: issuer_of(route, around.issuers, complaints),
            forward: Forward {
                credentials: credentials::credentials(route, around.issuers, complaints),
                identity: identity::identity(&route.forward, around.assertions, complaints),
                report: report(&route.forward.report, around, complaints),
                interaction_id: route.forward.interaction_id.value,
            },
            onward,
            streams,
            cors: cors.flatten(),
            resource,
            rate,
        });
        places.push(written_match.span);
    }
    resource::judge_all(&claimed, &routes, &places, complaints);
    profile::rules::metadata(written, &routes, complaints);
    refuse_unused_upstreams(written, around, complaints);
    exchange::refuse_unused(written, around.issuers, complaints);
    routes
}

/// What the upstream is told; of a certificate only where there can be one.
fn report(written: &Setting<List<Reported>>, around: Around<'_>, complaints: &mut Complaints) -> Report {
    let has = |wanted| written.items.iter().find(|item| item.value == wanted);
    for (position, item) in written.items.iter().enumerate() {
        if written.items[..position].iter().any(|before| before.value == item.value) {
            complaints.add(item.span, "this stands here twice");
        }
    }
    if let Some(certificate) = has(Reported::ClientCert)
        && around.never_has_certificate()
    {
        complaints.add_with(certificate.span, "there is no client certificate to report", ASK);
    }
    Report {
        x_forwarded: has(Reported::XForwarded).is_some(),
        forwarded: has(Reported::Forwarded).is_some(),
        client_cert: has(Reported::ClientCert).is_some(),
        request_id: has(Reported::RequestId).is_some(),
    }
}

/// The index of a route's upstream among the names in order, as [`super::upstream::upstreams`] has them.
fn upstream_of(route: &route_file::Route, around: Around<'_>, complaints: &mut Complaints) -> Option<usize> {
    let name = route.upstream.as_ref()?;
    let names = &around.upstreams?.names;
    let found = names.binary_search(&name.0).ok();
    if found.is_none() {
        let mend = did_you_mean(&name.0, names.iter().map(String::as_str))
            .unwrap_or_else(|| "add it to `upstreams`, or name one of them".to_owned());
        complaints.add_with(name.span, format!("there is no upstream {}", quoted(&name.0)), mend);
    }
    found
}

fn refuse_unused_upstreams(
    written: &List<route_file::Route, 1>,
    around: Around<'_>,
    complaints: &mut Complaints,
) {
    if !written.whole {
        return;
    }
    let used: HashSet<&str> = written
        .items
        .iter()
        .filter_map(|route| route.upstream.as_ref())
        .map(|name| name.0.as_str())
        .collect();
    for (name, _) in around.upstreams.iter().flat_map(|upstreams| &upstreams.entries) {
        if !used.contains(name.text.as_str()) {
            let message = format!("no route uses the upstream {}", quoted(&name.text));
            complaints.add_with(name.span, message, "leave it out, or name it in a route");
        }
    }
}

/// What a route asks of its caller must be something a caller can show, and something that is looked at.
fn judge_access(route: &route_file::Route, around: Around<'_>, complaints: &mut Complaints) {
    let (require, forward) = (&route.require, &route.forward);
    if route.public.value {
        if require.written {
            let mend = "leave out `require`, or `public`";
            complaints.add_with(require.span, "a public route requires nothing", mend);
        }
        if route.enforcement.written {
            let mend = "leave out `enforcement`, or `public`";
            complaints.add_with(route.enforcement.span, "a public route looks at no token", mend);
        }
        if forward.identity.value != Identity::None {
            let mend = "leave out `identity`; what callers send under these names is removed on every route";
            complaints.add_with(forward.identity.span, "a public route knows no identity", mend);
        }
        return;
    }
    let binding = &require.binding;
    match binding.value {
        BindingRule::Any | BindingRule::Dpop => {}
        BindingRule::Mtls | BindingRule::Both => {
            if around.never_has_certificate() {
                complaints.add_with(
                    binding.span,
                    "this route wants a client certificate, and no listener ever asks for one",
                    ASK,
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
        either::Tls::Plaintext => false,
        either::Tls::Settings(settings) => settings.client_certificates.is_some(),
    });
    asked || listener.client_certificate_header.value != ClientCertificateHeader::None
}

fn access(route: &route_file::Route, dpop: &file::Dpop, complaints: &mut Complaints) -> Access {
    if route.public.value {
        Access::Public
    } else {
        Access::Bound(Box::new(require::policy(route, dpop, complaints)))
    }
}

fn route_match(
    written: &Setting<route_file::RouteMatch>,
    around: Around<'_>,
    complaints: &mut Complaints,
) -> Option<RouteMatch> {
    let route_file::RouteMatch {
        host,
        path,
        path_prefix,
        methods,
        allow_empty_segments,
        allow_encoded_slash,
    } = &written.value;
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

/// The matches so far, by what has to be equal: host and shape of path, in which the names of `{name}` are gone already.
#[derive(Default)]
struct Taken(HashMap<(Option<String>, PathMatch), Vec<Before>>);

/// A match before: where it stands, and its methods.
type Before = (Span, Vec<http::Method>);

impl Taken {
    /// Complains when a match is for the same requests as one before it, and neither is more specific: then which route a request
    /// takes, and with it what it has to show, would be chance.
    fn take(&mut self, built: &RouteMatch, span: Span, complaints: &mut Complaints) {
        let before = self.0.entry((built.host.clone(), built.path.clone())).or_default();
        let a_method_in_common = |methods: &Vec<http::Method>| {
            methods.is_empty()
                || built.methods.is_empty()
                || methods.iter().any(|method| built.methods.contains(method))
        };
        if let Some((other, _)) = before.iter().find(|(_, methods)| a_method_in_common(methods)) {
            complaints.add_with(
                span,
                format!("the match on line {} is for the same requests", other.line),
                "give them different paths, hosts or methods",
            );
        }
        before.push((span, built.methods.clone()));
    }
}
