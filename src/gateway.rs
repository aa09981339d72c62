//! One request, top to bottom: accept → verify → forward.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};

use crate::accept::body::CallerBody;
use crate::accept::connection::Session;
use crate::accept::door::TurnedAway;
use crate::accept::peer::Peer;
use crate::accept::refusal::Refusal as NoRequest;
use crate::accept::room::Neighbourhood;
use crate::accept::site::Sites;
use crate::accept::{Reply, head, peer, target};
use crate::authority::Tokens;
use crate::clock::{Clock, Deadline};
use crate::config::{Credentials, LimitBy, Limits};
use crate::cors::Preflight;
use crate::forward::{Answer, CallerOrigin, INTERACTION_ID, Pass, Upstreams};
use crate::observe::access_log::{AccessLog, Decision};
use crate::observe::metrics::Metrics;
use crate::quarantine::Quarantine;
use crate::replay::store::Store;
use crate::respond::{self, Body, Refusal, Used};
use crate::route::resource::Metadata;
use crate::route::{Demand, Route, Routes};
use crate::verify::credential::Presented;
use crate::verify::digest::{Digest, Key};
use crate::verify::dpop::{DpopRules, Terms};
use crate::verify::nonce::SealedNonce;
use crate::verify::policy::{NonceRule, Policy};
use crate::verify::proof;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::replay::Permit;
use crate::verify::request::{RequestFacts, Target};
use crate::verify::time::UnixTime;

mod course;
mod current;
mod ending;
mod exchange;
mod journey;
mod record;
mod tally;
mod warnings;

use course::Course;
pub use course::RequestIds;
pub use current::Current;
use ending::{Denied, Ending};
use exchange::used;
pub use journey::{Cut, Journey};
use record::{At, Holder};
use tally::Tally;
pub use warnings::Warnings;

/// Everything a request meets: one configuration, and what outlives it. Built whole by `app` and immutable; a reload puts another in its place
/// (see [`Current`]), while requests that have begun end with the one they began with.
pub struct Gateway {
    /// What each listener serves, and whom it believes.
    pub sites: Sites,
    /// Which route.
    pub routes: Routes,
    /// Whose tokens.
    pub tokens: Tokens,
    /// Which proofs.
    pub proofs: DpopRules,
    /// Who is shut out.
    pub quarantine: Arc<Quarantine>,
    /// Which proofs were used.
    pub replay: Store,
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
    /// What is said seldom.
    pub warnings: Arc<Warnings>,
    /// Makes request ids.
    pub request_ids: Arc<RequestIds>,
}

impl Gateway {
    /// Whether it can do its work: every issuer was tried and one has keys, and the shared replay store, where there is one, was reached once, or is known to be away where its place can be
    /// taken. One that is away later is no reason to send callers elsewhere: it is away there too, and certificates need none.
    pub fn is_ready(&self) -> bool {
        self.tokens.ready() && self.replay.shared().is_none_or(|shared| !shared.redis.is_awaited())
    }

    fn turned_away(&self, why: TurnedAway, peer: Peer, listener: &str) {
        if why != TurnedAway::Silent {
            self.metrics.count_refused_connection(why.label());
        }
        self.warnings.turned_away(why, peer, listener);
    }

