//! Which memory a server has, and since when.
//!
//! Redis forgets: restarted empty or from an old snapshot, emptied by FLUSHALL, or when a replica is promoted that had not everything. So each memory is marked. The
//! marker is a key beside the claims, `<prefix>since`, whose value is the second in which the memory begins and the server it was written on. Where it is gone, or speaks
//! of another server or another run of it, the memory is another; so it is where it does not cover what we count on ([`Bounds`]); a new marker is written, and all proofs that may have been used before it are refused ([`Memory::line`]).
//!
//! The marker never expires, and there is one key for all servers that follow each other: a server that comes back finds the name of the one that was master
//! meanwhile, not its own old one.
//!
//! **No two memories begin in the same second.** A memory begins in the second after the one in which it is marked, and is not used before. So if it is lost after it was
//! used, the next begins later, and so does its line. That matters since a nonce may be sealed for the first second after the line while that is still to come: by
//! the line of the next memory it is too old.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use super::bounds::Bounds;
use super::clocks;
use super::link::Link;
use super::resp::Reply;
use super::trouble::{Trouble, said};
use crate::verify::time::UnixTime;

/// Which server, and which history of it: a restart changes the first part, a promotion the second, and a key that was evicted the third. A server may have been
/// let evict for a moment, and nobody knows which proofs that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    /// From `run_id`, `master_replid` and `evicted_keys` of INFO.
    pub(super) fn new(run: &[u8], replication: &[u8], evicted: &[u8]) -> Self {
        Self(format!("{}:{}:{}", said(run), said(replication), said(evicted)))
    }
}

/// What is known of memories before a server is asked for its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// The latest second in which any memory of the store began. A new one begins later.
    pub(super) latest: u64,
    /// The memory of this server begins no earlier. An earlier marker has come back (another server answered meanwhile, or a database was swapped), and what was claimed
    /// since is not in that memory.
    pub(super) least: u64,
}

/// The keys beside the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    marker: Vec<u8>,
    probe: Vec<u8>,
    prefix: String,
    tag: String,
}

impl Names {
    /// Those of a server. In a cluster they end in a hash tag, `{…}`, of a slot that the server has; elsewhere `tag` is empty.
    pub(super) fn new(prefix: &str, tag: &str) -> Self {
        let (marker, probe) = (format!("{prefix}since{tag}").into(), format!("{prefix}probe{tag}").into());
        Self { marker, probe, prefix: prefix.into(), tag: tag.into() }
    }

    /// The marker.
    pub(super) fn marker(&self) -> &[u8] {
        &self.marker
    }

    /// A key that nobody else writes, for what has to be done before it ends.
    fn proviso(&self) -> Vec<u8> {
        let own = RandomState::new().build_hasher().finish();
        format!("{}proviso:{own:x}{}", self.prefix, self.tag).into()
    }

    /// The write by which is seen that writes succeed. What it writes is gone in a second.
    pub(super) fn probing(&self) -> [&[u8]; 5] {
        [b"SET", &self.probe, b"1", b"PX", b"1000"]
    }
}

/// A memory, as long as its marker has this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// Whose it is.
    pub(super) identity: Identity,
    /// The key of the marker.
    pub(super) key: Vec<u8>,
    /// Its value.
    pub(super) value: Vec<u8>,
    /// The second since 1970 in which it begins, by the server's clock.
    pub(super) begins: u64,
    /// What its claims are kept by: not less than ours.
    pub(super) bounds: Bounds,
}

impl Memory {
    /// The memory of the server of this identity: the one that is marked, or a new one.
    ///
    /// # Errors
    /// [`Trouble`]
    pub(super) async fn find(
        link: &mut Link,
        names: &Names,
        identity: &Identity,
        known: Known,
        own: Bounds,
    ) -> Result<Self, Trouble> {
        let key = names.marker();
        let Known { latest, least } = known;
        if let Marked::Ours(memory) = Self::marked(link, key, identity, least, own).await? {
            return Ok(memory);
        }
        // Many replicas come here at the same moment, and each marker that replaced another would end what was begun under that one. So the look and the write are one
        // step: EXEC does nothing when the key was written in between.
        link.demand(&[b"WATCH", key]).await?;
        let (before, bounds) = match Self::marked(link, key, identity, least, own).await? {
            Marked::Ours(memory) => {
                link.demand(&[b"UNWATCH"]).await?;
                return Ok(memory);
            }
            Marked::Shorter(begins, bounds) => (begins.max(latest), bounds.joined(own)),
            Marked::Others(begins) => (begins.max(latest), own),
            Marked::Nothing => (latest, own),
        };
        // The line counts on it that the marker is there within `timeout` of the time in it, and what we send last may come later than that, or when we have long given up. So a key that
        // ends by then is watched too: EXEC does nothing once it has ended (redis.io, "Transactions": since Redis 6.0.9).
        let (proviso, patience) = (names.proviso(), link.timeout().as_millis().to_string());
        let marked = tokio::time::timeout(link.timeout(), async {
            link.demand(&[b"SET", &proviso, b"1", b"PX", patience.as_bytes()]).await?;
            link.demand(&[b"WATCH", &proviso]).await?;
            let now = clocks::seconds(&link.demand(&[b"TIME"]).await?).ok_or(Trouble::NotRedis)?;
            let begins = now.max(before).saturating_add(1);
            let value = format!("{begins}:{bounds}:{}", identity.0);
            link.demand(&[b"MULTI"]).await?;
            link.demand(&[b"SET", key, value.as_bytes()]).await?;
            // Written, or too late, or somebody else was first (nil). What is there now is looked at in both cases.
            link.demand(&[b"EXEC"]).await.map(drop)
        });
        marked.await.map_err(|_| Trouble::Late)??;
        match Self::marked(link, key, identity, least, own).await? {
            Marked::Ours(memory) => Ok(memory),
            Marked::Shorter(..) | Marked::Others(_) | Marked::Nothing => Err(Trouble::MemoryLost),
        }
    }

