//! What is read from an upstream at one go, before everybody else on the same worker has a turn.
//!
//! hyper reads for as long as there is something to read, and throws away what comes in front of an answer (RFC 9110 §15.2) without giving back
//! control. An upstream that sends nothing else would keep a worker from all its other connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes at one go. Of the shortest 1xx, a millisecond's work; of a download, so much that a turn for the others costs nothing beside it.
const PORTION: usize = 64 * 1024;

/// A stream that is read in portions. Writes pass as they are.
#[derive(Debug)]
pub(super) struct Portions<S> {
    inner: S,
    /// Bytes read since nothing was there, or since the others had their turn.
    read: usize,
}

impl<S> Portions<S> {
    pub(super) const fn of(inner: S) -> Self {
        Self { inner, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Portions<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= PORTION {
            self.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if outcome.is_pending() {
            self.read = 0;
        }
        ready!(outcome)?;
        self.read += buf.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Portions<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use http_body_util::Empty;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::super::connect::MOST_UNREAD;
    use super::*;

    const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    /// How much may be read without a turn for the others: a portion, and the reading that passes its end.
    const MOST: usize = 2 * PORTION;

    /// An upstream that once it is asked always has something to say: 1xx, and at last an answer.
    struct Flood {
        asked: bool,
        interims: usize,
        at: usize,
        turns: Arc<AtomicUsize>,
        seen: usize,
        since: usize,
    }

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.asked {
                return Poll::Pending;
            }
            let turns = self.turns.load(Ordering::SeqCst);
            if self.seen != turns {
                (self.seen, self.since) = (turns, 0);
            }
            let before = buf.remaining();
            while buf.remaining() > 0 {
                let message = if self.interims > 0 { INTERIM } else { ANSWER };
                let rest = &message[self.at.min(message.len())..];
                if rest.is_empty() && self.interims == 0 {
                    break;
                }
                let part = &rest[..rest.len().min(buf.remaining())];
                buf.put_slice(part);
                self.at += part.len();
                if self.at == message.len() && self.interims > 0 {
                    (self.interims, self.at) = (self.interims - 1, 0);
                }
            }
            self.since += before - buf.remaining();
            assert!(self.since <= MOST, "{} bytes, and nobody else had a turn", self.since);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Flood {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.asked = true;
            cx.waker().wake_by_ref();
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Eight megabytes of 1xx on the only worker there is, and another task beside it.
    #[tokio::test]
    async fn others_have_their_turn_during_a_flood_of_interim_answers() {
        let turns = Arc::<AtomicUsize>::default();
        let interims = 8 * 1024 * 1024 / INTERIM.len();
        let flood = Flood { asked: false, interims, at: 0, turns: Arc::clone(&turns), seen: 0, since: 0 };
        let io = TokioIo::new(Portions::of(flood));
        let mut builder = http1::Builder::new();
        let (mut sender, connection) = builder.max_buf_size(MOST_UNREAD).handshake(io).await.expect("begun");
        tokio::spawn(connection);
        // At the end of the queue, as the connection is. `yield_now` would wait until the queue is empty.
        tokio::spawn(poll_fn(move |cx| {
            turns.fetch_add(1, Ordering::SeqCst);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let request = http::Request::new(Empty::<bytes::Bytes>::new());
        let answer = sender.send_request(request).await.expect("an answer in the end");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
