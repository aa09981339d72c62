//! What the requests of a listener are judged by, apart from what its connections are carried by.
//!
//! A connection outlives a reload and a request does not. Were these settings kept with the connection, a caller could go on under the old
//! ones for as long as it keeps the connection; so they belong to the configuration of the moment, and are looked up once for each request.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::connection::Session;
use super::peer::Peer;
use crate::config::{ClientCertificateHeader, ForwardedHeader, Listener};
use crate::verify::htu::Origin;
use crate::verify::rejection::Rejection;

/// What one listener serves, and whom it believes.
#[derive(Debug)]
pub struct Site {
    listener: String,
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
            listener: listener.name.clone(),
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

    /// The site of the listener that a session came in by.
    ///
    /// # Errors
    /// [`Rejection::HostUnknown`] when there is no such listener any more: nothing is served there, and no other listener speaks for it.
    pub fn of(&self, session: &Session) -> Result<&Site, Rejection> {
        // There are a few listeners at most, so looking is cheaper than hashing.
        self.0.iter().find(|site| *site.listener == *session.listener).ok_or(Rejection::HostUnknown)
    }
}
