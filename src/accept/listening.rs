//! What the connections of one listener are carried by, and what follows on it when the configuration changes.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::room::Room;
use super::site::ListenerId;
use super::tls::{Tls, TlsFault};
use crate::config::{Limits, Listener, ListenerTls};

/// What the connections of one listener are carried by. What their requests are judged by is the listener's [`Site`](super::site::Site).
pub struct Listening {
    /// Which listener it is.
    pub id: Arc<ListenerId>,
    /// `limits`
    pub limits: Limits,
    pub(super) transport: Transport,
    pub(super) door: Door,
    pub(super) room: Arc<Room>,
    pub(super) keeps_certificates: bool,
    /// Asks the connections that came by these settings, or by ones that they go on from, to end.
    pub(super) ending: CancellationToken,
}

/// How a listener's connections are carried.
pub(super) enum Transport {
    Plaintext,
    Tls(Tls),
}

impl Listening {
    /// Prepares `listener`. `room` is one for all listeners; when `stop` is cancelled its connections are asked to end.
    ///
    /// # Errors
    /// What TLS cannot do with the settings; a checked configuration has none of it.
    pub fn new(
        listener: &Listener,
        limits: Limits,
        room: Arc<Room>,
        stop: &CancellationToken,
    ) -> Result<Self, TlsFault> {
        let transport = match &listener.tls {
            ListenerTls::Plaintext => Transport::Plaintext,
            ListenerTls::Tls(settings) => Transport::Tls(Tls::new(settings)?),
        };
        Ok(Self::over(transport, listener, limits, room, stop))
    }

    /// What follows on these settings at the same address: for new connections, while those there are go on. Sessions can be resumed as
    /// before, unless client certificates are judged otherwise now; and then the old connections are to be asked to end as well: see
    /// [`Listening::give_way_to`].
    ///
    /// # Errors
    /// As [`Listening::new`].
    pub fn followed_by(
        &self,
        listener: &Listener,
        limits: Limits,
        stop: &CancellationToken,
    ) -> Result<Self, TlsFault> {
        let room = Arc::clone(&self.room);
        let mut next = match (&self.transport, &listener.tls) {
            (Transport::Tls(before), ListenerTls::Tls(settings)) => {
                let transport = Transport::Tls(before.followed_by(settings)?);
                Self::over(transport, listener, limits, room, stop)
            }
            (Transport::Plaintext, _) | (_, ListenerTls::Plaintext) => {
                Self::new(listener, limits, room, stop)?
            }
        };
        if self.judges_like(&next) {
            next.ending = self.ending.clone();
        }
        Ok(next)
    }

    fn over(
        transport: Transport,
        listener: &Listener,
        limits: Limits,
        room: Arc<Room>,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            id: Arc::new(ListenerId::of(listener)),
            limits,
            transport,
            door: Door::new(listener, Arc::clone(&room), limits.connections_per_address),
            room,
            keeps_certificates: listener.keeps_certificates,
            ending: stop.child_token(),
        }
    }

    /// Whether a connection to `other` would be known by the same things: the same listener, the same judgement of client certificates, the same
    /// belief in PROXY headers.
    fn judges_like(&self, other: &Self) -> bool {
        self.id.name == other.id.name
            && self.keeps_certificates == other.keeps_certificates
            && self.door.believes_like(&other.door)
            && match (&self.transport, &other.transport) {
                (Transport::Plaintext, Transport::Plaintext) => true,
                (Transport::Tls(one), Transport::Tls(other)) => one.judges_like(other),
                (Transport::Plaintext, Transport::Tls(_)) | (Transport::Tls(_), Transport::Plaintext) => {
                    false
                }
            }
    }

    /// Asks its connections to end in order if what is known of them was judged otherwise than `next` would: a CA that is no longer trusted, a
    /// certificate that is now required, or a proxy that is no longer believed would otherwise be without effect for as long as a caller keeps
    /// a connection. To be called once `next` is in its place.
    pub fn give_way_to(&self, next: &Self) {
        if !self.judges_like(next) {
            self.ending.cancel();
        }
    }
}
