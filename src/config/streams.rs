//! What is wrong with what a route says about requests that go on for long, and what it says.

use std::time::Duration;

use super::Protocol;
use super::complaint::Complaints;
use super::route::Around;
use super::route_file;

/// What of `forward` is about requests that go on for long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// `upgrade`: protocols, in lower case
    pub upgrade: Vec<String>,
    /// `idle_timeout`; `None` is that of `limits`
    pub idle_timeout: Option<Duration>,
    /// `body_bytes`; `None` is that of `limits`
    pub body_bytes: Option<u64>,
    /// `end_at_expiry`; never on a public route
    pub end_at_expiry: bool,
}

/// What a route says about streams.
pub(super) fn streams(route: &route_file::Route, around: Around<'_>, complaints: &mut Complaints) -> Streams {
    let forward = &route.forward;
    judge_upgrade(route, around, complaints);
    if route.public.value && forward.end_at_expiry.value {
        let mend = "leave out `end_at_expiry`, or `public`";
        complaints.add_with(
            forward.end_at_expiry.span,
            "a public route has no token that could expire",
            mend,
        );
    }
    Streams {
        upgrade: forward.upgrade.items.iter().map(|protocol| protocol.0.clone()).collect(),
        idle_timeout: forward.idle_timeout.as_ref().map(|timeout| timeout.0),
        body_bytes: forward.body_bytes.as_ref().map(|bytes| bytes.0),
        end_at_expiry: forward.end_at_expiry.value,
    }
}

/// Protocols are switched in HTTP/1.1 only, and a WebSocket begins with GET (RFC 6455 §4.1): a route without these would list one for nothing.
fn judge_upgrade(route: &route_file::Route, around: Around<'_>, complaints: &mut Complaints) {
    let upgrade = &route.forward.upgrade;
    if upgrade.items.is_empty() {
        return;
    }
    let methods = route.matches.as_ref().and_then(|matches| matches.methods.as_ref());
    if upgrade.items.iter().any(|protocol| protocol.0 == "websocket")
        && methods.is_some_and(|methods| methods.whole && !methods.values().contains(&http::Method::GET))
    {
        let mend = "add GET to `methods`, or leave out `upgrade`";
        complaints.add_with(
            upgrade.span,
            "a WebSocket begins with GET, which this route does not take",
            mend,
        );
    }
    let entries = around.upstreams.into_iter().flat_map(|upstreams| &upstreams.entries);
    let mut named = entries.filter(|(name, _)| route.upstream.as_ref().is_some_and(|own| own.0 == name.text));
    if named.any(|(_, upstream)| upstream.protocol.value == Protocol::Http2) {
        let mend = "leave out `upgrade`, or name an upstream with `protocol: http1`";
        complaints.add_with(upgrade.span, "an HTTP/2 upstream switches to no other protocol", mend);
    }
}
