//! Permit → upstream response.
//!
//! [`Upstreams::send`] takes a [`Pass`] by value: a permit, which only a spent proof or a proven certificate makes, or the
//! operator's word that the route is public. An unchecked request has nothing to call it with.

mod assertion;
mod balance;
mod check;
mod connect;
mod download;
mod endpoint;
mod exchange;
mod fault;
mod gate;
mod headers;
mod health;
mod identity;
mod link;
mod names;
mod pool;
mod portion;
mod report;
mod retry;
mod server;
mod trailers;
mod upgrade;
mod upload;
mod upstream;
mod uri;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::header::TRAILER;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Version};
use http_body::Body;

use crate::authority::Exchanged;
use crate::config::{self, GivenNames, Identity};
use crate::route::{PublicRoute, Route};
use crate::verify::replay::Permit;
use crate::verify::request::Target;

use assertion::{ASSERTION, Asserted, Signer};
pub use download::Download;
pub use fault::Fault;
pub use names::Resolver;
pub use report::{INTERACTION_ID, Origin as CallerOrigin};
use upgrade::Asked;
pub use upgrade::Switched;
use upload::{Progress, Upload};
pub use upstream::Numbers;
use upstream::Upstream;

/// The right to reach an upstream.
#[derive(Debug)]
#[must_use]
pub enum Pass {
    /// A caller with a token whose proof is spent; or without a binding, where the route only reports that.
    Bound(Permit),
    /// The same, and the token that the upstream gets in place of the caller's.
    Exchanged(Permit, Exchanged),
    /// A public route.
    Public(PublicRoute),
}

impl Pass {
    /// The permit, unless the route is public.
    const fn permit(&self) -> Option<&Permit> {
        match self {
            Pass::Bound(permit) | Pass::Exchanged(permit, _) => Some(permit),
            Pass::Public(_) => None,
        }
    }
}

/// What an upstream says to a request.
#[derive(Debug)]
pub enum Answer {
    /// An answer in HTTP.
    Http(Response<Download>),
    /// 101: what comes next is the protocol that the caller asked for and its route allows.
    Switched(Response<()>, Switched),
}

/// Every upstream, with its connections. `B` is the body of a caller's request.
pub struct Upstreams<B> {
    upstreams: Vec<Arc<Upstream<B>>>,
    /// Who signs for routes whose identity is an assertion.
    signer: Option<Signer>,
    /// Names that the operator has given to what the gateway says, on any route.
    given: GivenNames,
}

impl<B> Upstreams<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// Builds them, and starts the tasks that keep them: these end when the last holder of an upstream is gone. Connects to nothing yet, and no name has to
    /// resolve. To be called within a Tokio runtime.
    ///
    /// What is said to an upstream under a name that is `given` is the gateway's word, so no caller's request brings one, on whatever route.
    ///
    /// An upstream of which nothing has changed since `before` is taken over as it runs, with its connections, its limits and what it knows of its
    /// servers. Of one that has changed, requests that are under way end where they are.
    ///
    /// # Errors
    /// When TLS to an upstream cannot be set up: one without a `trust` of its own needs the system's roots.
    pub fn new(
        upstreams: &[config::Upstream],
        assertions: Option<&config::Assertions>,
        given: GivenNames,
        resolver: &Resolver,
        before: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let running = |upstream: &config::Upstream| {
            before
                .and_then(|before| before.upstreams.iter().find(|running| running.settings.is_same(upstream)))
        };
        let build = |upstream| match running(upstream) {
            Some(running) => Ok(Arc::clone(running)),
            None => Upstream::new(upstream, resolver.clone()),
        };
        let upstreams = upstreams.iter().map(build).collect::<Result<_, _>>()?;
        Ok(Self { upstreams, signer: assertions.and_then(Signer::new), given })
    }

    /// What is counted, for each upstream in the order of the configuration.
    pub fn numbers(&self) -> impl Iterator<Item = Numbers> {
        self.upstreams.iter().map(|upstream| upstream.numbers())
    }

    /// The keys that upstreams verify assertions with, as a JWK set; `None` where the gateway signs none.
    pub fn assertion_keys(&self) -> Option<&str> {
        self.signer.as_ref().map(Signer::jwks)
    }

    const fn own_words(&self) -> OwnWords<'_> {
        OwnWords { signer: self.signer.as_ref(), given: &self.given }
    }

    /// Sends a request to the route's upstream and returns the head of its answer; the bodies stream both ways, as does what comes behind
    /// a switch of protocols.
    ///
    /// The request's headers are rewritten first: see `headers` for what goes and what comes. What is forwarded is
    /// `target`, the very path that was authorised, unless the route rewrites it for the upstream. `origin` is what the upstream may be told of the caller.
    ///
    /// # Errors
    /// [`Fault`]: the upstream cannot be reached, has too many requests, does not answer in time or not in HTTP; or the caller's body ended badly.
    pub async fn send(
        &self,
        pass: Pass,
        route: &Route,
        target: &Target,
        origin: CallerOrigin<'_>,
        request: Box<Request<B>>,
    ) -> Result<Answer, Fault> {
        let upstream = self.upstreams.get(route.upstream).ok_or(Fault::Unreachable)?;
        let Written { request, progress, asked, trailers_wanted } =
            upstream.write(*request, &pass, route, target, &origin, self.own_words())?;
        let mut response = upstream.exchange(request, &progress, &route.onward.host).await?;
        let granted = match (asked, response.status()) {
            (Some(asked), StatusCode::SWITCHING_PROTOCOLS) if asked.is_granted_by(response.headers()) => {
                Some(asked)
            }
            // RFC 9110 §15.2.2: it answers nothing that was asked. Handed to the caller, it would be taken for a tunnel (T-PXY-08).
            (_, StatusCode::SWITCHING_PROTOCOLS) => return Err(Fault::Broken),
            _ => None,
        };
        // RFC 9110 §2.5: each hop says its own version. Behind an upstream's 1.0, a caller would wait for the end of a connection that goes on.
        *response.version_mut() = Version::HTTP_11;
        let demanded = upgrade::demanded(&response);
        let announced = if trailers_wanted { trailers::announced(response.headers()) } else { None };
        headers::for_caller(response.headers_mut(), &pass, &route.forward, origin.request_id);
        if let Some(protocols) = demanded {
            upgrade::demand(response.headers_mut(), protocols);
        }
        if let Some(announced) = announced {
            response.headers_mut().insert(TRAILER, announced);
        }
        if trailers_wanted {
            response.body_mut().with_trailers();
        }
        if let Some(idle_timeout) = route.streams.idle_timeout {
            response.body_mut().may_be_silent_for(idle_timeout);
        }
        match granted {
            None => Ok(Answer::Http(response)),
            Some(asked) => {
                let (head, switched) = Switched::behind(response, asked).await?;
                Ok(Answer::Switched(head, switched))
            }
        }
    }
}

