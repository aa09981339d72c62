//! What is known of a request while it is decided, and the line and the number that are left of it.
//!
//! The line is written when the course is dropped: a caller that goes away in the middle takes the handler with it, and a request whose
//! proof was spent must not be missing from the log for that.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, StatusCode, Uri};

use super::{Gateway, NoRequest};
use crate::cors::Readers;
use crate::observe::access_log::{Decision, Entry};
use crate::observe::seldom::Seldom;
use crate::route::Route;
use crate::verify::digest::{Certificate, Digest, Key};
use crate::verify::proof::Binding;
use crate::verify::request::Target;
use crate::verify::token::VerifiedToken;

/// Names requests: a random part of the process and a counter, so that ids do not repeat across restarts and replicas.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of the process with this random number.
    pub const fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> HeaderValue {
        let id = format!("{:016x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// One request on its way.
pub(super) struct Course<'g> {
    gateway: &'g Gateway,
    time: SystemTime,
    arrived: Instant,
    method: Method,
    uri: Uri,
    ending: (Decision, Option<&'static str>, u16),
    /// Its name.
    pub(super) request_id: HeaderValue,
    /// When the verdict was in: from then on the time is the upstream's.
    pub(super) decided: Option<Instant>,
    /// Where it goes, once that is known.
    pub(super) target: Option<Target>,
    /// Its route, once one is found.
    pub(super) route: Option<&'g Route>,
    /// Which pages may read the answer, where the route says so.
    pub(super) readers: Option<Readers<'g>>,
    /// The caller's address.
    pub(super) peer: IpAddr,
    /// What is known of the caller.
    pub(super) holder: Holder,
}

/// What is known of the caller, filled in as it is verified.
#[derive(Default)]
pub(super) struct Holder {
    client: Option<String>,
    binding: Option<&'static str>,
    jkt: Option<Digest<Key>>,
    certificate: Option<Digest<Certificate>>,
}

impl Holder {
    /// The token it presents is its issuer's.
    pub(super) fn presents(&mut self, token: &VerifiedToken) {
        self.client = token.client_id().map(str::to_owned);
    }

    /// It holds what the token is bound to.
    pub(super) const fn has_proven(&mut self, binding: &Binding) {
        self.binding = Some(binding.name());
        self.jkt = binding.key();
        self.certificate = binding.certificate();
    }
}

impl<'g> Course<'g> {
    pub(super) fn new<B>(gateway: &'g Gateway, request: &Request<B>, peer: IpAddr) -> Self {
        Self {
            gateway,
            request_id: gateway.request_ids.next(),
            time: SystemTime::now(),
            arrived: Instant::now(),
            decided: None,
            method: request.method().clone(),
            uri: request.uri().clone(),
            // What it stays when nobody comes to say otherwise. 499 is never sent; it is what proxies write for this.
            ending: (Decision::Abandoned, Some("caller_left"), 499),
            target: None,
            route: None,
            readers: None,
            peer,
            holder: Holder::default(),
        }
    }

    /// How it ends.
    pub(super) fn ends(&mut self, decision: Decision, reason: Option<&'static str>, status: StatusCode) {
        self.ending = (decision, reason, status.as_u16());
    }

    /// Somebody who is not to be believed has named a client certificate. It is removed, whatever becomes of the request; but it is either an
    /// attempt to be someone else or a proxy that `trusted_proxies` lacks, and both are news.
    pub(super) fn warn_of_strange_certificate(&self) {
        static SAID: Seldom = Seldom::new();
        if let Some(unsaid) = SAID.due(self.arrived) {
            let (peer, request_id) = (self.peer, self.request_id.to_str().unwrap_or_default());
            tracing::warn!(%peer, request_id, unsaid, "a client certificate in a header, and its sender is not in trusted_proxies: removed");
        }
    }

    /// Counts and logs what never became a request: a head that is too long, too slow, or that two readers would understand differently.
    pub(super) fn never_began(gateway: &Gateway, refusal: NoRequest, peer: IpAddr) {
        gateway.metrics.count(None, refusal.label());
        gateway.access_log.write(&Entry {
            time: SystemTime::now(),
            request_id: "",
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
            jkt: None,
            certificate: None,
            verify_ms: Duration::ZERO,
            total_ms: Duration::ZERO,
        });
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        let (decision, reason, status) = self.ending;
        let total_ms = self.arrived.elapsed();
        self.gateway.metrics.count(self.route.map(Route::name), reason.unwrap_or("forwarded"));
        self.gateway.access_log.write(&Entry {
            time: self.time,
            request_id: self.request_id.to_str().unwrap_or_default(),
            decision,
            reason,
            status,
            route: self.route.map(|route| &**route.name()),
            method: self.method.as_str(),
            host: self.target.as_ref().map(|target| target.origin.host()),
            path: self.target.as_ref().map_or(self.uri.path(), |target| target.path.as_str()),
            peer: self.peer,
            client: self.holder.client.as_deref(),
            binding: self.holder.binding,
            jkt: self.holder.jkt,
            certificate: self.holder.certificate,
            verify_ms: self.decided.map_or(total_ms, |decided| decided - self.arrived),
            total_ms,
        });
    }
}
