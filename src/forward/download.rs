//! An upstream's answer on its way to the caller: ended when it stalls, and without trailers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::fault::Fault;
use super::link::Lease;
use crate::patience::Patience;

/// The body of an answer. It ends with [`Fault::TimedOut`] when the upstream sends nothing for `limits.idle_timeout` while the caller waits for
/// more, or one silent answer would hold a connection of the caller's and one of the upstream's for ever.
#[derive(Debug)]
pub struct Download {
    incoming: Incoming,
    patience: Patience,
    /// The connection it comes on, until it is over.
    lease: Option<Lease>,
}

impl Download {
    pub(super) fn new(incoming: Incoming, idle_timeout: Duration, lease: Lease) -> Self {
        let mut download = Self { incoming, patience: Patience::new(idle_timeout), lease: Some(lease) };
        download.end_if_over();
        download
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
            // RFC 9110 §6.5.1: what may not stand in the head could come behind the body, a second `DPoP-Nonce` for one. Nobody
            // asked for trailers, since `TE` is never passed on.
            if frame.is_data() {
                return Poll::Ready(Some(Ok(frame)));
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
