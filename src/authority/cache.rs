//! The tokens verified lately, so that a signature is verified once for each token and not once for each request.
//!
//! The key is the hash of the whole token, signature included: two tokens that differ anywhere are two entries. An entry says under which
//! of its issuer's key sets it was verified, and another key set makes it a miss: a key that is withdrawn takes its tokens with it at
//! once. Proofs are never in here, nor is anything that was refused.

use std::fmt;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::verify::digest::{AccessToken, Digest};
use crate::verify::token::VerifiedToken;

/// What one entry takes beside its token's claims: the key, the entry, and the cache's own table.
const ENTRY_BYTES: u64 = 160;
/// Entries the table has room for at first. It grows with use: made for a full cache at once, it would cost an idle gateway megabytes.
const FIRST_ENTRIES: usize = 64;

/// A bounded cache of verified tokens. Losing an entry costs one verification and nothing else.
pub(super) struct TokenCache(Cache<Digest<AccessToken>, Cached, ByMemory>);

/// A verified token, and what it was verified by.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    /// Which of the issuers.
    pub(super) issuer: usize,
    /// Which of its key sets: see [`super::IssuerKeys::generation`].
    pub(super) generation: u64,
    /// The token.
    pub(super) token: VerifiedToken,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Digest<AccessToken>, Cached> for ByMemory {
    fn weight(&self, _: &Digest<AccessToken>, cached: &Cached) -> u64 {
        ENTRY_BYTES + cached.token.memory() as u64
    }
}

impl TokenCache {
    /// A cache of about `bytes` of memory.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(FIRST_ENTRIES, bytes, ByMemory))
    }

    /// The entry of this token, for any key set and time.
    pub(super) fn get(&self, digest: Digest<AccessToken>) -> Option<Cached> {
        self.0.get(&digest)
    }

    /// Remembers a token, at the cost of ones that are used less.
    pub(super) fn put(&self, digest: Digest<AccessToken>, cached: Cached) {
        self.0.insert(digest, cached);
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
