//! What the requests of a listener are judged by, apart from what its connections are carried by.
//!
//! A connection outlives a reload and a request does not. Were these settings kept with the connection, a caller could go on under the old
//! ones for as long as it keeps the connection; so they belong to the configuration of the moment, and are looked up once for each request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::connection::Session;
use super::peer::Peer;
use crate::config::{ClientCertificateHeader, ForwardedHeader, Listener};
use crate::verify::htu::Origin;
use crate::verify::rejection::Rejection;

/// Which listener a connection came in by. It stays so for as long as the connection lasts, whatever a reload calls what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerId {
    /// `name`
    pub name: Arc<str>,
    /// `address`, as the configuration has it
    pub address: SocketAddr,
}

impl ListenerId {
    /// Who a listener of a configuration is.
    pub fn of(listener: &Listener) -> Self {
        Self { name: Arc::from(listener.name.as_str()), address: listener.address }
    }
}

/// What one listener serves, and whom it believes.
#[derive(Debug)]
pub struct Site {
    listener: ListenerId,
    /// `public_urls`: the origins that are served here
    pub origins: Vec<Arc<Origin>>,
    /// `client_certificate_header`
    pub client_certificate_header: ClientCertificateHeader,
    /// `forwarded_header`
    pub forwarded_header: ForwardedHeader,
    trusted_proxies: TrustedProxies,
}

/// `trusted_proxies` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(super) fn of(listener: &Listener) -> Self {
        Self(listener.trusted_proxies.clone())
    }

    /// Whether `address` is one of them. An IPv4 address that came through an IPv6 socket is the IPv4 address.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

impl Site {
    /// The site of a listener.
    pub fn new(listener: &Listener) -> Self {
        Self {
            listener: ListenerId::of(listener),
            origins: listener.origins.clone(),
            client_certificate_header: listener.client_certificate_header,
            forwarded_header: listener.forwarded_header,
            trusted_proxies: TrustedProxies::of(listener),
        }
    }

    /// Whether `address` is one of `trusted_proxies`. An IPv4 address that came through an IPv6 socket is the IPv4 address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.contain(address)
    }

    /// Whether what `peer` writes into its requests about their callers is believed.
    pub fn believes(&self, peer: Peer) -> bool {
        match peer {
            Peer::Direct(_) | Peer::Reported(_) => self.trusts(peer.ip()),
            // The address is that of a proxy which only passes bytes on, whoever wrote them.
            Peer::Unnamed(_) => false,
        }
    }
}

/// The sites of one configuration.
#[derive(Debug)]
pub struct Sites(Vec<Site>);

impl Sites {
    /// One for each listener.
    pub fn new(listeners: &[Listener]) -> Self {
        Self(listeners.iter().map(Site::new).collect())
    }

    /// The site of the listener that a session came in by. A listener is known by its name, so one that has moved is still the same.
    ///
    /// # Errors
    /// [`Rejection::HostUnknown`] when there is no such listener any more: nothing is served there, and no other listener speaks for it. So
    /// too when the address that the session came in by belongs to a listener of another name now: then the one of its own name, if there
    /// is one, may be quite another that took over the name, and its callers' hosts and its proxies are not this session's.
    pub fn of(&self, session: &Session) -> Result<&Site, Rejection> {
        let came = &*session.listener;
        // There are a few listeners at most, so looking is cheaper than hashing.
        let site =
            self.0.iter().find(|site| site.listener.name == came.name).ok_or(Rejection::HostUnknown)?;
        // With port 0 one address stands for many sockets, and says nothing.
        let is_taken =
            || came.address.port() != 0 && self.0.iter().any(|other| other.listener.address == came.address);
        if site.listener.address != came.address && is_taken() {
            return Err(Rejection::HostUnknown);
        }
        Ok(site)
    }
}
