//! Bytes → a request we know the facts about: connections, TLS, framing, limits, and who is calling for what.
//!
//! A request reaches its [`Handler`] only when its head is one that all readers understand alike. [`target::target`] and [`peer::caller`] then say
//! what was asked for and by whom; nothing here looks at credentials. Nothing here knows the gateway either: it is a handler.
//!
//! Every wait has an end. Handshake: `handshake_timeout`. A head, from its first byte: `header_timeout`. No request: `idle_timeout`, a
//! silent new connection included. A body without a byte, a response that is not read: `idle_timeout`. A body that trickles, or is
//! read in sips: `least_rate`. After the stop signal: `grace`.

mod activity;
mod answer;
pub mod backlog;
pub mod body;
pub mod certificate;
mod chunked;
pub mod connection;
pub mod door;
mod forwarded;
mod frames;
mod framing;
pub mod head;
mod http1;
mod listening;
pub mod peer;
mod proxy_protocol;
pub mod refusal;
mod reported;
pub mod room;
mod service;
pub mod site;
mod slots;
mod stall;
pub mod target;
pub mod tls;
pub mod tunnel;
mod xfcc;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::backlog::Socket;
use self::body::CallerBody;
use self::connection::{LINGER, Session};
use self::door::TurnedAway;
use self::peer::Peer;
use self::refusal::Refusal;
use self::tunnel::Tunnel;
use crate::clock::Lapse;

pub use self::listening::Listening;
use self::listening::Transport;

/// The first and the longest pause after the system refused to give us a connection.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How a request is answered.
#[derive(Debug)]
pub enum Reply<B> {
    /// In HTTP.
    Answer(Response<B>),
    /// With 101, and behind it another protocol (RFC 9110 §7.8). Only for an HTTP/1.1 request that asked for one and has no body.
    Switch(Response<B>, Tunnel),
}

impl<B> Reply<B> {
    /// The headers of the answer, whichever it is.
    pub fn headers_mut(&mut self) -> &mut http::HeaderMap {
        match self {
            Reply::Answer(response) | Reply::Switch(response, _) => response.headers_mut(),
        }
    }
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one request. Dropped unfinished when the caller goes away or the drain ends.
    fn handle(
        &self,
        request: Box<Request<CallerBody>>,
        session: Arc<Session>,
    ) -> impl Future<Output = Reply<Self::Body>> + Send;

    /// Hears of what was refused without being a request: for the log and the metrics. The answer is already chosen.
    fn refused(&self, refusal: Refusal, session: &Session) {
        tracing::debug!(peer = %session.peer, reason = refusal.label(), "refused before it was a request");
    }

    /// Hears of a connection that was closed before it could carry a request.
    fn turned_away(&self, why: TurnedAway, peer: Peer, listener: &str) {
        tracing::debug!(%peer, listener, reason = why.label(), "a connection was closed at once");
    }
}

/// Serves one listener until `stop` is cancelled, then drains: no new connection, GOAWAY in HTTP/2, `Connection: close` in HTTP/1;
/// requests in flight get `grace`, and this returns when the last has ended or soon after `grace` is over. Connections that were open to us
/// when `stop` came are served, also where we had not accepted them yet: see [`backlog`].
///
/// Each new connection comes by what `listening` holds at that moment.
pub async fn serve<H: Handler>(
    socket: Socket,
    listening: Arc<ArcSwap<Listening>>,
    handler: Arc<H>,
    stop: CancellationToken,
    grace: Lapse,
) {
    let tasks = TaskTracker::new();
    let entrance = Entrance { listening, handler, tasks: &tasks, grace };
    entrance.take_in(socket, &stop).await;
    tasks.close();
    if tokio::time::timeout(entrance.grace.get() + LINGER * 2, tasks.wait()).await.is_err() {
        let name = Arc::clone(&entrance.listening.load().id.name);
        tracing::warn!(listener = &*name, tasks = tasks.len(), "connections outlived the drain");
    }
}

/// What new connections come in by.
struct Entrance<'t, H> {
    listening: Arc<ArcSwap<Listening>>,
    handler: Arc<H>,
    tasks: &'t TaskTracker,
    grace: Lapse,
}

impl<H: Handler> Entrance<'_, H> {
    /// Takes every connection that comes until `stop`, and those that have come by then.
    async fn take_in(&self, socket: Socket, stop: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut closed = pin!(async {
            stop.cancelled().await;
            socket.turn_away().await;
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut closed => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(connection) => {
                    pause = FIRST_PAUSE;
                    if !self.admit(connection, stop).await {
                        return;
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: asking again at once would only burn the processor that could free some.
                    let name = Arc::clone(&self.listening.load().id.name);
                    tracing::warn!(listener = &*name, %error, "no connection can be accepted");
                    tokio::select! { () = &mut closed => break, () = tokio::time::sleep(pause) => {} }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        while let Some(Ok(connection)) = socket.queued().await {
            if !self.admit(connection, stop).await {
                return;
            }
        }
    }

    /// Serves a connection once there is a slot for it. `false` when none can be had any more.
    ///
    /// With every slot taken this one connection waits here and the rest in the system's queue. Closing them instead would make clients come back
    /// at once; and the slots come free by themselves, since no connection idles for ever.
    async fn admit(&self, (stream, peer): (TcpStream, SocketAddr), stop: &CancellationToken) -> bool {
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(self.grace.get()).await;
        };
        let listening = self.listening.load_full();
        // Before a slot is waited for: whoever is not taken keeps nobody waiting.
        let taken = match listening.door.look(peer) {
            Ok(taken) => taken,
            Err(why) => {
                self.handler.turned_away(why, Peer::Direct(peer), &listening.id.name);
                return true;
            }
        };
        let slot = tokio::select! { biased; slot = listening.room.slot() => slot, () = over => None };
        let Some(slot) = slot else { return false };
        // Looked up again after the wait, which may have been long.
        let listening = self.listening.load_full();
        // A token of its own for each connection: waiting on the shared one takes its lock every time a connection wakes.
        let stop = listening.ending.child_token();
        let (handler, tasks, grace) = (Arc::clone(&self.handler), self.tasks.clone(), self.grace.clone());
        self.tasks.spawn(async move {
            connection::serve(stream, taken, listening, handler, tasks, stop, grace).await;
            drop(slot);
        });
        true
    }
}

/// Whether an error of `accept` is about a connection that ended before we got to it.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
