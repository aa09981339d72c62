//! Which of a cluster's nodes has which keys: hash slots, by the rule of the Redis Cluster Specification ("Key distribution model", "Hash tags").

use super::connect::announced;
use super::resp::Reply;
use crate::config::RedisEndpoint;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16_384;
/// As many masters as a cluster has, by its specification. Each is connected to, so a node that tells of more could use up our connections.
const MASTERS: usize = 1_000;

/// What all keys begin with, hashed once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed(u16);

impl Hashed {
    /// A beginning without braces, which `replay.redis.prefix` has none of.
    pub(super) fn beginning(prefix: &str) -> Self {
        Self(crc16(0, prefix.as_bytes()))
    }

    /// The slot of a key that goes on with this: CRC-16 of what is between its first `{` and the next `}`, or of all of it where there is no such pair, or nothing between.
    ///
    /// Keys of ours end in bytes that may be anything, so this must be the very rule: a claim for a slot that a node does not have is refused by it.
    pub(super) fn slot(self, rest: &[u8]) -> u16 {
        let crc = tag(rest).map_or_else(|| crc16(self.0, rest), |tag| crc16(0, tag));
        crc % SLOTS
    }
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let behind = &key[memchr::memchr(b'{', key)? + 1..];
    let close = memchr::memchr(b'}', behind)?;
    (close > 0).then(|| &behind[..close])
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, from 0. `crc` is that of what comes before.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// A hash tag with its braces that lies in this slot, for keys that have to be on a certain node. It takes some ten thousand tries, and the work is bounded.
pub(super) fn tag_in(wanted: u16) -> Option<String> {
    // Four digits of base 36 are a hundred times as many names as slots: one that lies in none would be a wonder.
    let mut name = [b'0'; 4];
    loop {
        if crc16(0, &name) % SLOTS == wanted {
            return Some(format!("{{{}}}", name.escape_ascii()));
        }
        // The next name; the first digit counts fastest.
        let digit = name.iter_mut().find_map(|digit| match *digit {
            b'z' => {
                *digit = b'0';
                None
            }
            b'9' => Some(std::mem::replace(digit, b'a')),
            _ => {
                *digit += 1;
                Some(*digit)
            }
        });
        digit?;
    }
}

/// Which master has which slots, as one node told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// The masters that have slots, each once.
    masters: Vec<RedisEndpoint>,
    /// For each slot the place of its master among these; [`NOBODY`] where none has it.
    owners: Box<[u16]>,
}

/// No master has this slot.
const NOBODY: u16 = u16::MAX;

impl SlotMap {
    /// A map in which nobody has anything.
    pub(super) fn new() -> Self {
        Self { masters: Vec::new(), owners: vec![NOBODY; usize::from(SLOTS)].into() }
    }

    /// Gives the slots from `first` to `last`, both included, to `master`. `None`, and nothing happens, where these are no slots, or one of them is given already.
    pub(super) fn give(&mut self, first: u16, last: u16, master: &RedisEndpoint) -> Option<()> {
        let owners = self.owners.get_mut(usize::from(first)..=usize::from(last))?;
        if owners.is_empty() || owners.iter().any(|owner| *owner != NOBODY) {
            return None;
        }
        let known = self.masters.iter().position(|known| known == master);
        // A cluster has a thousand nodes at most.
        let place =
            u16::try_from(known.unwrap_or(self.masters.len())).ok().filter(|place| *place != NOBODY)?;
        owners.fill(place);
        if known.is_none() {
            self.masters.push(master.clone());
        }
        Some(())
    }

    /// Reads what `CLUSTER SLOTS` gives: ranges of slots, each with its master and then its replicas. `asked` is where it was asked: a node that does not know
    /// its own address leaves it out. `None`: it is no such thing, or says of a slot that two have it.
    pub(super) fn read(reply: &Reply<'_>, asked: &RedisEndpoint) -> Option<Self> {
        let Reply::Array(ranges) = reply else { return None };
        let mut ranges: Vec<_> =
            ranges.iter().map(|range| read_range(range, asked)).collect::<Option<_>>()?;
        // Nodes may name them in any order; what says the same has to be the same.
        ranges.sort_unstable();
        let mut map = Self::new();
        for (first, last, master) in &ranges {
            map.give(*first, *last, master)?;
            if map.masters.len() > MASTERS {
                return None;
            }
        }
        Some(map)
    }

