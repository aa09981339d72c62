//! One connection, from the handshake to the last byte: who is there, HTTP/1.1 or HTTP/2, and when it has to end.
//!
//! hyper's own time limits are off, save its pings: its `header_read_timeout` is also its keep-alive limit, and its automatic choice of
//! protocol waits for a silent client for ever. The protocol is what ALPN says, and on a plaintext listener HTTP/1.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{Activity, Phase};
use super::answer::Streams;
use super::certificate::ClientCertificate;
use super::door::Taken;
use super::frames::Frames;
use super::http1::{QUIET, http1};
use super::peer::Peer;
use super::room::Place;
use super::service::service;
use super::site::ListenerId;
use super::stall::Stall;
use super::{Handler, Listening, Transport};
use crate::clock::Lapse;
use crate::config::Limits;
use crate::keepalive;

/// How long the end of a connection may take: to write a last word, and for the peer to read it.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// After the stop signal: for how long, since a connection came or its last answer went, its next request is waited for. Longer than a round trip,
/// so that nobody's request meets a closing connection; those that have been silent for longer are closed at once.
pub(super) const TIME_TO_SPEAK: Duration = Duration::from_secs(2);

/// hyper does not take less for its buffers.
pub(super) const LEAST_BUFFER: usize = 64 * 1024;

/// HTTP/2: requests at once on a connection.
const STREAMS: u32 = 128;
/// HTTP/2: streams that a peer opened and reset before we got to them (CVE-2023-44487), and those that we reset for its errors.
const PENDING_RESETS: usize = 32;
const OWN_RESETS: usize = 128;
/// HTTP/2: unread bytes of one stream, of the connection, and unsent bytes of one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// HTTP/2: how long a ping may stay without an answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection's facts, the same for every request on it.
pub struct Session {
    /// Who is at the other end.
    pub peer: Peer,
    /// The name that the client asked for in the handshake (SNI), where it did.
    pub server_name: Option<String>,
    /// The certificate whose key the client proved to hold in this session's handshake, or in that of the session it resumed.
    pub certificate: Option<ClientCertificate>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The listener it came in by: see [`Sites::of`](super::site::Sites::of).
    pub listener: Arc<ListenerId>,
    /// Whether the end of the drain has cut it, with whatever was in flight.
    pub(super) overdue: AtomicBool,
}

impl Session {
    /// Whether requests on it that have not ended are over because `shutdown.grace` is: neither the caller nor the upstream has left.
    pub fn is_cut_by_drain(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// To be called before what is in flight is dropped, and writes its line.
    pub(super) fn ends_as(&self, ended: Ended) {
        self.overdue.store(ended == Ended::Overdue, Ordering::Relaxed);
    }
}

/// Serves a connection to its end: the peer's, a limit's, or that of `grace` after `stop`.
///
/// What each phase needs lives in a box of its own. In one future they would all lie side by side for as long as the connection, and thousands of
/// idle ones would hold the room for a handshake, for HTTP/2 and for a tunnel beside that for HTTP/1.1.
pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    taken: Taken,
    listener: Arc<Listening>,
    handler: Arc<H>,
    tasks: TaskTracker,
    stop: CancellationToken,
    grace: Lapse,
) {
    let ending = Ending { limits: listener.limits, stop, grace };
    // The place is kept to the end of the connection.
    let Some((carried, ending, _place)) =
        Box::pin(begin(socket, taken, listener, Arc::clone(&handler), ending)).await
    else {
        return;
    };
    match carried {
        Carried::Plain(stream, session) => Box::pin(http1(stream, session, handler, ending)).await,
        Carried::Http1(stream, session) => Box::pin(http1(stream, session, handler, ending)).await,
        Carried::Http2(stream, session) => Box::pin(http2(stream, session, handler, tasks, ending)).await,
    }
}

/// A connection that can carry requests: by which protocol, and for whom.
enum Carried {
    Plain(Stall<TcpStream>, Arc<Session>),
    Http1(Box<TlsStream<Stall<TcpStream>>>, Arc<Session>),
    Http2(Box<TlsStream<Stall<TcpStream>>>, Arc<Session>),
}

