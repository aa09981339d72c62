//! Stateless `DPoP-Nonce` values (RFC 9449 §8, §9): sealed with a time and bound to the proof's key.
//!
//! A nonce is `base64url(time ‖ MAC(time ‖ jkt))`, so any replica that holds the ring can open it and none has to remember it. Time cuts into periods of
//! one lifetime; a nonce of the current or the previous period is good, so each is good for one to two lifetimes and a rotation
//! never interrupts a client (R-D-03). A nonce serves many proofs: what makes a proof single is its `jti` (R-D-06).
//!
//! A nonce can be narrowed to where it counts: to a **region**, whose name is under the MAC, so that a proof made for one region is asked for
//! another nonce in the next; and to **this process alone**, by a key that nobody else has, so that this process's memory is enough to know
//! whether the proof was used.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use aws_lc_rs::{constant_time, hmac};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::digest::{Digest, Key};
use super::jws;
use super::time::UnixTime;

/// The `DPoP-Nonce` response header (RFC 9449 §8.1).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 16;
/// What the MAC is for, so that the same secret used elsewhere could never make a nonce.
const PURPOSE: &[u8] = b"holdfast DPoP-Nonce 1";

/// How far ahead of our clock, in seconds, a nonce of the next period may have been sealed: replicas' clocks differ by a little.
const AHEAD: i64 = 10;

/// The keys nonces are sealed with: the first seals, all open. It prints no key.
pub struct NonceRing {
    sealing: hmac::Key,
    older: Vec<hmac::Key>,
    lifetime: i64,
    not_before: UnixTime,
    region: Box<str>,
    unasked: Unasked,
    standing: Option<Standing>,
    own: Option<hmac::Key>,
}

/// What the memory that replicas share says at the moment, as far as nonces are concerned. Whoever asks that memory writes it, and each [`NonceRing`] reads it.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Moment>);

#[derive(Debug)]
struct Moment {
    alone: AtomicBool,
    /// In seconds; the least number while there is none.
    line: AtomicI64,
}

impl Default for Standing {
    /// On its own, and no line.
    fn default() -> Self {
        Self(Arc::new(Moment { alone: AtomicBool::new(true), line: AtomicI64::new(i64::MIN) }))
    }
}

impl Standing {
    /// Whether this process is on its own from now on: nobody else can be asked which proofs were used.
    pub fn stand_alone(&self, alone: bool) {
        self.0.alone.store(alone, Ordering::SeqCst);
    }

    /// Whether it is.
    pub fn is_alone(&self) -> bool {
        self.0.alone.load(Ordering::SeqCst)
    }

    /// Draws the line there, unless it lies later already: up to this second a proof may have been used that the memory does not know of.
    pub fn draw(&self, line: UnixTime) {
        self.0.line.fetch_max(line.seconds(), Ordering::SeqCst);
    }

    /// The line, once one was drawn.
    pub fn line(&self) -> Option<UnixTime> {
        Some(self.0.line.load(Ordering::SeqCst)).filter(|line| *line != i64::MIN).map(UnixTime::from_seconds)
    }
}

/// What a nonce in a proof means where the route asks for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Nothing: it is not looked at (T-NON-13).
    Ignored,
    /// It must be one of ours, and shows that the proof was made after it was sealed. Where replicas share a memory, one of them may be on its own and let a proof pass by a nonce that
    /// it alone has sealed; another that ignored this nonce would let the proof pass again.
    Counts,
}

/// Where a nonce counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever the ring's keys are, in this region.
    Group,
    /// In this process alone.
    Here,
}

/// A nonce as it is sent: NQCHAR characters only (RFC 9449 §8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedNonce(String);