    async fn marked(
        link: &mut Link,
        key: &[u8],
        identity: &Identity,
        least: u64,
        own: Bounds,
    ) -> Result<Marked, Trouble> {
        match link.demand(&[b"GET", key]).await? {
            Reply::Bulk(value) => Ok(Marked::read(key, value, identity, least, own)),
            Reply::Nil => Ok(Marked::Nothing),
            _ => Err(Trouble::NotRedis),
        }
    }

    /// Up to this second, itself included, a proof may have been used before this memory began.
    ///
    /// The last such use was before the marker was written, which was at most the longest `timeout` after the time in it. Its gateway's clock, by which the
    /// proof was dated or its nonce sealed, was at most `clock_difference` ahead of the server it was claimed at, and that server's at most as much ahead of this one's. All
    /// replicas get the same line from the same marker: our own clock has no part in it.
    pub(super) fn line(&self) -> UnixTime {
        let Bounds { clock_difference, timeout, .. } = self.bounds;
        let (clock_difference, timeout) =
            (Duration::from_millis(clock_difference), Duration::from_millis(timeout));
        let after = timeout.saturating_add(clock_difference.saturating_mul(2));
        let line = Duration::from_secs(self.begins).saturating_add(after);
        let whole = i64::try_from(line.as_secs()).unwrap_or(i64::MAX);
        UnixTime::from_seconds(whole).plus(i64::from(line.subsec_nanos() > 0))
    }
}

/// What the key of the marker holds.
#[derive(Debug, PartialEq, Eq)]
enum Marked {
    /// The marker of the server that was asked, for its history as it is.
    Ours(Memory),
    /// The same, with bounds that are not enough for us; and the second in which that memory began.
    Shorter(u64, Bounds),
    /// One that was written on another server, or before a restart, or that has come back, with the second in which that memory began.
    Others(u64),
    /// No marker.
    Nothing,
}

