//! The exchange of tokens (RFC 8693): `exchange` of an issuer, and what routes want exchanged; what is wrong with either beyond how it is written.

use http::Uri;

use super::client::{OauthClient, client};
use super::complaint::{Complaints, Span};
use super::decode::{List, Setting, Whole};
use super::issuer_file;
use super::material::Surroundings;
use super::route_file;

/// `exchange` of an issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Where, as whom, and how much
    pub client: OauthClient,
    /// `cache`, in seconds; default 60
    pub cache: i64,
    /// `cache_refused`, in seconds; default 5
    pub cache_refused: i64,
}

/// `forward.exchange` of a route: what the new token is to be for (RFC 8693 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeTarget {
    /// `resource`
    pub resource: Option<String>,
    /// `audience`
    pub audience: Option<String>,
    /// `scopes`, with spaces between them; `None`: as the issuer sees fit
    pub scope: Option<String>,
}

/// What could be built; `None` after a complaint.
pub(super) fn exchange(
    written: &Whole<issuer_file::Exchange>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Exchange> {
    let Whole { settings: written, whole } = written;
    Some(Exchange {
        client: client(written.client(), *whole, surroundings, complaints)?,
        cache: written.cache.0,
        cache_refused: written.cache_refused.0,
    })
}

/// What the token of a route with `credentials: exchange` is to be for; `None` after a complaint. Without a target the new token could be shown around as much as the
/// caller's own.
pub(super) fn target(
    route: &route_file::Route,
    issuers: &List<issuer_file::Issuer>,
    complaints: &mut Complaints,
) -> Option<ExchangeTarget> {
    let span = route.forward.credentials.span;
    if route.public.value {
        let mend = "leave out `credentials`, or `public`";
        complaints.add_with(span, "a public route has no token that could be exchanged", mend);
        return None;
    }
    judge_issuers(route, span, issuers, complaints);
    let Some(written) = &route.forward.exchange else {
        let mend = "add `exchange: { resource: URL }` or `exchange: { audience: NAME }`";
        complaints.add_with(span, "an exchanged token for nobody", mend);
        return None;
    };
    let route_file::Exchange { resource, audience, scopes } = &written.value;
    if resource.is_none() && audience.is_none() {
        let mend = "add `resource: URL` or `audience: NAME`, by which the upstream knows that it is meant";
        complaints.add_with(written.span, "an exchanged token for nobody", mend);
        return None;
    }
    // RFC 8707 §2: an absolute URI, without a fragment.
    if let Some(resource) = resource
        && (resource.0.contains('#') || !resource.0.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some()))
    {
        let mend = "scheme, host and path, without `#`; what is no URL is an `audience`";
        complaints.add_with(resource.span, "a resource is a URL", mend);
        return None;
    }
    let text = |setting: &Option<Setting<super::values::Text>>| setting.as_ref().map(|text| text.0.clone());
    let scope = scopes.as_ref().map(|scopes| {
        let scopes: Vec<&str> = scopes.items.iter().map(|scope| scope.0.as_str()).collect();
        scopes.join(" ")
    });
    Some(ExchangeTarget { resource: text(resource), audience: text(audience), scope })
}

/// Every issuer whose tokens the route takes has to exchange them.
fn judge_issuers(
    route: &route_file::Route,
    span: Span,
    issuers: &List<issuer_file::Issuer>,
    complaints: &mut Complaints,
) {
    if !issuers.whole {
        return;
    }
    let only = route.require.issuer.as_ref().map(|issuer| &issuer.0);
    let taken = issuers
        .items
        .iter()
        .filter(|one| only.is_none_or(|only| one.issuer.as_ref().is_some_and(|issuer| issuer.0 == *only)));
    for one in taken.filter(|one| one.exchange.is_none()) {
        let Some(issuer) = &one.issuer else { continue };
        let message = format!("the issuer on line {} exchanges no tokens", issuer.span.line);
        complaints.add_with(span, message, "give it `exchange`, or name another one in `require.issuer`");
    }
}

/// An issuer that could exchange tokens, and a configuration in which nobody wants that.
pub(super) fn refuse_unused(
    routes: &List<route_file::Route, 1>,
    issuers: &List<issuer_file::Issuer>,
    complaints: &mut Complaints,
) {
    for one in &issuers.items {
        let Some(exchange) = &one.exchange else { continue };
        let taken_by = |route: &route_file::Route| match (&route.require.issuer, &one.issuer) {
            (Some(only), Some(issuer)) => only.0 == issuer.0,
            (None, _) | (_, None) => true,
        };
        let is_used = |route: &route_file::Route| route.forward.credentials.is_exchange() && taken_by(route);
        if routes.whole && !routes.items.iter().any(|route| is_used(route)) {
            let mend = "leave it out, or write `credentials: exchange` in a route's `forward`";
            complaints.add_with(exchange.span, "no route exchanges tokens of this issuer", mend);
        }
    }
}