impl SealedNonce {
    /// The nonce's characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts the nonce into an answer, alone, and keeps every cache from giving it to someone else (RFC 9449 §8.2).
    pub fn send_with(&self, headers: &mut HeaderMap) {
        // Base64url is always a header value; were it not, an answer without a nonce costs the client one round trip more.
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            // `insert`, not `append`: there is never more than one DPoP-Nonce (RFC 9449 §8).
            headers.insert(DPOP_NONCE, value);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

/// A nonce of ours for this key, within its time. Only [`NonceRing::open`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedNonce {
    /// When it was sealed: with a nonce, this is the proof's freshness (RFC 9449 §11.1).
    pub sealed: UnixTime,
    /// The last second in which it opens.
    pub until: UnixTime,
    /// Whether it is of the previous period, so that the answer should bring a new one.
    pub previous: bool,
    /// Where it counts.
    pub reach: Reach,
}

impl NonceRing {
    /// A ring of 32-byte secrets, and the lifetime of a nonce in seconds (at least 1).
    pub fn new(first: &[u8; 32], older: &[[u8; 32]], lifetime: i64) -> Self {
        let key = |secret: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self {
            sealing: key(first),
            older: older.iter().map(key).collect(),
            lifetime: lifetime.max(1),
            not_before: UnixTime::from_seconds(i64::MIN),
            region: Box::default(),
            unasked: Unasked::Ignored,
            standing: None,
            own: None,
        }
    }

    /// Pins nonces to the region of this name: a ring of the same keys with another opens none of them.
    pub fn pin(&mut self, region: &str) {
        self.region = region.into();
    }

    /// Nonces are looked at as `unasked` says where no route asks for one.
    pub const fn look_at_unasked(&mut self, unasked: Unasked) {
        self.unasked = unasked;
    }

    /// Follows a memory that replicas share: what is sealed is later than its line, as if that had passed already.
    pub fn stand_by(&mut self, standing: Standing) {
        self.standing = Some(standing);
    }

    /// While this process is on its own, seals with `secret`, which no other has. What was sealed with it opens later too.
    pub fn seal_alone_with(&mut self, secret: &[u8; 32]) {
        self.own = Some(hmac::Key::new(hmac::HMAC_SHA256, secret));
    }

    /// What was said last with [`look_at_unasked`](Self::look_at_unasked); without, [`Unasked::Ignored`].
    pub const fn unasked(&self) -> Unasked {
        self.unasked
    }

    /// Opens no nonce from before `time`, and until then seals as if it were that time already: when the rules for nonces change, claims of
    /// proofs that hold an earlier one were kept for another time than these rules ask for. It costs each client one round trip. Where replicas share a memory, only nonces of this process
    /// alone are meant: of the others the memory knows enough.
    pub const fn not_before(&mut self, time: UnixTime) {
        self.not_before = time;
    }

    /// Takes the place of `before`: its line holds on. A new one is drawn at `time` where `draws` says so or the lifetime is another one now;
    /// behind its own, up to which `before` may have sealed ahead of the clock.
    ///
    /// See [`NonceRing::not_before`].
    pub fn follow(&mut self, before: &Self, time: UnixTime, draws: bool) {
        let drawn = draws || self.lifetime != before.lifetime;
        self.not_before = if drawn { time.max(before.not_before.plus(1)) } else { before.not_before };
    }

    /// Seals a nonce for the holder of `jkt`, for this process alone while it is on its own and has a key for that.
    pub fn seal(&self, jkt: Digest<Key>, now: UnixTime) -> SealedNonce {
        match (&self.own, &self.standing) {
            (Some(own), Some(standing)) if standing.is_alone() => self.seal_with(own, Reach::Here, jkt, now),
            _ => self.seal_with(&self.sealing, Reach::Group, jkt, now),
        }
    }

    /// Seals a nonce that counts in this process alone, where there is a key for that.
    pub fn seal_here(&self, jkt: Digest<Key>, now: UnixTime) -> SealedNonce {
        match &self.own {
            Some(own) => self.seal_with(own, Reach::Here, jkt, now),
            None => self.seal_with(&self.sealing, Reach::Group, jkt, now),
        }
    }

