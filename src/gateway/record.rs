//! The line and the number that are left of a request.
//!
//! The line is written when the record is dropped: a caller that goes away in the middle takes the handler, or the answer's body, with it, and a
//! request whose proof was spent must not be missing from the log for that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, StatusCode, Uri};

use super::{Gateway, NoRequest};
use crate::accept::body::Received;
use crate::accept::connection::Session;
use crate::accept::tunnel::{End, Ended};
use crate::coverage::Shown;
use crate::observe::access_log::{AccessLog, Decision, Entry};
use crate::observe::metrics::Metrics;
use crate::route::Route;
use crate::verify::digest::{Certificate, Digest, Key};
use crate::verify::enforcement::Enforcement;
use crate::verify::proof::Binding;
use crate::verify::rejection::Rejection;
use crate::verify::replay::Permit;
use crate::verify::request::Target;
use crate::verify::time::UnixTime;
use crate::verify::token::VerifiedToken;

/// What is written of a request. It holds no part of a configuration, so that a stream which outlives a reload keeps nothing alive.
pub(super) struct Record {
    access_log: AccessLog,
    metrics: Arc<Metrics>,
    session: Arc<Session>,
    time: SystemTime,
    arrived: Instant,
    method: Method,
    uri: Uri,
    ending: (Decision, Option<&'static str>, u16),
    answered: Option<Answered>,
    /// Its name.
    pub(super) request_id: HeaderValue,
    /// What FAPI names it by, where its route wants that.
    pub(super) interaction_id: Option<HeaderValue>,
    /// When the verdict was in: from then on the time is the upstream's.
    pub(super) decided: Option<Instant>,
    /// Where it goes, once that is known.
    pub(super) target: Option<Target>,
    /// Its route, once one is found.
    pub(super) at: Option<At>,
    /// The caller's address.
    pub(super) peer: IpAddr,
    /// What is known of the caller.
    pub(super) holder: Holder,
    /// How much of its body was read.
    pub(super) received: Received,
}

/// The route of a request, as far as it is written of.
pub(super) struct At {
    route: Arc<str>,
    enforcement: Enforcement,
}

impl At {
    /// This one.
    pub(super) fn of(route: &Route) -> Self {
        Self { route: Arc::clone(route.name()), enforcement: route.enforcement() }
    }
}

/// What is known once the upstream has answered.
struct Answered {
    at: Instant,
    /// What a tunnel carried up; a plain request has `received`.
    up: Option<u64>,
    down: u64,
}

/// What is known of the caller, filled in as it is verified.
#[derive(Default)]
pub(super) struct Holder {
    client: Option<String>,
    binding: Option<&'static str>,
    jkt: Option<Digest<Key>>,
    certificate: Option<Digest<Certificate>>,
    would_refuse: Option<Rejection>,
}

impl Holder {
    /// The token it presents is its issuer's.
    pub(super) fn presents(&mut self, token: &VerifiedToken) {
        self.client = token.client_id().map(str::to_owned);
    }

    /// Counts what it came with, once that is decided: for a stream, long before it ends.
    pub(super) fn is_counted(&self, route: &Route, verdict: Result<&Permit, Rejection>, now: UnixTime) {
        let shown = match verdict {
            Ok(permit) => Some(Shown::of(permit.binding())),
            Err(rejection) => Shown::of_refused(rejection),
        };
        if let (Some(coverage), Some(shown)) = (route.coverage(), shown) {
            coverage.count(self.client.as_deref(), shown, now);
        }
    }

    /// It holds what the token is bound to; or the token is bound to nothing and let through.
    pub(super) const fn has_proven(&mut self, binding: &Binding) {
        self.binding = Some(binding.name());
        self.jkt = binding.key();
        self.certificate = binding.certificate();
        self.would_refuse = binding.would_refuse();
    }
}

impl Record {
    pub(super) fn new<B>(gateway: &Gateway, request: &Request<B>, session: &Arc<Session>) -> Self {
        Self {
            access_log: gateway.access_log.clone(),
            metrics: Arc::clone(&gateway.metrics),
            session: Arc::clone(session),
            request_id: gateway.request_ids.next(),
            interaction_id: None,
            time: SystemTime::now(),
            arrived: Instant::now(),
            decided: None,
            method: request.method().clone(),
            uri: request.uri().clone(),
            // What it stays when nobody comes to say otherwise. 499 is never sent; it is what proxies write for this.
            ending: (Decision::Abandoned, Some("caller_left"), 499),
            answered: None,
            target: None,
            at: None,
            peer: session.peer.ip(),
            holder: Holder::default(),
            received: Received::default(),
        }
    }