impl Marked {
    fn read(key: &[u8], value: &[u8], identity: &Identity, least: u64, own: Bounds) -> Self {
        let mut parts = std::str::from_utf8(value).unwrap_or_default().splitn(3, ':');
        let Some(begins) = parts.next().and_then(|begins| begins.parse().ok()) else {
            return Marked::Nothing;
        };
        let bounds: Option<Bounds> = parts.next().and_then(|bounds| bounds.parse().ok());
        match bounds {
            Some(bounds) if parts.next() == Some(&identity.0) && begins >= least => {
                if !bounds.cover(own) {
                    return Marked::Shorter(begins, bounds);
                }
                let (identity, key, value) = (identity.clone(), key.to_vec(), value.to_vec());
                Marked::Ours(Memory { identity, key, value, begins, bounds })
            }
            Some(_) | None => Marked::Others(begins),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const OWN: Bounds =
        Bounds { max_age: 60, max_future: 10, nonce: 600, clock_difference: 1000, timeout: 250 };

    #[test]
    fn a_marker_is_of_one_server_and_one_history() {
        let ours = Identity::new(b"run", b"replication", b"0");
        let read = |value: &[u8]| Marked::read(b"k", value, &ours, 17, OWN);
        for enough in ["60,10,600,1000,250", "300,10,600,1000,250"] {
            let value = format!("17:{enough}:run:replication:0");
            assert!(matches!(read(value.as_bytes()), Marked::Ours(Memory { begins: 17, .. })), "{value}");
        }
        for (value, marked) in [
            (
                b"17:59,10,600,1000,250:run:replication:0".as_slice(),
                Marked::Shorter(17, Bounds { max_age: 59, ..OWN }),
            ),
            (b"16:60,10,600,1000,250:run:replication:0", Marked::Others(16)),
            (b"17:60,10,600,1000,250:again:replication:0", Marked::Others(17)),
            (b"17:60,10,600,1000,250:run:promoted:0", Marked::Others(17)),
            (b"17:60,10,600,1000,250:run:replication:1", Marked::Others(17)),
            (b"17:x:run:replication", Marked::Others(17)),
            (b"17:60,10,600,1000,250", Marked::Others(17)),
            (b"17:", Marked::Others(17)),
            (b"17", Marked::Others(17)),
            (b"x:60,10,600,1000,250:run:replication", Marked::Nothing),
            (b"", Marked::Nothing),
            (b"\xff:run:replication", Marked::Nothing),
        ] {
            assert_eq!(read(value), marked, "{}", value.escape_ascii());
        }
    }

    /// A server that has these answers for what it is asked, one after the other; gives what it was asked.
    async fn answering(mut far: DuplexStream, answers: Vec<String>) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let mut room = [0; 1024];
            let count = far.read(&mut room).await.expect("no error");
            if count == 0 {
                break;
            }
            asked.push(String::from_utf8_lossy(&room[..count]).replace("\r\n", " "));
            far.write_all(answer.as_bytes()).await.expect("open");
        }
        asked
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// The server's clock shows the second 1000 and may be behind the one of the server before. Whatever stands at the marker, the new memory begins behind all that are known, and
    /// nobody's marker is overwritten that was written meanwhile.
    #[tokio::test]
    async fn a_new_memory_begins_behind_all_others() {
        let ours = Identity::new(b"run", b"history", b"0");
        for (before, latest, least, after) in [
            (None, 0, 0, "1001:60,10,600,1000,250"),
            (None, 2000, 0, "2001:60,10,600,1000,250"),
            (Some("700:60,10,600,1000,250:other:history:0"), 2000, 0, "2001:60,10,600,1000,250"),
            (Some("3000:300,10,600,1000,250:other:history:0"), 2000, 0, "3001:60,10,600,1000,250"),
            (Some("3000:300,10,20,1000,250:run:history:0"), 2000, 0, "3001:300,10,600,1000,250"),
            (Some("700:300,10,20,1000,250:run:history:0"), 2000, 0, "2001:300,10,600,1000,250"),
            (Some("3000:60,10,600,1000,250:run:history:0"), 3000, 3001, "3001:60,10,600,1000,250"),
        ] {
            let (near, far) = tokio::io::duplex(1024);
            let (ok, queued) = ("+OK\r\n".to_owned(), "+QUEUED\r\n".to_owned());
            let there = before.map_or_else(|| "$-1\r\n".into(), bulk);
            let after = format!("{after}:run:history:0");
            let (time, done) = (format!("*2\r\n{}{}", bulk("1000"), bulk("0")), format!("*1\r\n{ok}"));
            let answers =
                [&there, &ok, &there, &ok, &ok, &time, &ok, &queued, &done, &bulk(&after)].map(String::clone);
            let server = tokio::spawn(answering(far, answers.to_vec()));
            let mut link = Link::new(Box::new(near), Duration::from_secs(1));
            let names = Names::new("hf:", "");
            let memory = Memory::find(&mut link, &names, &ours, Known { latest, least }, OWN).await;
            drop(link);
            let asked = server.await.expect("no panic");
            let words = ["GET", "WATCH", "GET", "SET", "WATCH", "TIME", "MULTI", "SET", "EXEC", "GET"];
            assert!(asked.iter().zip(words).all(|(asked, word)| asked.contains(word)), "{asked:?}");
            assert!(asked[7].ends_with(&format!(" {after} ")), "{} is not {after}", asked[7]);
            assert_eq!(memory.map(|memory| memory.value), Ok(after.into_bytes()));
        }
    }

    /// What a nonce may be sealed for while the line is ahead is too old by the line of the next memory.
    #[test]
    fn each_memory_has_a_later_line_than_the_one_before() {
        let line = |begins, timeout, clock_difference| {
            let memory = Memory {
                identity: Identity::new(b"r", b"h", b"0"),
                key: Vec::new(),
                value: Vec::new(),
                begins,
                bounds: Bounds { clock_difference, timeout, ..OWN },
            };
            memory.line().seconds()
        };
        assert_eq!(line(1000, 250, 2000), 1005);
        assert_eq!(line(1000, 1000, 2000), 1005);
        assert_eq!(line(1000, 0, 0), 1000);
        assert!((1..100).all(|begins| line(begins + 1, 250, 1999) == line(begins, 250, 1999) + 1));
        assert_eq!(line(u64::MAX, 250, 2000), i64::MAX, "nothing passes");
    }
}
