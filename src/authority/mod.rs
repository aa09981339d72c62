//! What an issuer tells us: its keys, where they are, and the tokens already found to be signed with them.
//!
//! [`Tokens::verify`] is the whole of it for a request. Everything that waits on an issuer happens in one background task for each
//! (`issuer`); a request only ever waits for a fetch that is allowed now, and never longer than one may take. Judging a token is
//! `verify::token`'s; this decides which keys it is judged by, and for how long the answer may be repeated.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Issuer;
use crate::verify::credential::RawToken;
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use crate::verify::token::{Unverified, VerifiedToken};
use cache::{Cached, TokenCache};
pub use issuer::IssuerKeys;
pub use source::Unusable;

mod cache;
mod fetch;
mod issuer;
mod source;

/// The issuers whose tokens are accepted, and the tokens of theirs that were verified lately.
#[derive(Debug)]
pub struct Tokens {
    issuers: Vec<Arc<IssuerKeys>>,
    /// Positions in `issuers`, by the exact `iss`.
    by_name: HashMap<String, usize>,
    cache: TokenCache,
}

impl Tokens {
    /// Tokens of these issuers, with a cache of about `cache_bytes` of memory. Nothing is fetched until [`Tokens::spawn`].
    ///
    /// # Errors
    /// [`Unusable`]: keys that could never be fetched.
    pub fn new(issuers: &[Issuer], cache_bytes: u64) -> Result<Self, Unusable> {
        let issuers = issuers
            .iter()
            .map(|issuer| IssuerKeys::new(issuer).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let by_name = issuers.iter().enumerate().map(|(at, issuer)| (issuer.name().to_owned(), at)).collect();
        Ok(Self { issuers, by_name, cache: TokenCache::new(cache_bytes) })
    }

    /// Starts the task of each issuer that fetches its keys, at once and from then on, until `stop`. Without it no token is ever verified.
    pub fn spawn(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for issuer in &self.issuers {
            let (issuer, stop) = (Arc::clone(issuer), stop.clone());
            tasks.spawn(async move { stop.run_until_cancelled(issuer.keep_fetching()).await });
        }
    }

    /// Verifies a token: its issuer's signature, and everything `verify::token` asks of it. Repeats an earlier answer for
    /// the very same characters while the issuer's keys are the same and the token's time lasts. Whether the caller may present it is not known then.
    ///
    /// # Errors
    /// A rejection of the token; or [`Rejection::IssuerUnavailable`] while there are no keys to judge it by.
    pub async fn verify(&self, raw: RawToken<'_>, now: UnixTime) -> Result<VerifiedToken, Rejection> {
        let digest = raw.digest();
        if let Some(cached) = self.cache.get(digest)
            && self.issuers[cached.issuer].generation() == cached.generation
        {
            // R-H-21: never past `exp`, which is compared with this request's clock each time.
            return cached.token.revalidate(now);
        }
        let token = Unverified::read(raw)?;
        // R-H-02: the exact name chooses the keys, so one issuer's keys never speak for another's tokens.
        let issuer = *self.by_name.get(token.issuer()).ok_or(Rejection::TokenIssuer)?;
        let (verified, generation) = self.issuers[issuer].verify(&token, now).await?;
        // Only what was verified is kept: what is refused costs its sender a signature of its own each time, and us no memory.
        self.cache.put(digest, Cached { issuer, generation, token: verified.clone() });
        Ok(verified)
    }

    /// Whether tokens can be verified: every issuer was asked for its keys once, and one has some.
    pub fn ready(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.was_tried())
            && self.issuers.iter().any(|issuer| issuer.has_keys())
    }

    /// Waits until every issuer was asked for its keys once, whatever came of it. For a start that wants to be ready when it says so.
    pub async fn tried(&self) {
        for issuer in &self.issuers {
            issuer.tried().await;
        }
    }

    /// The issuers, for metrics.
    pub fn issuers(&self) -> impl Iterator<Item = &IssuerKeys> {
        self.issuers.iter().map(Arc::as_ref)
    }

    /// How many verified tokens are remembered, for metrics. Some of them may be of keys or of a time that have passed.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }
}

#[cfg(test)]
mod tests;
