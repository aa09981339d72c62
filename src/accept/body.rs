//! A caller's body as it streams by: bounded in size, ended when it stalls, and without trailers.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::config::Limits;
use crate::patience::Patience;
use crate::verify::rejection::Rejection;

/// Why a body ended before its end. Whatever was sent on of it must not be taken for a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// More than `limits.body_bytes`.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// No byte for `limits.idle_timeout`, while one was waited for.
    #[error("the body stalled")]
    Stalled,
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
    fault: Option<BodyFault>,
}

impl CallerBody {
    pub(super) const fn new(incoming: Incoming, limits: &Limits) -> Self {
        Self {
            incoming,
            allowance: limits.body_bytes,
            patience: Patience::new(limits.idle_timeout),
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
    /// [`Rejection::BodyTooLarge`] for more than `limits.body_bytes`. A body without a declared length is bounded while it streams.
    pub fn declared(&self) -> Result<Option<u64>, Rejection> {
        match self.incoming.size_hint().exact() {
            Some(length) if length > self.allowance => Err(Rejection::BodyTooLarge),
            length => Ok(length),
        }
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
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending if self.patience.poll_exhausted(cx).is_ready() => {
                    return self.fail(BodyFault::Stalled);
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => return self.fail(BodyFault::Broken),
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            self.patience.restore();
            // R-L-01: trailers are dropped, so no field gets past the rules for headers by coming late.
            let Ok(data) = frame.into_data() else { continue };
            let Some(allowance) = self.allowance.checked_sub(data.len() as u64) else {
                return self.fail(BodyFault::TooLarge);
            };
            self.allowance = allowance;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.fault.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
