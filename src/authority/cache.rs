//! The tokens verified lately, so that a signature is verified once for each token and not once for each request, and an issuer asked once in a while.
//!
//! The key is the hash of the whole token, signature included: two tokens that differ anywhere are two entries. Beside it stands which issuer is asked
//! where the token does not say: the same characters may mean two things to two issuers. An entry says what it rests on: under which of its issuer's
//! key sets it was verified, and another key set makes it a miss, so that a key that is withdrawn takes its tokens with it at once; or until when its
//! issuer's word holds. Proofs are never in here, nor is anything that was refused.

use std::fmt;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::introspection::Active;
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::time::UnixTime;
use crate::verify::token::VerifiedToken;

/// What one entry takes beside its token's claims: the key, the entry, and the cache's own table.
const ENTRY_BYTES: u64 = 160;
/// Entries the table has room for at first. It grows with use: made for a full cache at once, it would cost an idle gateway megabytes.
const FIRST_ENTRIES: usize = 64;

/// A bounded cache of verified tokens. Losing an entry costs one verification and nothing else.
pub(super) struct TokenCache(Cache<TokenKey, Cached, ByMemory>);

/// A verified token, and what it was verified by.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    /// Which of the issuers.
    pub(super) issuer: usize,
    /// What it rests on.
    pub(super) ground: Ground,
    /// The token.
    pub(super) token: VerifiedToken,
}

impl Cached {
    /// The issuer's word, while it holds.
    pub(super) fn into_answer(self, now: UnixTime) -> Option<Active> {
        match self.ground {
            Ground::Word(until) if now < until => Some(Active { token: self.token, until }),
            Ground::Word(_) | Ground::Keys(_) => None,
        }
    }
}

/// What a verified token rests on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ground {
    /// One of its issuer's key sets: see [`super::IssuerKeys::generation`].
    Keys(u64),
    /// Its issuer's word, which holds until then.
    Word(UnixTime),
}

/// What a token is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    /// The whole token.
    pub(super) digest: Digest<AccessToken>,
    /// Which of the issuers is asked, if the token does not say whose it is.
    pub(super) asked: Option<usize>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<TokenKey, Cached> for ByMemory {
    fn weight(&self, _: &TokenKey, cached: &Cached) -> u64 {
        ENTRY_BYTES + cached.token.memory() as u64
    }
}

impl TokenCache {
    /// A cache of about `bytes` of memory.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(FIRST_ENTRIES, bytes, ByMemory))
    }

    /// The entry of this token, for any key set and time.
    pub(super) fn get(&self, key: TokenKey) -> Option<Cached> {
        self.0.get(&key)
    }

    /// Remembers a token, at the cost of ones that are used less.
    pub(super) fn put(&self, key: TokenKey, cached: Cached) {
        self.0.insert(key, cached);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({} tokens)", self.len())
    }
}
