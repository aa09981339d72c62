//! A caller's body as it streams by: bounded in size, and ended when it stalls or trickles.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock::Deadline;
use crate::config::Limits;
use crate::patience::Patience;
use crate::verify::rejection::Rejection;

/// Why a body ended before its end. Whatever was sent on of it must not be taken for a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// More than `limits.body_bytes`, or than its route allows.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// No byte for the idle timeout while one was waited for, or fewer than `limits.least_rate` in a second.
    #[error("the body stalled")]
    Stalled,
    /// The time that was set for it is over: see [`CallerBody::ends_at`].
    #[error("the body's time is over")]
    Overdue,
    /// The caller went away, or broke the framing (RFC 9112 §7.1, RFC 9113 §8.1.1).
    #[error("the body broke off")]
    Broken,
}

impl BodyFault {
    /// The fault behind `error`, however deep it is wrapped: a client that sends a body wraps its errors.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(*fault);
            }
            next = error.source();
        }
        None
    }
}

/// The body of a request that [`accept`](super) took. It is never gathered here, and nothing is read before it is polled, so
/// `100 Continue` goes out only for a request that somebody wants the body of.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    /// How many bytes may still come.
    allowance: u64,
    patience: Patience,
    deadline: Option<Deadline>,
    fault: Option<BodyFault>,
    received: Received,
}

/// How far a body has been read, for whoever does not read it. A request without a body has nothing to tell and costs no allocation.
#[derive(Clone, Debug, Default)]
pub struct Received(Option<Arc<Reading>>);

#[derive(Debug, Default)]
struct Reading {
    bytes: AtomicU64,
    whole: AtomicBool,
}

impl Received {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |reading| reading.bytes.load(Ordering::Relaxed))
    }

    /// Whether it has been read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|reading| reading.whole.load(Ordering::Relaxed))
    }

    fn add(&self, bytes: usize) {
        if let Some(reading) = &self.0 {
            reading.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        if let Some(reading) = &self.0 {
            reading.whole.store(true, Ordering::Relaxed);
        }
    }
}

impl CallerBody {
    pub(super) fn new(incoming: Incoming, limits: &Limits) -> Self {
        let received = Received((!incoming.is_end_stream()).then(Arc::default));
        Self {
            received,
            incoming,
            allowance: limits.body_bytes,
            patience: Patience::with_rate(limits.idle_timeout, limits.least_rate),
            deadline: None,
            fault: None,
        }
    }

    /// Takes another limit, in bytes, before anything was read: a connection may be older than the configuration that its request is judged by.
    pub const fn bound(&mut self, body_bytes: u64) {
        self.allowance = body_bytes;
    }

    /// The length that the caller declared, where it did. To be asked before anything is read or sent on.
    ///
    /// # Errors
    /// [`Rejection::BodyTooLarge`] for more than is allowed. A body without a declared length is bounded while it streams.
    pub fn declared(&self) -> Result<Option<u64>, Rejection> {
        match self.incoming.size_hint().exact() {
            Some(length) if length > self.allowance => Err(Rejection::BodyTooLarge),
            length => Ok(length),
        }
    }

    /// How much of it has been read: now, and whenever this is asked again.
    pub fn received(&self) -> Received {
        self.received.clone()
    }

    /// Says that the route is one of conversations, where silence for `idle_timeout` is in order. Without a declared length nothing says that
    /// the body has an end it could be on time for, so the least rate does not hold then.
    pub fn may_be_silent_for(&mut self, idle_timeout: Duration) {
        match self.incoming.size_hint().exact() {
            Some(_) => self.patience.limit_to(idle_timeout),
            None => self.patience.relax(idle_timeout),
        }
    }

    /// Sets a time beyond which nothing more is taken of it. The answer may be over long before the body is, and ends nothing then.
    pub fn ends_at(&mut self, deadline: Deadline) {
        self.deadline = Some(deadline);
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.fault = Some(fault);
        Poll::Ready(Some(Err(fault)))
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        // Asked again after a fault, the body must not seem to have ended well.
        if let Some(fault) = self.fault {
            return self.fail(fault);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.poll_passed(cx).is_ready()
        {
            return self.fail(BodyFault::Overdue);
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending if self.patience.poll_exhausted(cx).is_ready() => {
                return self.fail(BodyFault::Stalled);
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                self.received.end();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => return self.fail(BodyFault::Broken),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        // Trailers end a body. What may stand in them is for the forwarding side to say, as it is for headers.
        let Some(data) = frame.data_ref() else {
            self.received.end();
            return Poll::Ready(Some(Ok(frame)));
        };
        let (length, is_last) = (data.len(), self.incoming.is_end_stream());
        let Some(allowance) = self.allowance.checked_sub(length as u64) else {
            return self.fail(BodyFault::TooLarge);
        };
        self.allowance = allowance;
        self.received.add(length);
        // A body that is whole is late at most.
        if self.patience.came(length).is_err() && !is_last {
            return self.fail(BodyFault::Stalled);
        }
        if is_last {
            self.received.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.fault.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