/// What the gateway says by itself: who signs it, and the names given to it.
#[derive(Clone, Copy)]
struct OwnWords<'u> {
    signer: Option<&'u Signer>,
    given: &'u GivenNames,
}

/// A request as it goes to the upstream, and what of the caller's the answer has to fit.
struct Written<B> {
    request: Box<Request<Upload<B>>>,
    progress: Progress,
    asked: Option<Asked>,
    trailers_wanted: bool,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// Makes the caller's request one for the upstream. By itself and not in [`Upstreams::send`], since what an `async` function takes apart before it waits, it
    /// keeps room for while it waits.
    fn write(
        &self,
        request: Request<B>,
        pass: &Pass,
        route: &Route,
        target: &Target,
        origin: &CallerOrigin<'_>,
        OwnWords { signer, given }: OwnWords<'_>,
    ) -> Result<Written<B>, Fault> {
        let (mut parts, body) = request.into_parts();
        let trailers_wanted = trailers::are_wanted(&parts.headers);
        let asked = Asked::of(&parts, !body.is_end_stream(), &route.streams.upgrade);
        let headers = &mut parts.headers;
        headers::for_upstream(headers, parts.version, pass, &route.forward, target, origin, given)?;
        headers::frame(headers, &body);
        if let Some(asked) = &asked {
            asked.ask(headers);
        } else if trailers_wanted {
            headers::want_trailers(headers, self.settings.protocol);
        }
        let rewrite = route.onward.rewrite.as_ref();
        if let Some(prefix) = rewrite.and_then(|rewrite| uri::taken_off(target, rewrite))
            && route.forward.report.x_forwarded
        {
            report::set_prefix(headers, prefix)?;
        }
        parts.uri = uri::for_upstream(parts.uri, target, rewrite).ok_or(Fault::Unreachable)?;
        if let (Some(permit), Identity::Assertion(audience)) = (pass.permit(), &route.forward.identity) {
            let (method, uri) = (&parts.method, parts.uri.path_and_query().map_or("/", PathAndQuery::as_str));
            let &CallerOrigin { request_id, now, .. } = origin;
            let asserted = Asserted { audience, method, target, uri, request_id, now };
            let signer = signer.ok_or(Fault::IdentityUnfit)?;
            parts.headers.insert(ASSERTION, signer.sign(permit, &asserted)?);
        }
        parts.version = Version::HTTP_11;
        let (body, progress) = Upload::new(body, given);
        let request = Box::new(Request::from_parts(parts, body));
        Ok(Written { request, progress, asked, trailers_wanted })
    }
}
