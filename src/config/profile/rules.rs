//! What the specification behind a preset rules out, where an operator has written it all the same.

use super::super::complaint::{Complaints, Span, quoted};
use super::super::credentials::Written;
use super::super::decode::{List, Setting};
use super::super::file::File;
use super::super::issuer_file::Issuer;
use super::super::route_file;
use super::super::values::Scope;
use super::super::{Access, Route, RouteMatch};
use super::Profile;
use crate::verify::algorithm::Algorithm;
use crate::verify::enforcement::Enforcement;

/// A scope that asks the authorization server for refresh tokens, and is no resource's to ask for.
const OFFLINE: &str = "offline_access";

/// The profile that a route is under.
pub(in super::super) fn of(route: &route_file::Route, file: Profile) -> Profile {
    route.profile.as_ref().map_or(file, |own| own.value)
}

/// Judges everything but [`metadata`].
pub(in super::super) fn judge(file: &File, complaints: &mut Complaints) {
    let routes = file.routes.iter().flat_map(|routes| &routes.items);
    let mut whole = file.profile.written.then_some((file.profile.value, file.profile.span));
    let mut issuers: Vec<&Issuer> = Vec::new();
    for route in routes.filter(|route| !route.public.value) {
        let at = route.profile.as_ref().map_or(file.profile.span, |own| own.span);
        match of(route, file.profile.value) {
            Profile::None => {}
            Profile::Mcp => {
                enforced(route, "mcp", complaints);
                mcp(route, complaints);
            }
            Profile::Fapi2 => {
                enforced(route, "fapi2", complaints);
                whole =
                    whole.filter(|(profile, _)| *profile == Profile::Fapi2).or(Some((Profile::Fapi2, at)));
                let named = route.require.issuer.as_ref();
                let taken = file.issuers.items.iter().filter(|issuer| {
                    named.is_none_or(|named| issuer.issuer.as_ref().is_some_and(|name| name.0 == named.0))
                });
                issuers.extend(taken.map(|issuer| &issuer.value));
            }
        }
    }
    if let Some((Profile::Fapi2, at)) = whole {
        fapi2(file, &issuers, at, complaints);
    }
}

/// A preset is a promise that a stolen token is worth nothing (FAPI 2.0 §5.3.4; SEP-1932), and report-only is the absence of it.
fn enforced(route: &route_file::Route, profile: &str, complaints: &mut Complaints) {
    match route.enforcement.value {
        Enforcement::Enforce => {}
        Enforcement::ReportOnly => complaints.add_with(
            route.enforcement.span,
            format!("under `profile: {profile}` tokens are bound, and this lets others through"),
            "leave `enforcement` out, or write `profile: none` on this route for the time being",
        ),
    }
}

/// FAPI 2.0 §5.3.4 and §5.4. That tokens come in headers alone and bound ones only, no setting can change.
fn fapi2(file: &File, issuers: &[&Issuer], at: Span, complaints: &mut Complaints) {
    algorithms(&file.dpop.settings.algorithms, "dpop", at, complaints);
    let ahead = &file.dpop.settings.max_future;
    if ahead.0 < 10 {
        complaints.add_with(
            ahead.span,
            "`profile: fapi2` takes what is dated up to 10 seconds ahead",
            "write `max_future: 10s` or more (FAPI 2.0 §5.3.2.1), or leave it out",
        );
    }
    for issuer in issuers {
        algorithms(&issuer.algorithms, "the issuer", at, complaints);
        if issuer.max_lifetime.is_none() {
            let span = issuer.issuer.as_ref().map_or(at, |name| name.span);
            complaints.add_with(
                span,
                "tokens live shortly under `profile: fapi2`, and those of this issuer as long as it likes",
                "write `max_lifetime: 1h`, or as long as its tokens live",
            );
        }
    }
}

/// FAPI 2.0 §5.4.1: PS256, ES256, and EdDSA with Ed25519.
fn algorithms(written: &Setting<List<Algorithm, 1>>, whose: &str, at: Span, complaints: &mut Complaints) {
    const MEND: &str = "write `algorithms: [ES256, PS256, EdDSA]`, or some of them (FAPI 2.0 §5.4.1)";
    let fits = |algorithm: Algorithm| matches!(algorithm.name(), "PS256" | "ES256" | "EdDSA" | "Ed25519");
    for item in written.items.iter().filter(|item| !fits(item.value)) {
        // A default stands nowhere.
        let span = if written.written { item.span } else { at };
        let message = format!("{} of {whose} is no algorithm of `profile: fapi2`", quoted(item.value.name()));
        complaints.add_with(span, message, MEND);
    }
}

/// MCP 2026-07-28, "Authorization".
fn mcp(route: &route_file::Route, complaints: &mut Complaints) {
    let (require, forward) = (&route.require, &route.forward);
    match forward.credentials.value {
        Written::Strip | Written::Exchange => {}
        // "Token Handling": a server must not pass on what it was sent.
        Written::Keep | Written::These(_) => complaints.add_with(
            forward.credentials.span,
            "under `profile: mcp` no token is passed on",
            "leave `credentials` out, or have another token put in its place; `identity` tells the server who is calling",
        ),
    }
    let lists = [
        Some(&require.scopes.items),
        require.any_scopes.as_ref().map(|scopes| &scopes.items),
        route.resource.as_ref().and_then(|resource| resource.scopes.as_ref()).map(|scopes| &scopes.items),
    ];
    let of_calls = require.mcp.iter().flat_map(|mcp| &mcp.allow).flat_map(|allow| &allow.items);
    let of_calls = of_calls.flat_map(|entry| &entry.scopes.items);
    let all = lists.into_iter().flatten().flatten().chain(of_calls);
    for scope in all.filter(|scope: &&Setting<Scope>| scope.0 == OFFLINE) {
        // "Refresh Tokens": a resource does not need them.
        complaints.add_with(
            scope.span,
            format!("under `profile: mcp` no resource asks for `{OFFLINE}`"),
            "leave it out: callers ask their authorization server for it by themselves",
        );
    }
}

/// RFC 9728 is not optional there: each route of an MCP server has metadata, or its challenges would point nowhere. `written` are the routes that `built` came of.
pub(in super::super) fn metadata(
    written: &List<route_file::Route, 1>,
    built: &[Route],
    complaints: &mut Complaints,
) {
    // Where something else is wrong, what seems to be missing may be what could not be read.
    if written.items.len() != built.len() {
        return;
    }
    for (one, route) in written.items.iter().zip(built) {
        let needs = match (&route.access, route.profile) {
            (Access::Bound(_), Profile::Mcp) => true,
            (Access::Public, _) | (Access::Bound(_), Profile::None | Profile::Fapi2) => false,
        };
        let has = built.iter().any(|other| {
            other.resource.as_ref().is_some_and(|resource| {
                is_on_all_hosts_of(&other.matches, &route.matches) && route.matches.is_below(&resource.path)
            })
        });
        if needs && !has {
            let span = one.matches.as_ref().map_or(one.span, |matches| matches.span);
            complaints.add_with(
                span,
                "under `profile: mcp` callers must find metadata, and this route is below no `resource`",
                "give it one: `resource: { path: … }`, with the path that `match` begins with",
            );
        }
    }
}

fn is_on_all_hosts_of(resource: &RouteMatch, route: &RouteMatch) -> bool {
    resource.host.is_none() || resource.host == route.host
}