    async fn answer(
        self: Arc<Self>,
        request: Box<Request<CallerBody>>,
        session: Arc<Session>,
    ) -> Reply<Journey> {
        let mut course = Course::new(&self, &request, &session);
        let outcome = self.pass_on(request, &session, &mut course).await;
        let (readers, tally) = (course.readers.take(), std::mem::take(&mut course.tally));
        let interaction_id = course.record.interaction_id.clone();
        let mut reply = match outcome {
            Ok(answer) => course.goes_on_with(answer),
            Err(Ending::Refused(denied)) => {
                let reason = denied.rejection.label();
                let response = self.refuse(denied, &course, &session, &tally);
                course.ends(Decision::Refused, Some(reason), response)
            }
            Err(Ending::Preflight(allowed)) => {
                let response = respond::preflight(allowed, &course.record.request_id);
                course.ends(Decision::Answered, Some("preflight"), response)
            }
            Err(Ending::Metadata(metadata)) => {
                let response = respond::metadata(metadata, &course.record.request_id);
                course.ends(Decision::Answered, Some("resource_metadata"), response)
            }
            Err(Ending::Failed(fault)) => {
                let response = respond::fault(fault, &course.record.request_id);
                course.ends(Decision::Failed, Some(fault.label()), response)
            }
            Err(Ending::Expired) => {
                let response = self.refuse(Rejection::TokenExpired.into(), &course, &session, &tally);
                course.ends(Decision::Failed, Some(Rejection::TokenExpired.label()), response)
            }
        };
        // The one place for all of them: a page that cannot read its refusal cannot mend it.
        tally.write(reply.headers_mut());
        if let Some(id) = interaction_id {
            reply.headers_mut().insert(INTERACTION_ID, id);
        }
        if let Some(readers) = readers {
            readers.label(reply.headers_mut());
        }
        reply
    }

