//! One request and its answer: a place, an address, a connection, and where that is safe another try.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;
use tracing::warn;

use super::balance;
use super::download::Download;
use super::endpoint::{Connected, Endpoint, Wanted};
use super::fault::Fault;
use super::headers;
use super::link::Lease;
use super::retry;
use super::upload::{Progress, Upload};
use super::upstream::Upstream;
use crate::config::{Host, Protocol};

/// How often a request may find that the connection it was given had been closed while it waited. The next gets one that is new.
const MOST_STALE: usize = 2;

/// A request that can be sent once more: no body, and the head as it was.
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Spare {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request<B>(self) -> Request<Upload<B>> {
        let mut request = Request::new(Upload::none());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// How a try failed.
enum Failed<B> {
    /// There was no connection, or a new one ended before anything of the request was written.
    Unconnected(Box<Request<Upload<B>>>),
    /// A connection that had waited was closed before anything of the request was written.
    Stale(Box<Request<Upload<B>>>),
    /// The server said that it did not process it.
    Unprocessed,
    /// It broke off before the answer began; what the server did is not known.
    Broken,
    /// Nothing that another try could mend: the answer had begun, the time is up, or it is the caller's body.
    Final(Fault),
}

impl<B> Failed<B> {
    const fn fault(&self) -> Fault {
        match self {
            Failed::Unconnected(_) => Fault::Unreachable,
            Failed::Stale(_) | Failed::Unprocessed | Failed::Broken => Fault::Broken,
            Failed::Final(fault) => *fault,
        }
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// Sends the request and returns the head of its answer; the bodies stream both ways. `progress` is that of the request's body. Where `host` says so, `Host` becomes that of the server which is
    /// chosen; otherwise it is as it stands in the head.
    ///
    /// # Errors
    /// [`Fault`]
    pub(super) async fn exchange(
        &self,
        mut request: Box<Request<Upload<B>>>,
        progress: &Progress,
        host: &Host,
    ) -> Result<Response<Download>, Fault> {
        let place = self.gate.enter().await?;
        self.budget.deposit();
        let (mut tried, mut stale) = (Vec::new(), 0);
        loop {
            let endpoints = self.endpoints().await;
            let was_tried = |endpoint: &Arc<Endpoint<B>>| tried.iter().any(|one| Arc::ptr_eq(one, endpoint));
            let endpoint = balance::choose(&endpoints, was_tried, &self.dice).ok_or(Fault::Unreachable)?;
            let retries_left = tried.len() < self.settings.retries;
            // What is sent is gone, so a request that may be sent again is copied before.
            let idempotent = retry::is_idempotent(request.method());
            let may_be_unprocessed = self.settings.protocol == Protocol::Http2;
            let repeatable = retries_left && progress.is_empty() && (idempotent || may_be_unprocessed);
            let spare = repeatable.then(|| Spare::of(&request));
            let new = stale == MOST_STALE || !tried.is_empty();
            let wanted = if new { Wanted::Fresh } else { Wanted::Any };
            endpoint.fit(&mut request, host);
            let failed = match self.attempt(endpoint, request, wanted, progress).await {
                Ok((response, mut lease)) => {
                    lease.keep(place);
                    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                    let download = if switches { Download::of_switch } else { Download::new };
                    return Ok(response.map(|body| download(body, self.settings.idle_timeout, lease)));
                }
                Err(failed) => failed,
            };
            let fault = failed.fault();
            request = match failed {
                // Nobody was asked anything, so this is no retry: the pool had a connection that was none any more.
                Failed::Stale(unsent) if stale < MOST_STALE => {
                    stale += 1;
                    request = unsent;
                    continue;
                }
                Failed::Stale(unsent) | Failed::Unconnected(unsent) => unsent,
                Failed::Unprocessed => Box::new(spare.ok_or(fault)?.request()),
                Failed::Broken => Box::new(spare.filter(|_| idempotent).ok_or(fault)?.request()),
                Failed::Final(fault) => return Err(fault),
            };
            if !retries_left || !self.budget.withdraw() {
                return Err(fault);
            }
            self.retried.fetch_add(1, Ordering::Relaxed);
            tried.push(Arc::clone(endpoint));
        }
    }

    /// One try, on one connection to one address.
    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint<B>>,
        request: Box<Request<Upload<B>>>,
        wanted: Wanted,
        progress: &Progress,
    ) -> Result<(Response<Incoming>, Lease), Failed<B>> {
        let load = endpoint.health.begin();
        let Connected { link, reused } = match endpoint.connection(wanted).await {
            Ok(connected) => connected,
            Err(error) => {
                self.failed(endpoint, "an upstream cannot be reached", &error);
                self.doubt_names();
                return Err(Failed::Unconnected(request));
            }
        };
        let lease = Lease::new(Arc::clone(&link), load);
        let mut answer = pin!(link.send(*request));
        loop {
            let mut error = match tokio::time::timeout(self.settings.response_timeout, &mut answer).await {
                Ok(Ok(response)) if !headers::is_coded_as_read(response.headers()) => {
                    self.failed(
                        endpoint,
                        "an upstream's answer is no HTTP",
                        &"a transfer coding nobody asked for",
                    );
                    return Err(Failed::Final(Fault::Broken));
                }
                Ok(Ok(response)) => {
                    endpoint.health.succeeded();
                    return Ok((response, lease));
                }
                Ok(Err(error)) => error,
                // A long upload is no silent upstream: the time starts again with each part of the body that went out, and an upstream has
                // nothing to answer while the caller keeps it waiting. Held against it, a few slow callers could have it ejected.
                Err(_) if progress.moved() || progress.is_awaited() => continue,
                Err(elapsed) => {
                    let Some(fault) = progress.fault() else {
                        self.failed(endpoint, "an upstream does not answer", &elapsed);
                        return Err(Failed::Final(Fault::TimedOut));
                    };
                    return Err(Failed::Final(fault));
                }
            };
            let unsent = error.take_message().map(Box::new);
            let error = error.into_error();
            return Err(match (unsent, progress.fault()) {
                (Some(unsent), _) if reused => Failed::Stale(unsent),
                (Some(unsent), _) => {
                    self.failed(endpoint, "an upstream ends connections at once", &error);
                    Failed::Unconnected(unsent)
                }
                // The caller's body is the usual reason why a request breaks off half-way.
                (None, Some(fault)) => Failed::Final(fault),
                (None, None) if retry::is_unprocessed(&error) => Failed::Unprocessed,
                (None, None) if error.is_parse() => {
                    self.failed(endpoint, "an upstream's answer is no HTTP", &error);
                    Failed::Final(Fault::Broken)
                }
                (None, None) => {
                    // On a connection that had waited, this is most often one that was being closed: nothing against the server.
                    if !reused {
                        self.failed(endpoint, "an upstream broke off before it answered", &error);
                    }
                    Failed::Broken
                }
            });
        }
    }

    /// Holds a failure against an address, and tells the operator.
    fn failed(&self, endpoint: &Endpoint<B>, what: &str, error: &dyn Display) {
        // A server that answers rubbish to thousands of requests a second must not fill the disk.
        if let Some(also) = self.trouble.due(Instant::now()) {
            warn!(upstream = %self.name, address = %endpoint.place, %error, also, "{what}");
        }
        if endpoint.health.failed(Instant::now()) {
            self.ejections.fetch_add(1, Ordering::Relaxed);
            warn!(upstream = %self.name, address = %endpoint.place, "gets no requests for a while: it failed too often in a row");
        }
    }
}