    /// The place among [`masters`](Self::masters) of the one that has a slot; `None` where nobody has it, or it is none.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        let place = usize::from(*self.owners.get(usize::from(slot))?);
        (place < self.masters.len()).then_some(place)
    }

    /// Who has a slot.
    pub(super) fn master_of(&self, slot: u16) -> Option<&RedisEndpoint> {
        self.masters.get(self.owner(slot)?)
    }

    /// The masters.
    pub(super) fn masters(&self) -> &[RedisEndpoint] {
        &self.masters
    }

    /// Whether every slot is some master's.
    pub(super) fn is_whole(&self) -> bool {
        self.owners.iter().all(|owner| usize::from(*owner) < self.masters.len())
    }

    /// The place of a master.
    fn place(&self, master: &RedisEndpoint) -> Option<usize> {
        self.masters.iter().position(|known| known == master)
    }

    /// The last slot of a master that lies before `end`; else its last one. The last, since tools that move slots begin with the first.
    pub(super) fn last_slot_of(&self, master: &RedisEndpoint, end: u16) -> Option<u16> {
        let place = self.place(master)?;
        let has = |slot: &u16| self.owner(*slot) == Some(place);
        (0..end.min(SLOTS)).rev().find(has).or_else(|| (0..SLOTS).rev().find(has))
    }

    /// The last slot that came without its keys, for all we know, to `master`, which had others: from one of those that are `lost`, by their places in the map of before, or from
    /// nobody. Where keys are moved, the old master is there and answers. A repair gives the slots of a lost one to others, one after the other, and lets them be nobody's in between.
    pub(super) fn inherited(&self, before: &Self, master: &RedisEndpoint, lost: &[bool]) -> Option<u16> {
        let (own, place) = (before.place(master)?, self.place(master)?);
        let is_lost = |old: usize| old != own && lost.get(old).is_none_or(|lost| *lost);
        let is_heir =
            |slot: &u16| self.owner(*slot) == Some(place) && before.owner(*slot).is_none_or(is_lost);
        (0..SLOTS).rev().find(is_heir)
    }
}

/// One of the ranges: its first slot, its last and its master.
fn read_range(range: &Reply<'_>, asked: &RedisEndpoint) -> Option<(u16, u16, RedisEndpoint)> {
    let Reply::Array(parts) = range else { return None };
    let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [host, Reply::Integer(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Reply::Bulk(b"" | b"?") | Reply::Nil => asked.host.as_bytes(),
        Reply::Bulk(host) => host,
        _ => return None,
    };
    let master = announced(host, u16::try_from(*port).ok()?)?;
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, master))
}

#[cfg(test)]
mod tests {
    use super::{Hashed, SLOTS, SlotMap, crc16, tag_in};
    use crate::config::RedisEndpoint;
    use crate::replay::redis::resp::Reply;

    fn at(port: u16) -> RedisEndpoint {
        RedisEndpoint { host: "127.0.0.1".into(), port }
    }