    /// The table of contents: what a request goes through, in the order of cost.
    async fn pass_on<'g>(
        &'g self,
        mut request: Box<Request<CallerBody>>,
        session: &Session,
        course: &mut Course<'g>,
    ) -> Result<Answer, Ending<'g>> {
        let now = self.clock.now();
        let site = self.sites.of(session)?;
        // Whatever it is for: a handshake would not be let through any more, so neither is what a ticket or an old connection keeps of one.
        if session.certificate.as_ref().is_some_and(|certificate| certificate.has_expired(now)) {
            return Err(Rejection::CertificateExpired.into());
        }
        head::judge_number(request.headers())?;
        if let Some(id) = peer::request_id(request.headers(), site, session) {
            course.record.request_id = id.clone();
        }
        if peer::claims_certificate(request.headers(), site, session) {
            self.warnings.strange_certificate(&course.record);
        }
        let caller = peer::caller(request.headers(), site, session)?;
        course.record.peer = caller.address;
        let target = &*course.record.target.insert(target::target(&request, &caller, site, session)?);
        if self.routes.resources.own(target, &session.listener.name)? {
            let resources = &self.routes.resources;
            if let Some(preflight) = Preflight::read(&request) {
                return Err(Ending::Preflight(resources.pages().allow(preflight)?));
            }
            course.readers = Some(resources.pages().readers(request.headers()));
            return Err(Ending::Metadata(resources.find(
                target,
                &session.listener.name,
                request.method(),
            )?));
        }
        // A browser asks before it sends, without token and proof, so this comes before anyone's credentials.
        if let Some(preflight) = Preflight::read(&request)
            && let Ok(route) = self.routes.find(target, preflight.method())
            && let Some(cross_origin) = route.cross_origin()
        {
            course.record.at = Some(At::of(route));
            return Err(Ending::Preflight(cross_origin.allow(preflight)?));
        }
        let route = self.routes.find(target, request.method())?;
        course.record.at = Some(At::of(route));
        course.route = Some(route);
        if route.forward.interaction_id {
            let id = course::interaction_id(request.headers()).cloned();
            course.record.interaction_id = Some(id.unwrap_or_else(|| self.request_ids.next_uuid()));
        }
        course.readers = route.cross_origin().map(|cross_origin| cross_origin.readers(request.headers()));
        request.body_mut().bound(route.streams.body_bytes.unwrap_or(self.limits.body_bytes));
        request.body().declared()?;
        // Before anything that is dear: what an address sends is counted whether it is right or not.
        if let Some(limiter) = route.limiter()
            && limiter.rate().by == LimitBy::Address
        {
            course.tally.count(limiter, Neighbourhood::of(caller.address))?;
        }
        let pass = match route.demand() {
            Demand::Nothing(public) => Pass::Public(public),
            Demand::Bound(policy) => {
                // Whoever is right: a page that may not call here must not find out whether it could.
                policy.pages.judge(request.headers())?;
                let facts = RequestFacts {
                    method: request.method(),
                    target,
                    headers: request.headers(),
                    certificate: caller.certificate.as_ref().map(|certificate| certificate.digest),
                };
                let (holder, tally) = (&mut course.record.holder, &mut course.tally);
                let permit = self.admit(&facts, policy, route, now, holder, tally).await;
                holder.is_counted(route, permit.as_ref().map_err(|denied| denied.rejection), now);
                let permit = permit.map_err(Ending::Refused)?;
                holder.has_proven(permit.binding());
                if route.streams.end_at_expiry {
                    let deadline = || Deadline::new(self.clock.clone(), permit.token().good_until());
                    course.deadline = Some(deadline());
                    request.body_mut().ends_at(deadline());
                }
                match &route.forward.credentials {
                    Credentials::Kept(_) => Pass::Bound(permit),
                    Credentials::Exchanged(target) => {
                        // Boxed, or every request would keep room for it while it waits.
                        let exchanged = Box::pin(self.exchange(&permit, request.headers(), target, now));
                        let exchanged = exchanged.await.map_err(Ending::Refused)?;
                        Pass::Exchanged(permit, exchanged)
                    }
                }
            }
        };
        course.record.decided = Some(Instant::now());
        if let Some(idle_timeout) = route.streams.idle_timeout {
            request.body_mut().may_be_silent_for(idle_timeout);
        }
        course.record.received = request.body().received();
        let origin = CallerOrigin {
            address: caller.address,
            certificate: caller.certificate.as_ref().and_then(|certificate| certificate.der.as_deref()),
            request_id: &course.record.request_id,
            interaction_id: course.record.interaction_id.as_ref(),
            now,
        };
        // Pinned where it is made: an `await` of the value itself would keep room for it twice, and what a request waits for is large.
        let mut sent = pin!(self.upstreams.send(pass, route, target, origin, request));
        let Some(deadline) = &mut course.deadline else { return sent.await.map_err(Ending::Failed) };
        tokio::select! {
            biased;
            // First, since the body ends at the same moment, which would seem to be the caller's fault.
            () = deadline.passed() => Err(Ending::Expired),
            answer = &mut sent => answer.map_err(Ending::Failed),
        }
    }

    /// Facts → a permit or a rejection. The order has reasons: everything cheap before everything dear, and the claim last, so that only
    /// what will be forwarded spends its proof.
    async fn admit(
        &self,
        facts: &RequestFacts<'_>,
        policy: &Policy,
        route: &Route,
        now: UnixTime,
        holder: &mut Holder,
        tally: &mut Tally,
    ) -> Result<Permit, Denied> {
        refuse_method_override(facts.target)?;
        let terms = Terms { rules: &self.proofs, nonce: policy.nonce, now };
        // Also of a token that is not read at all, since it is too large.
        let used = used(facts.headers);
        let denied = |rejection| Denied { used, ..Denied::from(rejection) };
        let presented = Presented::read(facts, &self.limits.credentials, &terms).map_err(denied)?;
        if used == Used::Dpop && !policy.binding.offers_dpop() {
            // No proof can succeed here, so none is looked at.
            return Err(denied(Rejection::BindingInsufficient));
        }
        let broken = presented.proof_rejection();
        if let (Some(rejection), NonceRule::None) = (broken, policy.nonce) {
            return Err(denied(rejection));
        }
        // Where a nonce is required, even a broken proof is refused together with a nonce; for which key, only the token can say.
        let token = match self.tokens.verify(presented.token(), route.issuer, now).await {
            Ok(token) => token,
            Err(rejection) => return Err(denied(broken.unwrap_or(rejection))),
        };
        holder.presents(&token);
        self.quarantine.admit(&token, now).map_err(denied)?;
        let key = token.confirmation().key();
        if used == Used::Dpop && key.is_some() {
            // The signature comes next, which takes longer than all the rest. Whoever else has something to do goes first: a refusal or an answer that is ready does not
            // wait behind other callers' signatures, and of requests that came together one signature is verified right after the other, which the processor's
            // caches reward.
            tokio::task::yield_now().await;
        }
        let decided = async {
            let proven = proof::prove(presented, token, facts, &terms, policy.enforcement)?;
            let granted = policy.grant(proven, facts, now)?;
            tally.claim(granted, route, &self.replay, &self.clock, now).await
        };
        decided.await.map_err(|rejection| Denied {
            rejection,
            used,
            scopes: match rejection.code() {
                Code::InsufficientScope => policy.scopes_of_call(facts.headers).to_vec(),
                Code::None
                | Code::Bare
                | Code::InvalidRequest
                | Code::InvalidToken
                | Code::InvalidDpopProof
                | Code::UseDpopNonce
                | Code::InsufficientAuthorizationDetails
                | Code::InsufficientUserAuthentication => Vec::new(),
            },
            // Only for the key of a verified token, and only where that key could do better with it (T-NON-15, T-NON-16).
            nonce: key.and_then(|key| self.nonce_for(rejection, policy.nonce, key, now)),
        })
    }

    /// The nonce that goes with a refusal, for a key that could do better with it.
    fn nonce_for(
        &self,
        rejection: Rejection,
        rule: NonceRule,
        key: Digest<Key>,
        now: UnixTime,
    ) -> Option<SealedNonce> {
        let nonces = &self.proofs.nonces;
        let asks = match rule {
            NonceRule::None => rejection.code() == Code::UseDpopNonce,
            NonceRule::Required => matches!(rejection.code(), Code::UseDpopNonce | Code::InvalidDpopProof),
        };
        // The store may have gone away just now, before anybody has taken note of it.
        let elsewhere = rejection == Rejection::NonceElsewhere;
        asks.then(|| if elsewhere { nonces.seal_here(key, now) } else { nonces.seal(key, now) })
    }

    fn refuse(
        &self,
        denied: Denied,
        course: &Course<'_>,
        session: &Session,
        tally: &Tally,
    ) -> Response<Body> {
        let target = course.record.target.as_ref();
        let resources = &self.routes.resources;
        let allow = target.filter(|_| denied.rejection == Rejection::MethodUnknown).map(|target| {
            let methods: Vec<&str> = if resources.own(target, &session.listener.name) == Ok(true) {
                resources.methods().iter().map(http::Method::as_str).collect()
            } else {
                self.routes.methods_at(target).map(http::Method::as_str).collect()
            };
            methods.join(", ")
        });
        let policy = course.route.and_then(Route::policy);
        let refusal = Refusal {
            rejection: denied.rejection,
            policy,
            algorithms: &self.proofs.algorithms,
            used: denied.used,
            nonce: denied.nonce,
            scopes_of_call: &denied.scopes,
            allow: allow.unwrap_or_default(),
            resource_metadata: target
                .zip(course.route.filter(|_| policy.is_some()))
                .and_then(|(target, route)| resources.above(route, target, &session.listener.name))
                .map(Metadata::url),
            allowance_wait: tally.wait(),
            claim_lifetime: self.proofs.claim_lifetime(policy.map_or(NonceRule::None, |policy| policy.nonce)),
        };
        respond::refusal(&refusal, &course.record.request_id)
    }
}

/// Some frameworks take `_method` from the query for the method. The proof is for the method on the request line (R-A-13), so on a route that asks for
/// proof the two may not differ.
fn refuse_method_override(target: &Target) -> Result<(), Rejection> {
    if target.has_parameter("_method") { Err(Rejection::MethodOverridden) } else { Ok(()) }
}
