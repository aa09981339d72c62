//! An HTTP/1.1 connection: served by hyper while it has requests, parked while it has none, and closed with a last word.
//!
//! hyper keeps two buffers of 8 KiB for as long as its connection, and thousands of connections kept alive need them for nothing. So hyper is
//! only begun when a whole head has come, and taken apart when the connection has been [`QUIET`] for a while. Between two requests it knows
//! nothing that the next one needs: [`Framing`] says when that is, and stays. The limits count on, since they are [`Activity`]'s.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Handler;
use super::activity::Activity;
use super::connection::{Ended, Ending, LEAST_BUFFER, LINGER, Session};
use super::framing::{Framing, Rest};
use super::refusal::Refusal;
use super::service::service;

/// How long a connection has had no request when hyper is taken apart. A connection in steady use never gets there, so that no request pays for it.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// The most of a peer's unread bytes that are read away at the end, so that they do not make the system throw our last word away.
const LINGER_BYTES: usize = 256 * 1024;

/// Serves a connection until it ends or has to, the tunnel that it may become included.
pub(super) async fn http1<S, H>(stream: S, session: Arc<Session>, handler: Arc<H>, ending: Ending)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Handler,
{
    let limits = ending.limits;
    let activity = Activity::new();
    let mut framing = Framing::new(stream, Arc::clone(&activity), limits.header_bytes);
    let mut service =
        service(Arc::clone(&handler), Arc::clone(&session), Arc::clone(&activity), limits, || {});
    let mut overdue = None;
    let ended = loop {
        let mut parked = Parked { framing, ends: false };
        let ended = ending.drive(&mut parked, Parked::end, &activity, &mut overdue).await;
        framing = parked.framing;
        if ended != Ended::Finished || !framing.has_request() {
            break ended;
        }
        // In a box: a parked connection does not keep its room.
        let mut connection = Box::new(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                // Room for one head beside what is left of the request before it.
                .max_buf_size(limits.header_bytes.saturating_mul(2).max(LEAST_BUFFER))
                .serve_connection(TokioIo::new(framing), service),
        );
        let wind_down = http1::Connection::graceful_shutdown;
        let ended = ending.drive(&mut *connection, wind_down, &activity, &mut overdue).await;
        session.ends_as(ended);
        let parts = connection.into_parts();
        framing = parts.io.into_inner();
        if ended != Ended::Quiet {
            break ended;
        }
        // Never so, as far as hyper's code tells. If it is, what these bytes belong to is gone with hyper, and nothing behind them may be read as a request.
        if !parts.read_buf.is_empty() || !framing.park() {
            tracing::warn!(peer = %session.peer, "a connection that was not at rest was parked, and is closed");
            break Ended::Failed;
        }
        service = parts.service;
    };
    let Rest { stream, refusal, unjudged } = framing.into_rest();
    if ended == Ended::Finished
        && let Some(tunnel) = activity.take_tunnel()
    {
        return Box::pin(tunnel.run(stream, unjudged, &ending)).await;
    }
    let refusal = match ended {
        Ended::Finished => refusal,
        // Before the first request hyper calls the end that a refusal makes an error.
        Ended::Failed if refusal.is_some() => refusal,
        // Dropped and not closed in order: half an answer must not look like a whole one.
        Ended::Failed => return,
        Ended::SlowHead => Some(Refusal::HeadTimeout),
        // A connection kept alive is closed without a word: nothing was asked.
        Ended::Idle | Ended::Quiet => None,
        Ended::Overdue => return,
    };
    if let Some(refusal) = refusal {
        handler.refused(refusal, &session);
    }
    Box::pin(close(stream, refusal)).await;
}

/// A connection without hyper, until a request has come, nothing more can come, or it is told to end.
struct Parked<S> {
    framing: Framing<S>,
    ends: bool,
}

impl<S> Parked<S> {
    /// As hyper does it: a connection without a request ends at once.
    fn end(self: Pin<&mut Self>)
    where
        S: Unpin,
    {
        self.get_mut().ends = true;
    }
}

impl<S: AsyncRead + Unpin> Future for Parked<S> {
    type Output = std::io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.get_mut();
        if me.ends {
            return Poll::Ready(Ok(()));
        }
        ready!(me.framing.poll_request(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// Says the last word, if there is one, and closes. Closing with bytes unread resets the connection, which takes the last word back.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, refusal: Option<Refusal>) {
    let last_words = async {
        if let Some(refusal) = refusal {
            stream.write_all(refusal.answer(SystemTime::now()).as_bytes()).await?;
        }
        stream.shutdown().await?;
        // Not in place, or every connection would hold it from its beginning.
        let (mut unread, mut total) = (vec![0; 4096], 0);
        while total < LINGER_BYTES {
            match stream.read(&mut unread).await? {
                0 => break,
                length => total += length,
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong here, the connection is over.
    let _ = timeout(LINGER, last_words).await;
}
