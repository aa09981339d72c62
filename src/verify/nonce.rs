//! Stateless `DPoP-Nonce` values (RFC 9449 §8, §9): sealed with a time and bound to the proof's key.
//!
//! A nonce is `base64url(time ‖ MAC(time ‖ jkt))`, so any replica that holds the ring can open it and none has to remember it. Time cuts into periods of
//! one lifetime; a nonce of the current or the previous period is good, so each is good for one to two lifetimes and a rotation
//! never interrupts a client (R-D-03). A nonce serves many proofs: what makes a proof single is its `jti` (R-D-06).

use std::fmt;

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

/// The keys nonces are sealed with: the first seals, all open. It prints no key.
pub struct NonceRing {
    sealing: hmac::Key,
    older: Vec<hmac::Key>,
    lifetime: i64,
    not_before: UnixTime,
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
        }
    }

    /// Opens no nonce from before `time`, and until then seals as if it were that time already: when the rules for nonces change, claims of
    /// proofs that hold an earlier one were kept for another time than these rules ask for. It costs each client one round trip.
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

    /// Seals a nonce for the holder of `jkt`.
    pub fn seal(&self, jkt: Digest<Key>, now: UnixTime) -> SealedNonce {
        let time = now.max(self.not_before).seconds().to_be_bytes();
        let mut bytes = [0; TIME_BYTES + MAC_BYTES];
        bytes[..TIME_BYTES].copy_from_slice(&time);
        bytes[TIME_BYTES..].copy_from_slice(&mac(&self.sealing, &time, jkt).as_ref()[..MAC_BYTES]);
        SealedNonce(jws::to_base64url(&bytes))
    }

    /// Opens what a proof holds. `None` for what is not ours, not for this key, older than two periods,
    /// from before [`NonceRing::not_before`], or from the future.
    pub fn open(&self, nonce: &str, jkt: Digest<Key>, now: UnixTime) -> Option<OpenedNonce> {
        // The length first, so that a caller's megabyte is not decoded.
        if nonce.len() != (TIME_BYTES + MAC_BYTES) * 4 / 3 {
            return None;
        }
        let bytes = jws::from_base64url(nonce)?;
        let (time, tag) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let genuine = std::iter::once(&self.sealing).chain(&self.older).any(|key| {
            constant_time::verify_slices_are_equal(&mac(key, time, jkt).as_ref()[..MAC_BYTES], tag).is_ok()
        });
        if !genuine {
            return None;
        }
        let sealed = UnixTime::from_seconds(i64::from_be_bytes(*time));
        if sealed < self.not_before {
            return None;
        }
        let age = self.period(now.max(self.not_before)).checked_sub(self.period(sealed))?;
        let until = UnixTime::from_seconds((self.period(sealed) + 2) * self.lifetime - 1);
        match age {
            0 => Some(OpenedNonce { sealed, until, previous: false }),
            1 => Some(OpenedNonce { sealed, until, previous: true }),
            // Replicas' clocks may differ by a little; one that is a whole period ahead of us is wrong, and its nonce waits.
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
}

fn mac(key: &hmac::Key, time: &[u8; TIME_BYTES], jkt: Digest<Key>) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(PURPOSE);
    context.update(time);
    context.update(jkt.as_bytes());
    context.sign()
}

impl fmt::Debug for NonceRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceRing")
            .field("keys", &(1 + self.older.len()))
            .field("lifetime", &self.lifetime)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, NonceRing, UnixTime};

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
        assert_eq!(opened(UnixTime::from_seconds(start - 1)), None, "from the future");
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
