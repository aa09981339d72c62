//! How many connections there may be: over all listeners, and from one address.
//!
//! Whoever is over the share of one address is closed at once, before TLS, which is the dear part; whoever comes when all places are
//! taken waits. An address is counted for as long as it has a connection, so nothing grows that connections do not bound.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::slots::{Slot, Slots};
use crate::config::Limits;

/// The places for connections, shared by all listeners.
#[derive(Debug)]
pub struct Room {
    slots: Arc<Slots>,
    addresses: DashMap<Neighbourhood, usize>,
}

/// What counts as one address: an IPv4 address, or the 64 bits of an IPv6 address that one customer is given at least (RFC 6177), of
/// which it can use any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbourhood(IpAddr);

impl Neighbourhood {
    /// The one that an address is in.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// A place among those of one address; free again when this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Place {
    room: Arc<Room>,
    neighbourhood: Neighbourhood,
}

impl Room {
    /// Room for `limits.connections`.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { slots: Slots::new(limits.connections), addresses: DashMap::new() })
    }

    /// Waits for one of the places for all. `None` when there are none any more.
    pub(super) async fn slot(&self) -> Option<Slot> {
        self.slots.take().await
    }

    /// Changes `limits.connections`. Connections beyond a smaller number stay; no more come until there is room. One caller at a time.
    pub fn resize(&self, connections: usize) {
        self.slots.resize(connections);
    }

    /// A place for one connection more from `address`, unless it has `limit` already.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Place> {
        let neighbourhood = Neighbourhood::of(address);
        let mut count = self.addresses.entry(neighbourhood).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(count);
        Some(Place { room: Arc::clone(self), neighbourhood })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An address that has gone leaves nothing behind.
        if let Entry::Occupied(mut count) = self.room.addresses.entry(self.neighbourhood) {
            match *count.get() {
                0 | 1 => drop(count.remove()),
                more => *count.get_mut() = more - 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::limits;
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let room = Room::new(&limits());
        let take = |address: &str| room.place(address.parse().expect("an address"), 2);
        let kept = [take("192.0.2.1"), take("::ffff:192.0.2.1")];
        assert!(kept.iter().all(Option::is_some) && take("192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        let six = [take("2001:db8:1:2::1"), take("2001:db8:1:2:ffff::")];
        assert!(six.iter().all(Option::is_some) && take("2001:db8:1:2::3").is_none());
        assert!(take("2001:db8:1:3::1").is_some());
        assert_eq!(room.addresses.len(), 2);
        drop(kept);
        assert!(take("192.0.2.1").is_some());
        drop(six);
        assert_eq!(room.addresses.len(), 0);
    }
}