    fn seal_with(&self, key: &hmac::Key, reach: Reach, jkt: Digest<Key>, now: UnixTime) -> SealedNonce {
        let time = self.earliest(reach, now).seconds().to_be_bytes();
        let mut bytes = [0; TIME_BYTES + MAC_BYTES];
        bytes[..TIME_BYTES].copy_from_slice(&time);
        bytes[TIME_BYTES..].copy_from_slice(&self.mac(key, &time, jkt).as_ref()[..MAC_BYTES]);
        SealedNonce(jws::to_base64url(&bytes))
    }

    /// The time that counts for nonces of this reach: behind both lines.
    fn earliest(&self, reach: Reach, now: UnixTime) -> UnixTime {
        let line = self.standing.as_ref().and_then(Standing::line);
        let now = now.max(self.drawn(reach));
        line.map_or(now, |line| now.max(line.plus(1)))
    }

    /// The line of [`not_before`](Self::not_before) for nonces of this reach. It is about what this process remembers by itself. A memory that replicas share keeps each claim for as long as its nonce
    /// opens at any of them, and draws its own line where they come to open for longer; and a nonce that is sealed ahead of the clock for our sake shows nothing there.
    const fn drawn(&self, reach: Reach) -> UnixTime {
        match (reach, &self.standing) {
            (Reach::Group, Some(_)) => UnixTime::from_seconds(i64::MIN),
            (Reach::Here, _) | (Reach::Group, None) => self.not_before,
        }
    }

    /// Opens what a proof holds. `None` for what is not ours, not for this key or this region, older than two periods,
    /// from before [`NonceRing::not_before`], or from the future.
    pub fn open(&self, nonce: &str, jkt: Digest<Key>, now: UnixTime) -> Option<OpenedNonce> {
        // The length first, so that a caller's megabyte is not decoded.
        if nonce.len() != (TIME_BYTES + MAC_BYTES) * 4 / 3 {
            return None;
        }
        let bytes = jws::from_base64url(nonce)?;
        let (time, tag) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let opens = |key: &hmac::Key| {
            let mac = self.mac(key, time, jkt);
            constant_time::verify_slices_are_equal(&mac.as_ref()[..MAC_BYTES], tag).is_ok()
        };
        let reach = if std::iter::once(&self.sealing).chain(&self.older).any(opens) {
            Reach::Group
        } else if self.own.as_ref().is_some_and(opens) {
            Reach::Here
        } else {
            return None;
        };
        let sealed = UnixTime::from_seconds(i64::from_be_bytes(*time));
        if sealed < self.drawn(reach) {
            return None;
        }
        let now = self.earliest(reach, now);
        let age = self.period(now).checked_sub(self.period(sealed))?;
        let until = UnixTime::from_seconds((self.period(sealed) + 2) * self.lifetime - 1);
        let opened = |previous| Some(OpenedNonce { sealed, until, previous, reach });
        match age {
            0 => opened(false),
            1 => opened(true),
            // Replicas' clocks differ by a little, and one of them is the first in the next period. Its nonce is good at the others at once.
            -1 if sealed.since(now) <= AHEAD => opened(false),
            // One that is farther ahead of us is wrong, and its nonce waits.
            _ => None,
        }
    }

    /// For how long, in seconds, a nonce opens at most: the rest of its period and the next.
    pub const fn longest(&self) -> i64 {
        2 * self.lifetime
    }

    fn period(&self, time: UnixTime) -> i64 {
        time.seconds().div_euclid(self.lifetime)
    }

