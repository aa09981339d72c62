//! Bytes → a request we know the facts about: connections, TLS, framing, limits, and who is calling for what.
//!
//! A request reaches its [`Handler`] only when its head is one that all readers understand alike. [`target::target`] and [`peer::caller`] then say
//! what was asked for and by whom; nothing here looks at credentials. Nothing here knows the gateway either: it is a handler.
//!
//! Every wait has an end. Handshake: `handshake_timeout`. A head, from its first byte: `header_timeout`. No request: `idle_timeout`, a
//! silent new connection included. A body without a byte, a response that is not read: `idle_timeout`. After the stop signal: `grace`.

mod activity;
mod answer;
pub mod body;
pub mod certificate;
mod chunked;
pub mod connection;
pub mod door;
mod forwarded;
mod frames;
mod framing;
pub mod head;
pub mod peer;
mod proxy_protocol;
pub mod refusal;
mod reported;
pub mod room;
pub mod site;
mod stall;
pub mod target;
pub mod tls;
mod xfcc;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::body::CallerBody;
use self::connection::{LINGER, Session};
use self::door::{Door, TurnedAway};
use self::peer::Peer;
use self::refusal::Refusal;
use self::room::Room;
use self::tls::TlsFault;
use crate::config::{Limits, Listener, ListenerTls};

/// The first and the longest pause after the system refused to give us a connection.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one request. Dropped unfinished when the caller goes away or the drain ends.
    fn handle(
        &self,
        request: Request<CallerBody>,
        session: Arc<Session>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Hears of what was refused without being a request: for the log and the metrics. The answer is already chosen.
    fn refused(&self, refusal: Refusal, session: &Session) {
        tracing::debug!(peer = %session.peer, reason = refusal.label(), "refused before it was a request");
    }

    /// Hears of a connection that was closed before it could carry a request.
    fn turned_away(&self, why: TurnedAway, peer: Peer, listener: &str) {
        tracing::debug!(%peer, listener, reason = why.label(), "a connection was closed at once");
    }
}

/// What the connections of one listener are carried by. What their requests are judged by is the listener's [`site::Site`].
pub struct Listening {
    /// `name`
    pub name: Arc<str>,
    /// `limits`
    pub limits: Limits,
    transport: Transport,
    door: Door,
    room: Arc<Room>,
    keeps_certificates: bool,
}

/// How a listener's connections are carried.
enum Transport {
    Plaintext,
    Tls(TlsAcceptor),
}

impl Listening {
    /// Prepares `listener`. `room` is one for all listeners.
    ///
    /// # Errors
    /// What TLS cannot do with the settings; a checked configuration has none of it.
    pub fn new(listener: &Listener, limits: Limits, room: Arc<Room>) -> Result<Self, TlsFault> {
        let transport = match &listener.tls {
            ListenerTls::Plaintext => Transport::Plaintext,
            ListenerTls::Tls(settings) => {
                Transport::Tls(TlsAcceptor::from(Arc::new(tls::server_config(settings)?)))
            }
        };
        Ok(Self {
            name: Arc::from(listener.name.as_str()),
            limits,
            transport,
            door: Door::new(listener, Arc::clone(&room), limits.connections_per_address),
            room,
            keeps_certificates: listener.keeps_certificates,
        })
    }
}

/// Serves one listener until `stop` is cancelled, then drains: no new connection, GOAWAY in HTTP/2, `Connection: close` in HTTP/1;
/// requests in flight get `grace`, and this returns when the last has ended or soon after `grace` is over.
pub async fn serve<H: Handler>(
    socket: TcpListener,
    listener: Arc<Listening>,
    handler: Arc<H>,
    stop: CancellationToken,
    grace: Duration,
) {
    let tasks = TaskTracker::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = FIRST_PAUSE;
                // Before a slot is waited for: whoever is not taken keeps nobody waiting.
                let taken = match listener.door.look(address) {
                    Ok(taken) => taken,
                    Err(why) => {
                        handler.turned_away(why, Peer::Direct(address), &listener.name);
                        continue;
                    }
                };
                // With every slot taken this one connection waits here and the rest in the system's queue. Closing them instead would
                // make clients come back at once; and the slots come free by themselves, since no connection idles for ever.
                let slot = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    slot = listener.room.slot() => slot,
                };
                let Some(slot) = slot else { break };
                // A token of its own for each connection: waiting on the shared one takes its lock every time a connection wakes.
                let stop = stop.child_token();
                let (listener, handler, tracker) =
                    (Arc::clone(&listener), Arc::clone(&handler), tasks.clone());
                tasks.spawn(async move {
                    connection::serve(stream, taken, listener, handler, tracker, stop, grace).await;
                    drop(slot);
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: asking again at once would only burn the processor that could free some.
                tracing::warn!(listener = &*listener.name, %error, "no connection can be accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(socket);
    tasks.close();
    if tokio::time::timeout(grace + LINGER * 2, tasks.wait()).await.is_err() {
        tracing::warn!(listener = &*listener.name, tasks = tasks.len(), "connections outlived the drain");
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
