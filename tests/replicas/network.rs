//! Two hosts, as network namespaces, with a cable between them that can be cut.
//!
//! ```text
//!    left  .1 ———— store ———— .2  right
//!      .6                         .10
//!        \— callers and upstream —/       (.5 and .9, here)
//! ```
//!
//! What is cut is the cable between the two alone. Callers reach both sides all the time, which is what makes a partition dangerous.

use std::net::{IpAddr, Ipv4Addr};

use crate::Outcome;
use crate::leftovers::{CABLE, NAMESPACE};
use crate::program::run;

/// A station that is not there: what is sent to it is lost without a word, as in a network that has broken down. An interface that is taken down would say so.
const NOBODY: &str = "02:00:00:00:00:99";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

pub(crate) struct Network {
    left: String,
    right: String,
}

/// An address of this run, of 16 that differ between rigs that run at once. They are of the network for tests, 198.18.0.0/15 (RFC 2544), which is nobody's: a machine's own is often
/// in 10.0.0.0/8.
fn address(last: u32) -> IpAddr {
    let run = std::process::id() % (1 << 13);
    IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + 16 * run + last))
}

impl Side {
    fn number(self) -> u32 {
        match self {
            Self::Left => 1,
            Self::Right => 2,
        }
    }

    /// Our end of the cable to this side.
    fn cable(self) -> String {
        format!("{CABLE}{}-{}", std::process::id(), self.number())
    }

    /// Where servers of this side are, for the other side too.
    pub(crate) fn store(self) -> IpAddr {
        address(self.number())
    }

    /// Where callers reach the gateways of this side.
    pub(crate) fn front(self) -> IpAddr {
        address(4 * self.number() + 2)
    }

    /// Where the gateways of this side reach the upstream.
    pub(crate) fn back(self) -> IpAddr {
        address(4 * self.number() + 1)
    }
}

/// The addresses that servers need in their certificate.
pub(crate) fn names() -> [String; 2] {
    [Side::Left, Side::Right].map(|side| side.store().to_string())
}

impl Network {
    /// Makes the two hosts. It needs root.
    pub(crate) fn new() -> Outcome<Self> {
        let id = std::process::id();
        let network = Self { left: format!("{NAMESPACE}{id}-left"), right: format!("{NAMESPACE}{id}-right") };
        network.make().map_err(|error| format!("no network namespaces here, which need root: {error}"))?;
        Ok(network)
    }

    fn make(&self) -> Outcome<()> {
        for side in [Side::Left, Side::Right] {
            ip(&["netns", "add", self.namespace(side)])?;
            self.within(side, &["link", "set", "lo", "up"])?;
        }
        let cable = ["link", "add", "store", "netns", &self.left, "type", "veth", "peer", "name", "store"];
        ip(&[&cable[..], &["netns", &self.right]].concat())?;
        for side in [Side::Left, Side::Right] {
            let here = side.cable();
            let peer = ["type", "veth", "peer", "name", "front", "netns", self.namespace(side)];
            ip(&[&["link", "add", &here], &peer[..]].concat())?;
            ip(&["address", "add", &format!("{}/30", side.back()), "dev", &here])?;
            ip(&["link", "set", &here, "up"])?;
            for (device, address) in [("front", side.front()), ("store", side.store())] {
                self.within(side, &["address", "add", &format!("{address}/30"), "dev", device])?;
                self.within(side, &["link", "set", device, "up"])?;
            }
        }
        Ok(())
    }

    pub(crate) fn namespace(&self, side: Side) -> &str {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// From now on nothing that one side sends reaches the other.
    pub(crate) fn cut(&self) -> Outcome<()> {
        for (side, other) in [(Side::Left, Side::Right), (Side::Right, Side::Left)] {
            let to = other.store().to_string();
            self.within(
                side,
                &["neighbour", "replace", &to, "lladdr", NOBODY, "dev", "store", "nud", "permanent"],
            )?;
        }
        Ok(())
    }

    pub(crate) fn mend(&self) -> Outcome<()> {
        for (side, other) in [(Side::Left, Side::Right), (Side::Right, Side::Left)] {
            self.within(side, &["neighbour", "delete", &other.store().to_string(), "dev", "store"])?;
        }
        Ok(())
    }

    fn within(&self, side: Side, words: &[&str]) -> Outcome<()> {
        ip(&[&["-n", self.namespace(side)], words].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // One may be missing, where making them failed. A cable would go with its namespace too, but some time later, and the next network has the same names and addresses.
        for side in [Side::Left, Side::Right] {
            let _ = ip(&["link", "delete", &side.cable()]);
            let _ = ip(&["netns", "delete", self.namespace(side)]);
        }
    }
}

fn ip(words: &[&str]) -> Outcome<()> {
    run(&[&["ip"], words].concat(), &[]).map(drop)
}
