//! A caller's body on its way to the upstream: it notes that it moves, and why it broke off. Its trailers say what trailers may.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::fault::Fault;
use super::trailers::{self, TooMany};
use crate::config::GivenNames;

/// What the two ends of an upload share.
#[derive(Debug, Default)]
struct Shared {
    moved: AtomicBool,
    /// The client to the upstream asked for more, and the caller has not sent it yet.
    awaited: AtomicBool,
    fault: OnceLock<Fault>,
}

/// The body, as the client to the upstream reads it.
#[derive(Debug)]
pub(super) struct Upload<B> {
    /// `None` where there is nothing to send: also in the copy of a request without a body.
    body: Option<B>,
    shared: Option<Arc<Shared>>,
    /// What the caller's trailers may not say, besides what none may.
    given: GivenNames,
}

/// What the one who waits for the answer can see of the upload. Empty for a request without a body, which then costs no allocation.
#[derive(Debug)]
pub(super) struct Progress(Option<Arc<Shared>>);

impl<B: Body> Upload<B> {
    /// The body, whose trailers say nothing under the names that are `given` to the gateway's words.
    pub(super) fn new(body: B, given: &GivenNames) -> (Self, Progress) {
        if body.is_end_stream() {
            return (Self::none(), Progress(None));
        }
        let shared = Arc::<Shared>::default();
        let upload = Self { body: Some(body), shared: Some(Arc::clone(&shared)), given: given.clone() };
        (upload, Progress(Some(shared)))
    }
}

impl<B> Upload<B> {
    /// No body.
    pub(super) fn none() -> Self {
        Self { body: None, shared: None, given: GivenNames::default() }
    }
}

impl Progress {
    /// Whether there is no body at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a part of the body went out since the last time this was asked.
    pub(super) fn moved(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.moved.swap(false, Ordering::Relaxed))
    }

    /// Whether it is the caller who keeps us waiting, and not the upstream. How long a caller may do so is the limit of its body.
    pub(super) fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.awaited.load(Ordering::Relaxed))
    }

    /// Why the body broke off, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.as_ref().and_then(|shared| shared.fault.get().copied())
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Fault>,
{
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Some(shared) = &this.shared {
            shared.awaited.store(polled.is_pending(), Ordering::Relaxed);
        }
        let frame = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(frame)) => frame.map_err(Into::into),
        };
        // They end the body, so where nothing is left of them, nothing comes. HTTP/1.1 upstreams get none: they are not announced (RFC 9110 §6.6.2).
        let frame = match frame.map(Frame::into_trailers) {
            Ok(Err(data)) => Ok(data),
            Ok(Ok(trailers)) => match trailers::filter(trailers, &this.given) {
                Ok(None) => return Poll::Ready(None),
                Ok(Some(trailers)) => Ok(Frame::trailers(trailers)),
                Err(TooMany) => Err(Fault::BodyBroken),
            },
            Err(fault) => Err(fault),
        };
        if let Some(shared) = &this.shared {
            shared.moved.store(true, Ordering::Relaxed);
            if let Err(fault) = &frame {
                // The first reason counts; a second one cannot come, since the client stops reading.
                let _ = shared.fault.set(*fault);
            }
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
