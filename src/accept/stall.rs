//! A peer that stops reading, or reads in sips: a write that makes no progress for `idle_timeout`, or less than `least_rate` while we wait
//! for it, ends the connection.
//!
//! This sits between the socket and TLS, where every byte that leaves is seen. Above TLS a slow reader looks like a stuck one,
//! since a whole buffer of records counts as one write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::patience::Patience;

/// A stream whose writes fail once they have been stuck for `limit`. Reads are not limited here: they are in `connection`, `body`.
#[derive(Debug)]
pub(super) struct Stall<S> {
    inner: S,
    patience: Patience,
}

impl<S> Stall<S> {
    /// Watches over the writes to `inner`. `least_rate` is in bytes a second.
    pub(super) const fn new(inner: S, limit: Duration, least_rate: u64) -> Self {
        Self { inner, patience: Patience::with_rate(limit, least_rate) }
    }

    /// Passes a write's outcome on, unless it has been pending for too long, or has been too often for too little.
    fn watch_write(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Ok(taken)) = outcome else { return self.watch(outcome, cx) };
        Poll::Ready(self.patience.came(taken).map(|()| taken).map_err(|_| io::ErrorKind::TimedOut.into()))
    }

    /// The same, for what moves no bytes.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.patience.restore();
            return outcome;
        }
        self.patience.poll_exhausted(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch_write(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch_write(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(outcome, cx)
    }
}
