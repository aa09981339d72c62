//! Whether a connection is taken at all, and who is at its other end: before TLS, from its address and its PROXY header alone.
//!
//! Whoever is not taken is closed without a word, since nothing has been said yet that a word could answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::peer::Peer;
use super::proxy_protocol::{self, Spoken, Unusable};
use super::room::{Place, Room};
use super::site::TrustedProxies;
use crate::config::{Listener, ProxyProtocol};

/// Why a connection was closed before it could carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// It came to a listener with `proxy_protocol: required` from somebody who is not one of `trusted_proxies`.
    NoProxy,
    /// Its address has `limits.connections_per_address` already.
    AddressFull,
    /// It was closed before a byte had come, as balancers do to see whether a port is open.
    Silent,
    /// It comes from a trusted proxy, and does not begin with a PROXY header that can be used.
    ProxyHeader(&'static str),
}

impl TurnedAway {
    /// The stable reason, for the log and the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            TurnedAway::NoProxy => "peer_not_a_proxy",
            TurnedAway::AddressFull => "connections_per_address",
            TurnedAway::Silent => "closed_at_once",
            TurnedAway::ProxyHeader(label) => label,
        }
    }
}

impl From<Unusable> for TurnedAway {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Nothing => TurnedAway::Silent,
            Unusable::Missing => TurnedAway::ProxyHeader("proxy_header_missing"),
            Unusable::Half => TurnedAway::ProxyHeader("proxy_header_half"),
            Unusable::TooLong => TurnedAway::ProxyHeader("proxy_header_too_long"),
            Unusable::Malformed => TurnedAway::ProxyHeader("proxy_header_malformed"),
            Unusable::Checksum => TurnedAway::ProxyHeader("proxy_header_checksum"),
            Unusable::Lost => TurnedAway::ProxyHeader("proxy_header_lost"),
        }
    }
}

/// What a listener asks of a connection that has just come.
pub(super) struct Door {
    proxies: TrustedProxies,
    proxy_protocol: ProxyProtocol,
    room: Arc<Room>,
    per_address: usize,
}

/// A connection that is taken: who is there, and its place among those of the address where these are counted.
pub(super) struct Taken {
    pub(super) peer: Peer,
    pub(super) place: Option<Place>,
}

impl Door {
    pub(super) fn new(listener: &Listener, room: Arc<Room>, per_address: usize) -> Self {
        let proxies = TrustedProxies::of(listener);
        Self { proxies, proxy_protocol: listener.proxy_protocol, room, per_address }
    }

    /// Whether PROXY headers are believed from the same peers.
    pub(super) fn believes_like(&self, other: &Self) -> bool {
        self.proxy_protocol == other.proxy_protocol
            && (self.proxy_protocol == ProxyProtocol::None || self.proxies == other.proxies)
    }

    /// The first look, at the TCP peer alone. Where a PROXY header has to come, it says later who is counted.
    pub(super) fn look(&self, address: SocketAddr) -> Result<Taken, TurnedAway> {
        let peer = Peer::Direct(address);
        match self.proxy_protocol {
            ProxyProtocol::None => Ok(Taken { peer, place: self.place(peer.ip())? }),
            ProxyProtocol::Required if self.proxies.contain(peer.ip()) => Ok(Taken { peer, place: None }),
            ProxyProtocol::Required => Err(TurnedAway::NoProxy),
        }
    }

    /// Hears whom the connection is for, where that is said, until `deadline`.
    pub(super) async fn hear(
        &self,
        taken: Taken,
        stream: &mut TcpStream,
        deadline: Instant,
    ) -> Result<Taken, TurnedAway> {
        let Peer::Direct(proxy) = taken.peer else { return Ok(taken) };
        if self.proxy_protocol == ProxyProtocol::None {
            return Ok(taken);
        }
        let spoken = timeout_at(deadline, proxy_protocol::read(stream)).await;
        match spoken.map_err(|_| TurnedAway::ProxyHeader("proxy_header_timeout"))?? {
            Spoken::ForNobody => Ok(Taken { peer: Peer::Unnamed(proxy), place: None }),
            Spoken::For(client) => {
                let peer = Peer::Reported(client);
                Ok(Taken { peer, place: self.place(peer.ip())? })
            }
        }
    }

    /// A place for one connection more. A trusted proxy has no number: its connections are those of all its callers.
    fn place(&self, address: IpAddr) -> Result<Option<Place>, TurnedAway> {
        if self.proxies.contain(address) {
            return Ok(None);
        }
        self.room.place(address, self.per_address).map(Some).ok_or(TurnedAway::AddressFull)
    }
}
