//! The body of an answer on its way to the caller: what it carries is counted, and it ends in time.
//!
//! An answer that must not go on is cut, never completed: HTTP/1 ends the connection without the last chunk, HTTP/2 resets the stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::record::Record;
use crate::clock::Deadline;
use crate::forward::Fault;
use crate::respond::Body;

/// Why an answer was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The upstream broke it off.
    #[error(transparent)]
    Broken(#[from] Fault),
    /// The token that it was given for has expired, and the route says that streams end then.
    #[error("the token has expired")]
    Expired,
}

/// The body of an answer, with the record of its request while that is open.
pub struct Journey {
    body: Body,
    record: Option<Box<Record>>,
    deadline: Option<Deadline>,
    /// Bytes still to come, where their number is known. HTTP/1 stops asking when it has them all.
    left: Option<u64>,
}

impl Journey {
    /// An answer of the gateway's own. Its record is complete.
    pub(super) const fn of_ours(body: Body) -> Self {
        Self { body, record: None, deadline: None, left: None }
    }

    /// The upstream's answer, which ends at `deadline` whatever is missing.
    pub(super) fn of_upstream(body: Body, record: Box<Record>, deadline: Option<Deadline>) -> Self {
        let left = body.size_hint().exact();
        let mut journey = Self { body, record: Some(record), deadline, left };
        journey.look_for_end();
        journey
    }

    /// Closes the record once the body is whole.
    fn look_for_end(&mut self) {
        if self.body.is_end_stream() || self.left == Some(0) {
            self.arrive();
        }
    }

    fn arrive(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.is_whole();
        }
        self.deadline = None;
    }

    fn cut(&mut self, reason: &'static str) {
        if let Some(mut record) = self.record.take() {
            record.breaks_off(reason);
        }
    }
}

impl HttpBody for Journey {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.poll_passed(cx).is_ready()
        {
            self.cut("token_expired");
            return Poll::Ready(Some(Err(Cut::Expired)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.arrive(),
            Poll::Ready(Some(Err(fault))) => self.cut(fault.label()),
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.arrive(),
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                if let Some(record) = &mut self.record {
                    record.passes(length);
                }
                self.left = self.left.map(|left| left.saturating_sub(length as u64));
                self.look_for_end();
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Cut::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
