//! One request, top to bottom: accept → verify → forward.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use http::{HeaderValue, Request, Response};

use crate::accept::body::{BodyFault, CallerBody};
use crate::accept::connection::Session;
use crate::accept::refusal::Refusal as Unheard;
use crate::accept::{Handler, peer, target};
use crate::authority::Tokens;
use crate::clock::Clock;
use crate::config::Limits;
use crate::forward::{Fault, Pass, Upstreams};
use crate::observe::access_log::{AccessLog, Decision, Entry};
use crate::observe::metrics::Metrics;
use crate::replay::memory::MemoryStore;
use crate::respond::{self, Body, Refusal, Used};
use crate::route::{Demand, Route, Routes};
use crate::verify::credential::Presented;
use crate::verify::digest::{Certificate, Digest, Key};
use crate::verify::dpop::{DpopRules, Terms};
use crate::verify::nonce::SealedNonce;
use crate::verify::policy::{NonceRule, Policy};
use crate::verify::proof;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::replay::Permit;
use crate::verify::request::{RequestFacts, Target};
use crate::verify::time::UnixTime;

/// Everything a request meets. Built once by `app`, immutable, shared by all connections.
pub struct Gateway {
    /// Which route.
    pub routes: Routes,
    /// Whose tokens.
    pub tokens: Arc<Tokens>,
    /// Which proofs.
    pub proofs: DpopRules,
    /// Which proofs were used.
    pub replay: Arc<MemoryStore>,
    /// Where to.
    pub upstreams: Upstreams<CallerBody>,
    /// How large.
    pub limits: Limits,
    /// What time it is; read once a request.
    pub clock: Clock,
    /// One line a request.
    pub access_log: AccessLog,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Makes request ids.
    pub request_ids: RequestIds,
}

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

    fn next(&self) -> HeaderValue {
        let id = format!("{:016x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// What is known of a request while it is decided, for its log line.
struct Course<'g> {
    request_id: HeaderValue,
    arrived: (SystemTime, Instant),
    target: Option<Target>,
    route: Option<&'g Route>,
    peer: std::net::IpAddr,
    verified: Option<Instant>,
    holder: Holder,
}

/// What is known of the caller, for the log line: filled in as it is verified.
#[derive(Default)]
struct Holder {
    client: Option<String>,
    binding: Option<&'static str>,
    jkt: Option<Digest<Key>>,
    certificate: Option<Digest<Certificate>>,
}

/// Why a request got no permit, and what goes into the refusal beside the reason.
struct Denied {
    rejection: Rejection,
    used: Used,
    nonce: Option<SealedNonce>,
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, used: Used::None, nonce: None }
    }
}

/// How a request ends that the upstream did not answer.
enum Ending {
    Refused(Denied),
    Failed(Fault),
}

impl From<Rejection> for Ending {
    fn from(rejection: Rejection) -> Self {
        Ending::Refused(rejection.into())
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Fault::BodyTooLarge,
            BodyFault::Stalled => Fault::BodyStalled,
            BodyFault::Broken => Fault::BodyBroken,
        }
    }
}

impl Handler for Gateway {
    type Body = Body;

    fn handle(
        &self,
        request: Request<CallerBody>,
        session: Arc<Session>,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request, session)
    }

    fn refused(&self, refusal: Unheard, session: &Session) {
        self.metrics.count(None, refusal.label());
        tracing::debug!(peer = %session.peer, reason = refusal.label(), "refused before it was a request");
    }
}

impl Gateway {
    async fn answer(&self, request: Request<CallerBody>, session: Arc<Session>) -> Response<Body> {
        let mut course = Course {
            request_id: self.request_ids.next(),
            arrived: (SystemTime::now(), Instant::now()),
            target: None,
            route: None,
            peer: session.peer.ip(),
            verified: None,
            holder: Holder::default(),
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let outcome = self.pass_on(request, &session, &mut course).await;
        let (response, decision, reason) = match outcome {
            Ok(response) => (response.map(Body::Upstream), Decision::Forwarded, None),
            Err(Ending::Refused(denied)) => {
                let reason = denied.rejection.label();
                (self.refuse(denied, &course), Decision::Refused, Some(reason))
            }
            Err(Ending::Failed(fault)) => {
                (respond::fault(fault, &course.request_id), Decision::Failed, Some(fault.label()))
            }
        };
        self.metrics.count(course.route.map(Route::name), reason.unwrap_or("forwarded"));
        self.log(&course, decision, reason, response.status().as_u16(), method.as_str(), uri.path());
        response
    }

    /// The table of contents: what a request goes through, in the order of cost.
    async fn pass_on<'g>(
        &'g self,
        request: Request<CallerBody>,
        session: &Session,
        course: &mut Course<'g>,
    ) -> Result<Response<hyper::body::Incoming>, Ending> {
        let now = self.clock.now();
        let target = &*course.target.insert(target::target(&request, session)?);
        let caller = peer::caller(request.headers(), session)?;
        course.peer = caller.address;
        let route = self.routes.find(target, request.method())?;
        course.route = Some(route);
        request.body().declared()?;
        let pass = match route.demand() {
            Demand::Nothing(public) => Pass::Public(public),
            Demand::Bound(policy) => {
                let facts = RequestFacts {
                    method: request.method(),
                    target,
                    headers: request.headers(),
                    certificate: caller.certificate,
                };
                let permit =
                    self.admit(&facts, policy, now, &mut course.holder).await.map_err(Ending::Refused)?;
                let binding = permit.binding();
                course.holder.binding = Some(binding.name());
                (course.holder.jkt, course.holder.certificate) = (binding.key(), binding.certificate());
                Pass::Bound(permit)
            }
        };
        course.verified = Some(Instant::now());
        self.upstreams
            .send(pass, route, target, caller.address, request, &course.request_id)
            .await
            .map_err(Ending::Failed)
    }

