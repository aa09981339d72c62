//! A caller's body on its way to the upstream: it notes that it moves, and why it broke off.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::fault::Fault;

/// What the two ends of an upload share.
#[derive(Debug, Default)]
struct Shared {
    moved: AtomicBool,
    fault: OnceLock<Fault>,
}

/// The body, as the client to the upstream reads it.
#[derive(Debug)]
pub(super) struct Upload<B> {
    body: B,
    shared: Option<Arc<Shared>>,
}

/// What the one who waits for the answer can see of the upload. Empty for a request without a body, which then costs no allocation.
#[derive(Debug)]
pub(super) struct Progress(Option<Arc<Shared>>);

impl<B: Body> Upload<B> {
    pub(super) fn new(body: B) -> (Self, Progress) {
        let shared = (!body.is_end_stream()).then(Arc::<Shared>::default);
        (Self { body, shared: shared.clone() }, Progress(shared))
    }
}

impl Progress {
    /// Whether a part of the body went out since the last time this was asked.
    pub(super) fn moved(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.moved.swap(false, Ordering::Relaxed))
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
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(frame)) => {
                let frame = frame.map_err(Into::into);
                if let Some(shared) = &this.shared {
                    shared.moved.store(true, Ordering::Relaxed);
                    if let Err(fault) = &frame {
                        // The first reason counts; a second one cannot come, since the client stops reading.
                        let _ = shared.fault.set(*fault);
                    }
                }
                Poll::Ready(Some(frame))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