    /// The request's method.
    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// How it ends.
    pub(super) fn ends(&mut self, decision: Decision, reason: Option<&'static str>, status: StatusCode) {
        self.ending = (decision, reason, status.as_u16());
    }

    /// The upstream has answered. Whether the caller gets the whole of it is not known: until [`Record::is_whole`] it does not.
    pub(super) fn is_answered(&mut self, status: StatusCode) {
        self.ends(Decision::Forwarded, Some("caller_left"), status);
        self.answered = Some(Answered { at: Instant::now(), up: None, down: 0 });
    }

    /// So many bytes of the answer were passed on.
    pub(super) const fn passes(&mut self, bytes: usize) {
        if let Some(answered) = &mut self.answered {
            answered.down += bytes as u64;
        }
    }

    /// The answer was passed on to its end.
    pub(super) const fn is_whole(&mut self) {
        self.ending.1 = None;
    }

    /// The answer breaks off.
    pub(super) const fn breaks_off(&mut self, reason: &'static str) {
        self.ending.1 = Some(reason);
    }

    /// The upgraded connection has ended.
    pub(super) fn has_carried(&mut self, ended: Ended) {
        self.ending.1 = match ended.end {
            End::Closed => None,
            End::CallerLeft => Some("caller_left"),
            End::UpstreamBroken => Some("upstream_broken"),
            End::Idle => Some("stream_idle"),
            End::Expired => Some("token_expired"),
            End::Drained => Some("drained"),
        };
        if let Some(answered) = &mut self.answered {
            (answered.up, answered.down) = (Some(ended.from_caller), ended.from_upstream);
        }
    }

    /// Counts and logs what never became a request: a head that is too long, too slow, or that two readers would understand differently.
    pub(super) fn never_began(gateway: &Gateway, refusal: NoRequest, peer: IpAddr) {
        gateway.metrics.count(None, refusal.label());
        gateway.access_log.write(&Entry {
            time: SystemTime::now(),
            request_id: "",
            interaction_id: None,
            decision: Decision::Refused,
            reason: Some(refusal.label()),
            status: refusal.status().as_u16(),
            route: None,
            method: "",
            host: None,
            path: "",
            peer,
            client: None,
            binding: None,
            enforcement: Enforcement::Enforce,
            would_refuse: None,
            jkt: None,
            certificate: None,
            verify_ms: Duration::ZERO,
            head_ms: None,
            total_ms: Duration::ZERO,
            request_bytes: None,
            response_bytes: None,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (decision, reason, status) = self.ending;
        // Nobody came to say how it ended, which is the caller's doing unless it is ours.
        let reason = match reason {
            Some("caller_left") if self.session.is_cut_by_drain() => Some("drained"),
            other => other,
        };
        let total_ms = self.arrived.elapsed();
        let route = self.at.as_ref().map(|at| &at.route);
        self.metrics.count(route, reason.unwrap_or("forwarded"));
        if let (Some(route), Some(rejection)) = (route, self.holder.would_refuse) {
            self.metrics.count_unenforced(route, rejection);
        }
        let answered = self.answered.as_ref();
        self.access_log.write(&Entry {
            time: self.time,
            request_id: self.request_id.to_str().unwrap_or_default(),
            interaction_id: self.interaction_id.as_ref().and_then(|id| id.to_str().ok()),
            decision,
            reason,
            status,
            route: route.map(|route| &**route),
            method: self.method.as_str(),
            host: self.target.as_ref().map(|target| target.origin.host()),
            path: self.target.as_ref().map_or(self.uri.path(), |target| target.path.as_str()),
            peer: self.peer,
            client: self.holder.client.as_deref(),
            binding: self.holder.binding,
            enforcement: self.at.as_ref().map_or(Enforcement::Enforce, |at| at.enforcement),
            would_refuse: self.holder.would_refuse.map(Rejection::label),
            jkt: self.holder.jkt,
            certificate: self.holder.certificate,
            verify_ms: self.decided.map_or(total_ms, |decided| decided - self.arrived),
            head_ms: answered.map(|answered| answered.at - self.arrived),
            total_ms,
            request_bytes: answered.map(|answered| answered.up.unwrap_or_else(|| self.received.bytes())),
            response_bytes: answered.map(|answered| answered.down),
        });
    }
}
