//! An upstream's answer on its way to the caller: ended when it stalls, with trailers for those who read them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::fault::Fault;
use super::link::Lease;
use super::trailers::{self, TooMany};
use crate::config::GivenNames;
use crate::patience::Patience;

/// The body of an answer. It ends with [`Fault::TimedOut`] when the upstream sends nothing for `limits.idle_timeout` while the caller waits for
/// more, or one silent answer would hold a connection of the caller's and one of the upstream's for ever.
#[derive(Debug)]
pub struct Download {
    incoming: Incoming,
    patience: Patience,
    /// Whether the caller reads trailers.
    trailers_wanted: bool,
    /// The connection it comes on, until it is over.
    lease: Option<Lease>,
}

impl Download {
    pub(super) fn new(incoming: Incoming, idle_timeout: Duration, lease: Lease) -> Self {
        let mut download = Self::of_switch(incoming, idle_timeout, lease);
        download.end_if_over();
        download
    }

    /// What a switch of protocols is answered with. It has no body, and the connection is not over before this is dropped.
    pub(super) const fn of_switch(incoming: Incoming, idle_timeout: Duration, lease: Lease) -> Self {
        let patience = Patience::new(idle_timeout);
        Self { incoming, patience, trailers_wanted: false, lease: Some(lease) }
    }

    /// Another idle time than the upstream's.
    pub(super) const fn may_be_silent_for(&mut self, idle_timeout: Duration) {
        self.patience.limit_to(idle_timeout);
    }

    /// Passes trailers on.
    pub(super) const fn with_trailers(&mut self) {
        self.trailers_wanted = true;
    }

    /// Gives the connection back once the answer was read to its end. Whoever writes an answer of a known length does not ask for what
    /// comes behind its last byte.
    fn end_if_over(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.end_if_over();
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending if self.patience.poll_exhausted(cx).is_ready() => {
                    return Poll::Ready(Some(Err(Fault::TimedOut)));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Fault::Broken))),
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            self.patience.restore();
            let trailers = match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(data) => return Poll::Ready(Some(Ok(data))),
            };
            // Nothing comes behind them, and nobody may ask.
            self.end();
            if self.trailers_wanted {
                // To a caller the gateway says nothing under these names.
                match trailers::filter(trailers, &GivenNames::default()) {
                    Ok(None) => {}
                    Ok(Some(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Err(TooMany) => return Poll::Ready(Some(Err(Fault::Broken))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
