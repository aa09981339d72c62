//! Which of a cluster's nodes has which keys: hash slots, by the rule of the Redis Cluster Specification ("Key distribution model", "Hash tags").

use super::connect::announced;
use super::resp::Reply;
use crate::config::RedisEndpoint;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16_384;
/// As many masters as a cluster has, by its specification. Each is connected to, so a node that tells of more could use up our connections.
const MASTERS: usize = 1_000;

/// The slot of a key: CRC-16 of what is between its first `{` and the next `}`, or of all of it where there is no such pair, or nothing between.
///
/// Keys of ours end in bytes that may be anything, so this must be the very rule: a claim for a slot that a node does not have is refused by it.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
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
    (0..36_u32.pow(4))
        .map(name)
        .find(|name| slot(name.as_bytes()) == wanted)
        .map(|name| format!("{{{name}}}"))
}

fn name(number: u32) -> String {
    let mut rest = number;
    let mut text = String::with_capacity(6);
    while rest > 0 || text.is_empty() {
        text.extend(char::from_digit(rest % 36, 36));
        rest /= 36;
    }
    text
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

    /// Gives the slots from `first` to `last`, both included, to `master`. Nothing happens where these are no slots.
    pub(super) fn give(&mut self, first: u16, last: u16, master: &RedisEndpoint) {
        if first > last || last >= SLOTS {
            return;
        }
        let known = self.masters.iter().position(|known| known == master);
        let place = known.unwrap_or_else(|| {
            self.masters.push(master.clone());
            self.masters.len() - 1
        });
        // A cluster has a thousand nodes at most; nobody has what is beyond.
        let place = u16::try_from(place).unwrap_or(NOBODY);
        self.owners[usize::from(first)..=usize::from(last)].fill(place);
    }

    /// Reads what `CLUSTER SLOTS` gives: ranges of slots, each with its master and then its replicas. `asked` is where it was asked: a node that does not know
    /// its own address leaves it out. `None`: it is no such thing.
    pub(super) fn read(reply: &Reply<'_>, asked: &RedisEndpoint) -> Option<Self> {
        let Reply::Array(ranges) = reply else { return None };
        let mut map = Self::new();
        for range in ranges {
            let Reply::Array(parts) = range else { return None };
            let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = parts.as_slice()
            else {
                return None;
            };
            let [host, Reply::Integer(port), ..] = master.as_slice() else { return None };
            let host = match host {
                Reply::Bulk(b"" | b"?") | Reply::Nil => asked.host.as_bytes(),
                Reply::Bulk(host) => host,
                _ => return None,
            };
            let master = announced(host, u16::try_from(*port).ok()?)?;
            map.give(u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, &master);
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

    /// The last slot of a master that lies before `end`; else its last one. The last, since tools that move slots begin with the first.
    pub(super) fn last_slot_of(&self, master: &RedisEndpoint, end: u16) -> Option<u16> {
        let has = |slot: &u16| self.master_of(*slot) == Some(master);
        (0..end.min(SLOTS)).rev().find(has).or_else(|| (0..SLOTS).rev().find(has))
    }

    /// The last slot that `master`, which had others, has from one that is no master any more. It may have come without its keys: by a replica that takes over, a slot comes to a new master,
    /// and where keys are moved, most often the old one is still there.
    pub(super) fn inherited(&self, before: &Self, master: &RedisEndpoint) -> Option<u16> {
        let was_master = before.masters.contains(master);
        let is_heir = |slot: &u16| {
            self.master_of(*slot) == Some(master)
                && before
                    .master_of(*slot)
                    .is_some_and(|other| other != master && !self.masters.contains(other))
        };
        (0..SLOTS).rev().find(is_heir).filter(|_| was_master)
    }
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, SlotMap, crc16, slot, tag_in};
    use crate::config::RedisEndpoint;
    use crate::replay::redis::resp::Reply;

    fn at(port: u16) -> RedisEndpoint {
        RedisEndpoint { host: "127.0.0.1".into(), port }
    }

    /// The figures are those of the specification and of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
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
            assert_eq!(slot(key), expected, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for wanted in (0..SLOTS).step_by(401).chain([SLOTS - 1]) {
            let tag = tag_in(wanted).expect("one of a million names");
            assert_eq!(slot(format!("hf:since{tag}").as_bytes()), wanted);
        }
    }

    #[test]
    fn a_map_says_who_has_what() {
        let mut map = SlotMap::new();
        assert_eq!(map.master_of(0), None);
        map.give(0, 5, &at(1));
        map.give(6, 6, &at(2));
        map.give(7, SLOTS - 1, &at(1));
        map.give(3, 2, &at(3));
        map.give(3, SLOTS, &at(3));
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
        less.give(1, SLOTS - 1, &at(1));
        assert!(!less.is_whole() && !SlotMap::new().is_whole());
    }

    /// What comes to an old master from one that is gone may have come without its keys.
    #[test]
    fn slots_that_may_have_lost_their_keys() {
        let of = |parts: &[(u16, u16, u16)]| {
            let mut map = SlotMap::new();
            parts.iter().for_each(|(first, last, port)| map.give(*first, *last, &at(*port)));
            map
        };
        let before = of(&[(0, 99, 1), (100, 199, 2), (200, SLOTS - 1, 3)]);
        let inherited = |after: &SlotMap| [1, 2, 3, 4].map(|port| after.inherited(&before, &at(port)));
        assert_eq!(inherited(&before), [None; 4]);
        assert_eq!(inherited(&of(&[(0, 150, 1), (151, 199, 2), (200, SLOTS - 1, 3)])), [None; 4], "moved");
        assert_eq!(
            inherited(&of(&[(0, 99, 1), (100, 199, 4), (200, SLOTS - 1, 3)])),
            [None; 4],
            "a replica took over"
        );
        assert_eq!(inherited(&of(&[(0, 150, 1), (151, SLOTS - 1, 3)])), [Some(150), None, Some(199), None]);
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
        assert_eq!(read(b"*0\r\n"), Some(SlotMap::new()));
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
            b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:0\r\n",
            b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$3\r\na b\r\n:1\r\n",
        ] {
            assert_eq!(read(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