/// All that comes before HTTP.
async fn begin<H: Handler>(
    mut socket: TcpStream,
    taken: Taken,
    listener: Arc<Listening>,
    handler: Arc<H>,
    ending: Ending,
) -> Option<(Carried, Ending, Option<Place>)> {
    let limits = ending.limits;
    let accepted = Instant::now();
    // One limit for all that comes before HTTP: a PROXY header that comes slowly leaves less for the handshake.
    let deadline = accepted + limits.handshake_timeout;
    let came_from = taken.peer;
    let heard = tokio::select! {
        biased;
        heard = listener.door.hear(taken, &mut socket, deadline) => heard,
        () = ending.has_waited(accepted) => return None,
    };
    let Taken { peer, place } = match heard {
        Ok(taken) => taken,
        Err(why) => {
            handler.turned_away(why, came_from, &listener.id.name);
            return None;
        }
    };
    // Answers are written whole; waiting for more to send with them only delays them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    if let Err(error) = keepalive::watch(&socket) {
        tracing::debug!(%peer, %error, "TCP keepalive could not be set");
    }
    let socket = Stall::new(socket, limits.idle_timeout, limits.least_rate);
    let id = Arc::clone(&listener.id);
    let plain = Session {
        peer,
        server_name: None,
        certificate: None,
        tls: false,
        listener: id,
        overdue: AtomicBool::new(false),
    };
    let Transport::Tls(tls) = &listener.transport else {
        return Some((Carried::Plain(socket, Arc::new(plain)), ending, place));
    };
    let handshake = tokio::select! {
        biased;
        handshake = timeout_at(deadline, tls.acceptor.accept(socket)) => handshake,
        () = ending.has_waited(accepted) => return None,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "the handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "the handshake took too long");
            return None;
        }
    };
    let session = Arc::new(of_handshake(plain, &stream, tls.wants_issuer(), listener.keeps_certificates));
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let carried = if is_http2 { Carried::Http2(stream, session) } else { Carried::Http1(stream, session) };
    Some((carried, ending, place))
}

/// The session of a completed handshake. Of a certificate the digest is what tokens are bound to; all of it is kept only where a route
/// passes it on, since there may be thousands of idle connections.
fn of_handshake<S>(
    plain: Session,
    stream: &TlsStream<S>,
    vouched_for: bool,
    keeps_certificate: bool,
) -> Session {
    let tls = stream.get_ref().1;
    // RFC 8446 §4.4.2: the sender's own certificate is the first. Those behind it are no evidence (T-MTL-14).
    let leaf = tls.peer_certificates().and_then(<[_]>::first);
    Session {
        server_name: tls.server_name().map(str::to_owned),
        certificate: leaf.map(|der| ClientCertificate::shown(der, vouched_for, keeps_certificate)),
        tls: true,
        ..plain
    }
}

/// What can end a connection from outside.
pub(super) struct Ending {
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
    pub(super) grace: Lapse,
}

/// Why a connection is no longer driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// hyper is done with it.
    Finished,
    /// Reading or writing failed, or an answer broke off.
    Failed,
    /// Nobody has asked for anything for [`QUIET`], and hyper waits for a request with nothing in hand.
    Quiet,
    /// Nobody asked for anything for `idle_timeout`.
    Idle,
    /// A head was not complete after `header_timeout`.
    SlowHead,
    /// `grace` is over.
    Overdue,
}

pub(super) async fn http2<S, H>(
    stream: S,
    session: Arc<Session>,
    handler: Arc<H>,
    tasks: TaskTracker,
    ending: Ending,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Handler,
{
    let limits = ending.limits;
    let activity = Activity::new();
    let counted = Arc::clone(&activity);
    let of_requests = Arc::clone(&session);
    let service =
        service(handler, of_requests, Arc::clone(&activity), limits, move || counted.request_began());
    let mut connection = http2::Builder::new(Streams::new(tasks, limits.idle_timeout))
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(Frames::new(stream, Arc::clone(&activity))), service);
    let ended =
        ending.drive(&mut connection, http2::Connection::graceful_shutdown, &activity, &mut None).await;
    session.ends_as(ended);
    if matches!(ended, Ended::Idle | Ended::SlowHead) {
        // GOAWAY, and time to read it. The peer may be one that never answers, so it is not asked twice.
        Pin::new(&mut connection).graceful_shutdown();
        let _ = timeout(LINGER, connection).await;
    }
}