    fn mac(&self, key: &hmac::Key, time: &[u8; TIME_BYTES], jkt: Digest<Key>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        context.update(PURPOSE);
        context.update(time);
        context.update(jkt.as_bytes());
        // Last, since it alone has no length of its own.
        context.update(self.region.as_bytes());
        context.sign()
    }
}

impl fmt::Debug for NonceRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceRing")
            .field("keys", &(1 + self.older.len()))
            .field("lifetime", &self.lifetime)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, NonceRing, Reach, Standing, UnixTime};

    const AT: UnixTime = UnixTime::from_seconds(1_000_000_200);

    fn ring() -> NonceRing {
        NonceRing::new(&[7; 32], &[], 300)
    }

    #[test]
    fn good_for_the_current_and_the_previous_period() {
        let jkt = Digest::of(b"key");
        let nonce = ring().seal(jkt, AT);
        let opened = |now: UnixTime| ring().open(nonce.as_str(), jkt, now);
        let start = AT.seconds() / 300 * 300;
        assert_eq!(opened(AT).map(|n| (n.sealed, n.previous)), Some((AT, false)));
        assert_eq!(opened(UnixTime::from_seconds(start + 300)).map(|n| n.previous), Some(true));
        let last = UnixTime::from_seconds(start + 599);
        assert_eq!(
            opened(last).map(|n| n.until),
            Some(last),
            "the claim is kept exactly as long as the nonce opens"
        );
        assert_eq!(opened(last.plus(1)), None);
        for (early, opens) in [(1, true), (10, true), (11, false), (300, false)] {
            assert_eq!(
                opened(UnixTime::from_seconds(start - early)).is_some(),
                opens,
                "{early} seconds ahead"
            );
        }
    }

    #[test]
    fn bound_to_the_key_and_to_the_ring() {
        let jkt = Digest::of(b"key");
        let nonce = ring().seal(jkt, AT);
        assert_eq!(ring().open(nonce.as_str(), Digest::of(b"another"), AT), None);
        assert_eq!(NonceRing::new(&[8; 32], &[], 300).open(nonce.as_str(), jkt, AT), None);
        assert!(
            NonceRing::new(&[8; 32], &[[7; 32]], 300).open(nonce.as_str(), jkt, AT).is_some(),
            "an older key opens"
        );
        assert!(
            nonce
                .as_str()
                .bytes()
                .all(|b| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b))
        );
    }

    /// A line drawn ahead of now, as at a reload: nothing from before it opens, and what is sealed meanwhile opens at once and after it,
    /// even where the line is the beginning of a period.
    #[test]
    fn nothing_from_before_the_line() {
        let jkt = Digest::of(b"key");
        let line = UnixTime::from_seconds(AT.seconds() / 300 * 300 + 300);
        let now = line.minus(2);
        let before = ring().seal(jkt, now);
        let mut drawn = ring();
        drawn.not_before(line);
        let after = drawn.seal(jkt, now);
        // Drawn again at once, it lies behind what was sealed ahead.
        let mut again = ring();
        again.follow(&drawn, line, true);
        assert_eq!(again.open(after.as_str(), jkt, line), None);
        let mut kept = ring();
        kept.follow(&drawn, line, false);
        assert!(kept.open(after.as_str(), jkt, line).is_some(), "the same rules");
        assert_eq!(kept.open(before.as_str(), jkt, line), None, "the line holds on");
        for time in [now, line, line.plus(299)] {
            assert_eq!(drawn.open(before.as_str(), jkt, time), None, "{time:?}");
            let opened = drawn.open(after.as_str(), jkt, time).map(|opened| (opened.sealed, opened.until));
            assert_eq!(opened, Some((line, line.plus(599))), "{time:?}");
        }
    }

    /// A proof that was made for one region is asked for another nonce in the next.
    #[test]
    fn pinned_to_a_region() {
        let jkt = Digest::of(b"key");
        let of = |region: &str| {
            let mut ring = ring();
            ring.pin(region);
            ring
        };
        let nonce = of("north").seal(jkt, AT);
        assert!(of("north").open(nonce.as_str(), jkt, AT).is_some());
        for other in ["south", "nort", "north2", "North", ""] {
            assert_eq!(of(other).open(nonce.as_str(), jkt, AT), None, "{other}");
            assert_eq!(of("north").open(of(other).seal(jkt, AT).as_str(), jkt, AT), None, "{other}");
        }
    }

    /// What a process seals while it is on its own opens there, then and later, and nowhere else.
    #[test]
    fn sealed_for_one_process_alone() {
        let jkt = Digest::of(b"key");
        let of = |secret: u8| {
            let (mut ring, standing) = (ring(), Standing::default());
            ring.stand_by(standing.clone());
            ring.seal_alone_with(&[secret; 32]);
            standing.stand_alone(false);
            (ring, standing)
        };
        let ((one, standing), (other, _)) = (of(1), of(2));
        let reach = |ring: &NonceRing, nonce: &super::SealedNonce| {
            ring.open(nonce.as_str(), jkt, AT).map(|opened| opened.reach)
        };
        let before = one.seal(jkt, AT);
        standing.stand_alone(true);
        let (meanwhile, asked_for) = (one.seal(jkt, AT), one.seal_here(jkt, AT));
        standing.stand_alone(false);
        for (nonce, at_one, at_other) in [
            (&before, Some(Reach::Group), Some(Reach::Group)),
            (&meanwhile, Some(Reach::Here), None),
            (&asked_for, Some(Reach::Here), None),
            (&one.seal(jkt, AT), Some(Reach::Group), Some(Reach::Group)),
        ] {
            assert_eq!((reach(&one, nonce), reach(&other, nonce)), (at_one, at_other));
            assert_eq!(reach(&ring(), nonce), at_other);
        }
    }

    /// Where replicas share a memory, a reload makes nothing of theirs stale and seals nothing ahead, which others could not take yet. What this process alone remembers it draws its line for.
    #[test]
    fn a_line_of_our_own_is_for_our_own_nonces() {
        let jkt = Digest::of(b"key");
        let (mut before, standing) = (ring(), Standing::default());
        before.stand_by(standing.clone());
        before.seal_alone_with(&[1; 32]);
        standing.stand_alone(false);
        let mut after = ring();
        after.stand_by(standing);
        after.seal_alone_with(&[1; 32]);
        after.follow(&before, AT.plus(2), true);
        let sealed = |nonce: super::SealedNonce| {
            after.open(nonce.as_str(), jkt, AT).map(|opened| (opened.reach, opened.sealed))
        };
        assert_eq!(sealed(before.seal(jkt, AT)), Some((Reach::Group, AT)));
        assert_eq!(sealed(after.seal(jkt, AT)), Some((Reach::Group, AT)));
        assert_eq!(sealed(before.seal_here(jkt, AT)), None);
        assert_eq!(sealed(after.seal_here(jkt, AT)), Some((Reach::Here, AT.plus(2))));
    }

    /// What is sealed while the line of a shared memory is still ahead is later than it, and opens at once.
    #[test]
    fn sealed_behind_the_line_of_a_shared_memory() {
        let jkt = Digest::of(b"key");
        let (mut behind, standing) = (ring(), Standing::default());
        behind.stand_by(standing.clone());
        let before = behind.seal(jkt, AT);
        // At the end of a period, so that what is sealed is of the next.
        let now = AT.plus(299);
        standing.draw(now.plus(3));
        standing.draw(AT);
        assert_eq!(standing.line(), Some(now.plus(3)), "it never goes back");
        let sealed = |ring: &NonceRing, nonce: &super::SealedNonce| {
            ring.open(nonce.as_str(), jkt, now).map(|opened| opened.sealed)
        };
        let after = behind.seal(jkt, now);
        assert_eq!(sealed(&behind, &after), Some(now.plus(4)));
        assert_eq!(sealed(&ring(), &after), Some(now.plus(4)), "at a replica that knows no line yet");
        assert_eq!(sealed(&behind, &before), Some(AT), "whether that is too old is the store's to say");
    }

    #[test]
    fn one_changed_character_is_enough() {
        let jkt = Digest::of(b"key");
        let nonce = ring().seal(jkt, AT).as_str().to_owned();
        for at in 0..nonce.len() {
            let mut changed = nonce.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(ring().open(&changed, jkt, AT), None, "{at}");
        }
        for other in ["", " ", "x", &"A".repeat(33), &"A".repeat(100_000)] {
            assert_eq!(ring().open(other, jkt, AT), None);
        }
    }
}