    /// Facts → a permit or a rejection. The order has reasons: everything cheap before everything dear, and the claim last, so that only
    /// what will be forwarded spends its proof.
    async fn admit(
        &self,
        facts: &RequestFacts<'_>,
        policy: &Policy,
        now: UnixTime,
        holder: &mut Holder,
    ) -> Result<Permit, Denied> {
        refuse_method_override(facts.target)?;
        let terms = Terms { rules: &self.proofs, nonce: policy.nonce, now };
        let presented = Presented::read(facts, &self.limits.credentials, &terms)?;
        let used = match &presented {
            Presented::Dpop { .. } => Used::Dpop,
            Presented::Bearer { .. } => Used::Bearer,
        };
        let denied = |rejection| Denied { rejection, used, nonce: None };
        if used == Used::Dpop && !policy.binding.offers_dpop() {
            // No proof can succeed here, so none is looked at.
            return Err(denied(Rejection::BindingInsufficient));
        }
        let broken = presented.proof_rejection();
        if let (Some(rejection), NonceRule::None) = (broken, policy.nonce) {
            return Err(denied(rejection));
        }
        // Where a nonce is required, even a broken proof is refused together with a nonce; for which key, only the token can say.
        let token = match self.tokens.verify(presented.token(), now).await {
            Ok(token) => token,
            Err(rejection) => return Err(denied(broken.unwrap_or(rejection))),
        };
        holder.client = token.client_id().map(str::to_owned);
        let key = token.confirmation().key();
        let decided = async {
            let proven = proof::prove(presented, token, facts, &terms)?;
            let granted = policy.grant(proven)?;
            granted.claim(&*self.replay, now).await
        };
        decided.await.map_err(|rejection| Denied {
            rejection,
            used,
            // Only for the key of a verified token, and only where that key could do better with it (T-NON-15, T-NON-16).
            nonce: key
                .filter(|_| policy.nonce == NonceRule::Required)
                .filter(|_| matches!(rejection.code(), Code::InvalidDpopProof | Code::UseDpopNonce))
                .map(|key| self.proofs.nonces.seal(key, now)),
        })
    }

    fn refuse(&self, denied: Denied, course: &Course<'_>) -> Response<Body> {
        let allow =
            course.target.as_ref().filter(|_| denied.rejection == Rejection::MethodUnknown).map(|target| {
                self.routes.methods_at(target).map(http::Method::as_str).collect::<Vec<_>>().join(", ")
            });
        let refusal = Refusal {
            rejection: denied.rejection,
            policy: course.route.and_then(Route::policy),
            algorithms: &self.proofs.algorithms,
            used: denied.used,
            nonce: denied.nonce,
            allow: allow.unwrap_or_default(),
            claim_lifetime: self.proofs.max_age + self.proofs.max_future,
        };
        respond::refusal(&refusal, &course.request_id)
    }

    fn log(
        &self,
        course: &Course<'_>,
        decision: Decision,
        reason: Option<&'static str>,
        status: u16,
        method: &str,
        path: &str,
    ) {
        let (time, arrived) = course.arrived;
        let total_ms = arrived.elapsed();
        self.access_log.write(&Entry {
            time,
            request_id: course.request_id.to_str().unwrap_or_default(),
            decision,
            reason,
            status,
            route: course.route.map(|route| &**route.name()),
            method,
            host: course.target.as_ref().map(|target| target.origin.host()),
            path: course.target.as_ref().map_or(path, |target| target.path.as_str()),
            peer: course.peer,
            client: course.holder.client.as_deref(),
            binding: course.holder.binding,
            jkt: course.holder.jkt,
            certificate: course.holder.certificate,
            verify_ms: course.verified.map_or(total_ms, |verified| verified - arrived),
            total_ms,
        });
    }
}

/// Some frameworks take `_method` from the query for the method. The proof is for the method on the request line (R-A-13), so on a route that asks for
/// proof the two may not differ.
fn refuse_method_override(target: &Target) -> Result<(), Rejection> {
    if target.has_parameter("_method") { Err(Rejection::MethodOverridden) } else { Ok(()) }
}