impl Ending {
    /// Comes when `grace` is over.
    pub(super) async fn overdue(&self) {
        self.stop.cancelled().await;
        sleep(self.grace.get()).await;
    }

    /// Waits for `stop`, and until a connection that came at `since` has had its time to speak.
    async fn has_waited(&self, since: Instant) {
        self.stop.cancelled().await;
        sleep_until(since + TIME_TO_SPEAK).await;
    }

    /// Runs `connection` until it ends or has to. `wind_down` asks it to finish what it has begun. `overdue` is when the grace is over, once it
    /// has begun.
    pub(super) async fn drive<C, E>(
        &self,
        connection: &mut C,
        wind_down: fn(Pin<&mut C>),
        activity: &Activity,
        overdue: &mut Option<Instant>,
    ) -> Ended
    where
        C: Future<Output = Result<(), E>> + Unpin,
        E: std::error::Error,
    {
        let Limits { header_timeout, idle_timeout, .. } = self.limits;
        // The phase is looked at this often, and at the moment its limit ends: setting a timer at each request would cost more.
        let step = header_timeout.min(idle_timeout);
        let begun = Instant::now();
        let first = match activity.phase() {
            Phase::Idle(since) => since + idle_timeout,
            // Soon, since most connections are quiet soon after their first request.
            Phase::Head(_) | Phase::Busy => begun + QUIET,
        };
        let mut look = pin!(sleep_until(first.min(begun + step)));
        let mut stop = pin!(self.stop.cancelled());
        let mut winds_down = false;
        loop {
            tokio::select! {
                biased;
                result = &mut *connection => {
                    let Err(error) = result else { return Ended::Finished };
                    tracing::debug!(%error, "a connection ended early");
                    return Ended::Failed;
                }
                () = &mut stop, if overdue.is_none() => {
                    activity.closes();
                    *overdue = Some(Instant::now() + self.grace.get());
                }
                // The connection has just been polled: this hears of the request that it was waited for.
                () = busy(activity), if overdue.is_some() && !winds_down => {}
                () = &mut look => {}
            }
            let now = Instant::now();
            let phase = activity.phase();
            // A connection that is busy at a look will be quiet one day, and should be parked soon after; one that stays busy, as a long download does, is
            // looked at less and less often.
            let mut next = now + now.duration_since(begun).max(QUIET).min(step);
            if overdue.is_some() && !winds_down {
                // hyper closes a connection that is idle at this moment, with a request that is on its way to us perhaps. Who has just come or
                // just been answered may be about to speak, and gets the time to; what it says is answered with `Connection: close`.
                let waits = match phase {
                    Phase::Busy => None,
                    Phase::Head(_) => Some(next),
                    Phase::Idle(since) => Some(since + TIME_TO_SPEAK).filter(|until| *until > now),
                };
                match waits {
                    Some(until) => next = next.min(until),
                    None => {
                        winds_down = true;
                        wind_down(Pin::new(&mut *connection));
                    }
                }
            }
            let deadline = match phase {
                Phase::Busy => None,
                Phase::Head(since) => Some((since + header_timeout, Ended::SlowHead)),
                Phase::Idle(since) if QUIET < idle_timeout && activity.can_park() => {
                    Some((since + QUIET, Ended::Quiet))
                }
                Phase::Idle(since) => Some((since + idle_timeout, Ended::Idle)),
            };
            let overdue = overdue.map(|overdue| (overdue, Ended::Overdue));
            for (deadline, ended) in deadline.into_iter().chain(overdue) {
                if deadline <= now {
                    return ended;
                }
                next = next.min(deadline);
            }
            look.as_mut().reset(next);
        }
    }
}

/// Ready when a request is being answered. It asks nobody to be woken: whatever begins a request wakes the connection, beside which this is
/// polled.
async fn busy(activity: &Activity) {
    poll_fn(|_| if activity.is_busy() { Poll::Ready(()) } else { Poll::Pending }).await;
}
