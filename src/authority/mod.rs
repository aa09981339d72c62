//! What an issuer tells us: its keys, where they are, and the tokens already found to be signed with them.
//!
//! [`Tokens::verify`] is the whole of it for a request. Everything that waits on an issuer happens in one background task for each
//! (`issuer`); a request only ever waits for a fetch that is allowed now, and never longer than one may take. Judging a token is
//! `verify::token`'s; this decides which keys it is judged by, and for how long the answer may be repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// An issuer, and the task that fetches its keys.
#[derive(Clone, Debug)]
struct Known {
    keys: Arc<IssuerKeys>,
    task: Arc<FetchTask>,
}

/// A task that ends when the last issuer that needs it is dropped.
#[derive(Debug, Default)]
struct FetchTask {
    begun: AtomicBool,
    unused: CancellationToken,
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.unused.cancel();
    }
}

impl Known {
    fn new(issuer: &Issuer) -> Result<Self, Unusable> {
        Ok(Self { keys: Arc::new(IssuerKeys::new(issuer)?), task: Arc::default() })
    }
}

/// The issuers whose tokens are accepted, and the tokens of theirs that were verified lately.
#[derive(Debug)]
pub struct Tokens {
    issuers: Vec<Known>,
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
        Self::of(issuers.iter().map(Known::new), cache_bytes)
    }

    /// Tokens of other issuers in the place of these. An issuer whose settings are the same, and whose keys are fetched, keeps the keys it has and
    /// the task that fetches them. The cache begins empty, since it says by which rules a token was verified no more than by which keys.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn followed_by(&self, issuers: &[Issuer], cache_bytes: u64) -> Result<Self, Unusable> {
        let kept = |issuer: &Issuer| self.issuers.iter().find(|known| known.keys.are_of(issuer)).cloned();
        Self::of(
            issuers.iter().map(|issuer| kept(issuer).map_or_else(|| Known::new(issuer), Ok)),
            cache_bytes,
        )
    }

    fn of(
        issuers: impl Iterator<Item = Result<Known, Unusable>>,
        cache_bytes: u64,
    ) -> Result<Self, Unusable> {
        let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
        let by_name =
            issuers.iter().enumerate().map(|(at, known)| (known.keys.name().to_owned(), at)).collect();
        Ok(Self { issuers, by_name, cache: TokenCache::new(cache_bytes) })
    }

    /// Starts the task of each issuer that fetches its keys, at once and from then on, until `stop`, or until no [`Tokens`] has the
    /// issuer any more. Without it no token is ever verified. A task that runs already is left alone.
    pub fn spawn(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for Known { keys, task } in &self.issuers {
            if task.begun.swap(true, Ordering::Relaxed) {
                continue;
            }
            let (keys, unused, stop) = (Arc::clone(keys), task.unused.clone(), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(unused.run_until_cancelled(keys.keep_fetching())).await;
            });
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
            && self.issuers[cached.issuer].keys.generation() == cached.generation
        {
            // R-H-21: never past `exp`, which is compared with this request's clock each time.
            return cached.token.revalidate(now);
        }
        let token = Unverified::read(raw)?;
        // R-H-02: the exact name chooses the keys, so one issuer's keys never speak for another's tokens.
        let issuer = *self.by_name.get(token.issuer()).ok_or(Rejection::TokenIssuer)?;
        let (verified, generation) = self.issuers[issuer].keys.verify(&token, now).await?;
        // Only what was verified is kept: what is refused costs its sender a signature of its own each time, and us no memory.
        self.cache.put(digest, Cached { issuer, generation, token: verified.clone() });
        Ok(verified)
    }

    /// Whether tokens can be verified: every issuer was asked for its keys once, and one has some.
    pub fn ready(&self) -> bool {
        self.issuers().all(IssuerKeys::was_tried) && self.issuers().any(IssuerKeys::has_keys)
    }

    /// Waits until every issuer was asked for its keys once, whatever came of it. For a start that wants to be ready when it says so.
    pub async fn tried(&self) {
        for issuer in self.issuers() {
            issuer.tried().await;
        }
    }

    /// The issuers, for metrics.
    pub fn issuers(&self) -> impl Iterator<Item = &IssuerKeys> {
        self.issuers.iter().map(|known| &*known.keys)
    }

    /// How many verified tokens are remembered, for metrics. Some of them may be of keys or of a time that have passed.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }
}

#[cfg(test)]
mod tests;