    /// The figures are those of the specification and of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(0, b"123456789"), 0x31c3);
        for (key, expected) in [
            (&b"foo"[..], 12182),
            (b"", 0),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"user1000", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"{bar", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"bar", 5061),
        ] {
            assert_eq!(Hashed::beginning("").slot(key), expected, "{}", key.escape_ascii());
            // Part of it may be hashed before, as long as it has no brace.
            let plain = key.iter().position(|byte| *byte == b'{').unwrap_or(key.len());
            for (begins, rest) in (0..=plain).map(|at| key.split_at(at)) {
                let begins = std::str::from_utf8(begins).expect("text");
                assert_eq!(Hashed::beginning(begins).slot(rest), expected, "{begins}");
            }
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for wanted in (0..SLOTS).step_by(401).chain([SLOTS - 1]) {
            let tag = tag_in(wanted).expect("one of a million names");
            assert_eq!(Hashed::beginning("hf:since").slot(tag.as_bytes()), wanted);
        }
    }

    #[test]
    fn a_map_says_who_has_what() {
        let mut map = SlotMap::new();
        assert_eq!(map.master_of(0), None);
        assert_eq!(map.give(0, 5, &at(1)), Some(()));
        assert_eq!(map.give(6, 6, &at(2)), Some(()));
        assert_eq!(map.give(7, SLOTS - 1, &at(1)), Some(()));
        for (first, last) in [(3, 2), (4, 2), (3, SLOTS), (SLOTS, SLOTS), (3, 3), (0, SLOTS - 1)] {
            assert_eq!(map.give(first, last, &at(3)), None, "{first} to {last}");
        }
        assert_eq!(map.masters(), [at(1), at(2)]);
        assert_eq!(
            (map.master_of(5), map.master_of(6), map.master_of(7)),
            (Some(&at(1)), Some(&at(2)), Some(&at(1)))
        );
        assert_eq!(
            (map.last_slot_of(&at(1), SLOTS), map.last_slot_of(&at(2), SLOTS)),
            (Some(SLOTS - 1), Some(6))
        );
        assert_eq!((map.last_slot_of(&at(1), 8), map.last_slot_of(&at(1), 7)), (Some(7), Some(5)));
        assert_eq!((map.last_slot_of(&at(2), 6), map.last_slot_of(&at(3), SLOTS)), (Some(6), None));
        assert_eq!((map.master_of(SLOTS), map.is_whole()), (None, true));
        let mut less = SlotMap::new();
        assert_eq!(less.give(1, SLOTS - 1, &at(1)), Some(()));
        assert!(!less.is_whole() && !SlotMap::new().is_whole());
    }

    /// What comes to an old master from one that is gone, or away, or from nobody, may have come without its keys.
    #[test]
    fn slots_that_may_have_lost_their_keys() {
        let of = |parts: &[(u16, u16, u16)]| {
            let mut map = SlotMap::new();
            for (first, last, port) in parts {
                map.give(*first, *last, &at(*port)).expect("slots that nobody has");
            }
            map
        };
        let before = of(&[(0, 99, 1), (100, 199, 2), (300, SLOTS - 1, 3)]);
        let inherited = |after: &SlotMap, away: Option<u16>| {
            let is_lost = |port| after.place(&at(port)).is_none() || away == Some(port);
            [1, 2, 3, 4].map(|port| after.inherited(&before, &at(port), &[1, 2, 3].map(is_lost)))
        };
        for away in [None, Some(1), Some(2), Some(3)] {
            assert_eq!(inherited(&before, away), [None; 4], "everybody has what it had");
        }
        let moved = of(&[(0, 150, 1), (151, 199, 2), (300, SLOTS - 1, 3)]);
        assert_eq!(inherited(&moved, None), [None; 4], "with their keys");
        assert_eq!(inherited(&moved, Some(1)), [None; 4], "from one that is there");
        assert_eq!(inherited(&moved, Some(2)), [Some(150), None, None, None], "the old one has others still");
        let promoted = of(&[(0, 99, 1), (100, 199, 4), (300, SLOTS - 1, 3)]);
        assert_eq!(inherited(&promoted, Some(2)), [None; 4], "a replica took over");
        let gone = of(&[(0, 150, 1), (151, 199, 3), (300, SLOTS - 1, 3)]);
        assert_eq!(inherited(&gone, None), [Some(150), None, Some(199), None]);
        let found = of(&[(0, 99, 1), (100, 250, 2), (300, SLOTS - 1, 3)]);
        assert_eq!(inherited(&found, None), [None, Some(250), None, None], "they were nobody's");
        assert_eq!(inherited(&SlotMap::new(), None), [None; 4]);
    }

    #[test]
    fn an_answer_of_a_cluster_is_read() {
        let read = |text: &[u8]| {
            let (reply, length) = Reply::read(text).expect("a reply");
            assert_eq!(length, text.len());
            SlotMap::read(&reply, &at(7))
        };
        let one = b"*3\r\n:0\r\n:9\r\n*3\r\n$9\r\n127.0.0.1\r\n:1\r\n$2\r\nid\r\n";
        let two = b"*4\r\n:10\r\n:16383\r\n*2\r\n$0\r\n\r\n:2\r\n*2\r\n$9\r\n127.0.0.1\r\n:3\r\n";
        let map = read(&[&b"*2\r\n"[..], one, two].concat()).expect("a map");
        assert_eq!(
            (map.master_of(9), map.master_of(10), map.masters().len()),
            (Some(&at(1)), Some(&at(2)), 2)
        );
        assert!(map.is_whole());
        assert_eq!(read(&[&b"*2\r\n"[..], two, one].concat()), Some(map), "in any order");
        assert_eq!(read(b"*0\r\n"), Some(SlotMap::new()));
        // A master that were left without a slot would have no lanes, and all behind it would be asked for another's proofs.
        let overlaps = b"*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:3\r\n";
        assert_eq!(read(&[&b"*3\r\n"[..], one, two, overlaps].concat()), None);
        assert_eq!(read(&[&b"*2\r\n"[..], one, one].concat()), None, "even if they agree");
        let of = |masters: usize| {
            let range = |slot| format!("*3\r\n:{slot}\r\n:{slot}\r\n*2\r\n$1\r\na\r\n:{}\r\n", slot + 1);
            let ranges: String = (0..masters).map(range).collect();
            read(format!("*{masters}\r\n{ranges}").as_bytes())
        };
        assert!(of(1_000).is_some() && of(1_001).is_none(), "more than a cluster has");
        for wrong in [
            &b"+OK\r\n"[..],
            b"*1\r\n:1\r\n",
            b"*1\r\n*0\r\n",
            b"*1\r\n*3\r\n:0\r\n:9\r\n*0\r\n",
            b"*1\r\n*3\r\n:-1\r\n:9\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:9\r\n:0\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:0\r\n",
            b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$3\r\na b\r\n:1\r\n",
        ] {
            assert_eq!(read(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
