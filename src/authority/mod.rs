//! What an issuer tells us: its keys, where they are, and the tokens already found to be signed with them.
//!
//! [`Tokens::verify`] is the whole of it for a request. Keys are fetched in one background task for each issuer (`issuer`); a request only ever waits for
//! a fetch that is allowed now, and never longer than one may take. What is no JWT is asked about (`introspection`), once for all who present
//! it. Judging a token is `verify::token`'s; this decides which keys it is judged by or who is asked, and for how long the answer may be repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{ExchangeTarget, Issuer, SealedTokens};
use crate::verify::credential::RawToken;
use crate::verify::jwe::{DecryptionKey, Opened, Sealed};
use crate::verify::rejection::Rejection;
use crate::verify::replay::Permit;
use crate::verify::time::UnixTime;
use crate::verify::token::{Form, Unverified, VerifiedToken};
use cache::{Cached, Ground, TokenCache, TokenKey};
use client::flight::Flights;
pub use exchange::Exchanged;
use exchange::{ExchangeCache, ExchangeKey, Exchanger, Subject};
use introspection::{Active, Introspector};
pub use issuer::IssuerKeys;
pub use source::Unusable;

mod cache;
mod client;
mod exchange;
mod fetch;
mod introspection;
mod issuer;
mod source;

/// How much memory exchanged tokens may take, which is thousands. It is taken as they come.
const EXCHANGED_BYTES: u64 = 16 * 1024 * 1024;

/// An issuer, the task that fetches its keys, and who asks it about tokens.
#[derive(Clone, Debug)]
struct Known {
    keys: Arc<IssuerKeys>,
    introspector: Option<Arc<Introspector>>,
    exchanger: Option<Arc<Exchanger>>,
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
        let keys = Arc::new(IssuerKeys::new(issuer)?);
        let introspector = Introspector::new(issuer, &keys)?.map(Arc::new);
        let exchanger = Exchanger::new(issuer)?.map(Arc::new);
        Ok(Self { keys, introspector, exchanger, task: Arc::default() })
    }
}

/// The issuers whose tokens are accepted, and the tokens of theirs that were verified lately.
#[derive(Debug)]
pub struct Tokens {
    issuers: Vec<Known>,
    /// Positions in `issuers`, by the exact `iss`.
    by_name: HashMap<String, usize>,
    /// The first that is asked about tokens, for routes that name none.
    asked: Option<usize>,
    cache: Arc<TokenCache>,
    flights: Arc<Flights<TokenKey, Active>>,
    exchanged: Arc<ExchangeCache>,
    exchanges: Arc<Flights<ExchangeKey, Exchanged>>,
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
        let asked = issuers.iter().position(|known| known.introspector.is_some());
        let cache = Arc::new(TokenCache::new(cache_bytes));
        Ok(Self {
            issuers,
            by_name,
            asked,
            cache,
            flights: Arc::default(),
            exchanged: Arc::new(ExchangeCache::new(EXCHANGED_BYTES)),
            exchanges: Arc::default(),
        })
    }

    /// Starts the task of each issuer that fetches its keys, at once and from then on, until `stop`, or until no [`Tokens`] has the
    /// issuer any more. Without it no token is ever verified. A task that runs already is left alone.
    pub fn spawn(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for Known { keys, task, .. } in &self.issuers {
            if task.begun.swap(true, Ordering::Relaxed) {
                continue;
            }
            let (keys, unused, stop) = (Arc::clone(keys), task.unused.clone(), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(unused.run_until_cancelled(keys.keep_fetching())).await;
            });
        }
    }

    /// Verifies a token: its issuer's signature or word, and everything `verify::token` asks of it. Repeats an earlier answer for the very same characters
    /// while the issuer's keys are the same, or its word holds, and the token's time lasts. Whether the caller may present it is not known then.
    ///
    /// `of` is the one issuer whose tokens are taken here, by its position; `None`: any. It is also the one that is asked about a token which does
    /// not say whose it is; where it is `None`, that is the first that can be asked. No second one is: to ask around would give a token of one issuer
    /// to the others.
    ///
    /// # Errors
    /// A rejection of the token; or [`Rejection::IssuerUnavailable`] while there are no keys to judge it by, and those of introspection while its issuer does
    /// not answer.
    pub async fn verify(
        &self,
        raw: RawToken<'_>,
        of: Option<usize>,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        let key = TokenKey { digest: raw.digest(), asked: of.or(self.asked) };
        if let Some(cached) = self.cache.get(key)
            && of.is_none_or(|of| of == cached.issuer)
            && self.holds(&cached, now)
        {
            // R-H-21: never past `exp`, which is compared with this request's clock each time.
            return cached.token.revalidate(now);
        }
        match Form::of(raw) {
            Form::Jose => self.verify_signed(&Unverified::read(raw)?, None, key, of, now).await,
            Form::Encrypted => {
                let (opened, with) = self.open(raw, of)?;
                self.verify_signed(&Unverified::read_opened(&opened)?, Some(with), key, of, now).await
            }
            Form::Opaque => self.introspect(raw, key, now).await,
        }
    }

    fn holds(&self, cached: &Cached, now: UnixTime) -> bool {
        match cached.ground {
            Ground::Keys(generation) => self.issuers[cached.issuer].keys.generation() == generation,
            Ground::Word(until) => now < until,
        }
    }

    /// Opens an encrypted token, with the key that it names, or the first that fits: an issuer that is not known yet cannot choose it.
    fn open(&self, raw: RawToken<'_>, of: Option<usize>) -> Result<(Opened, &Arc<DecryptionKey>), Rejection> {
        let issuers = of.map_or(&self.issuers[..], |of| &self.issuers[of..=of]);
        let mut keys =
            issuers.iter().filter_map(|known| known.keys.encryption()).flat_map(|own| &own.keys).peekable();
        // Without keys it is no token that anyone here understands.
        keys.peek().ok_or(Rejection::TokenMalformed)?;
        let sealed = Sealed::read(raw.text()).ok_or(Rejection::TokenUndecryptable)?;
        let key = keys.find(|key| sealed.fits(key)).ok_or(Rejection::TokenUndecryptable)?;
        let opened = sealed.open(key).ok_or(Rejection::TokenUndecryptable)?;
        Ok((opened, key))
    }

    /// Verifies a token that is signed, and that was `opened` with that key if it was encrypted.
    async fn verify_signed(
        &self,
        token: &Unverified<'_>,
        opened: Option<&Arc<DecryptionKey>>,
        key: TokenKey,
        of: Option<usize>,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        // R-H-02: the exact name chooses the keys, so one issuer's keys never speak for another's tokens.
        let issuer = *self.by_name.get(token.issuer()).ok_or(Rejection::TokenIssuer)?;
        if of.is_some_and(|of| of != issuer) {
            return Err(Rejection::TokenIssuer);
        }
        let keys = &self.issuers[issuer].keys;
        match (keys.encryption(), opened) {
            (None, None) => {}
            // R-H-15: what is encrypted by agreement and comes without is not the issuer's doing.
            (Some(own), None) if own.tokens == SealedTokens::Required => {
                return Err(Rejection::TokenUnencrypted);
            }
            (Some(_), None) => {}
            // The key has to be one that this issuer encrypts to.
            (Some(own), Some(with)) if own.keys.contains(with) => {}
            (Some(_) | None, Some(_)) => return Err(Rejection::TokenUndecryptable),
        }
        let (verified, generation) = keys.verify(token, now).await?;
        // Only what was verified is kept: what is refused costs its sender a signature of its own each time, and us no memory.
        let ground = Ground::Keys(generation);
        self.cache.put(key, Cached { issuer, ground, token: verified.clone() });
        Ok(verified)
    }

    async fn introspect(
        &self,
        raw: RawToken<'_>,
        key: TokenKey,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        // Nobody can say what it is.
        let Some((issuer, introspector)) =
            key.asked.and_then(|at| Some((at, self.issuers[at].introspector.as_ref()?)))
        else {
            return Err(Rejection::TokenMalformed);
        };
        let known = || {
            let refused = || introspector.refused_lately(key.digest, now).map(Err);
            self.cache.get(key).and_then(|cached| cached.into_answer(now)).map(Ok).or_else(refused)
        };
        let ask = |leave| {
            let (introspector, cache) = (Arc::clone(introspector), Arc::clone(&self.cache));
            let token: Box<str> = raw.text().into();
            async move {
                let outcome = introspector.ask(leave, &token, key.digest, now).await;
                if let Ok(active) = &outcome {
                    let ground = Ground::Word(active.until);
                    cache.put(key, Cached { issuer, ground, token: active.token.clone() });
                }
                outcome
            }
        };
        let lost = Rejection::IntrospectionUnreachable;
        let outcome = self.flights.answer(key, known, || introspector.leave(), ask, lost).await;
        // The answer was judged at the time of whoever asked first.
        outcome?.token.revalidate(now)
    }

    /// Exchanges the token of a permit at its issuer for one that is made for `target`, or repeats what the issuer has given for it lately. `raw` is the token as it was
    /// presented, and `most_bytes` the longest that is taken in its place. One exchange of one token is asked for at a time.
    ///
    /// # Errors
    /// The rejections of an exchange. The proof is spent, so the caller comes again with another.
    pub async fn exchange(
        &self,
        permit: &Permit,
        raw: RawToken<'_>,
        target: &Arc<ExchangeTarget>,
        most_bytes: usize,
        now: UnixTime,
    ) -> Result<Exchanged, Rejection> {
        let token = permit.token();
        // The configuration has made sure that every issuer of such a route exchanges tokens.
        let issuer = self.by_name.get(token.issuer()).copied().ok_or(Rejection::TokenIssuer)?;
        let exchanger = self.issuers[issuer].exchanger.as_ref().ok_or(Rejection::ExchangeRefused)?;
        let key = ExchangeKey { digest: raw.digest(), issuer, target: Arc::clone(target) };
        if let Some(exchanged) = self.exchanged.get(&key, now) {
            return Ok(exchanged);
        }
        let known = || {
            let refused = || exchanger.refused_lately(&key, now).map(Err);
            self.exchanged.get(&key, now).map(Ok).or_else(refused)
        };
        let ask = |leave| {
            let (exchanger, cache, key) = (Arc::clone(exchanger), Arc::clone(&self.exchanged), key.clone());
            let subject = Subject { token: raw.text().into(), expires: token.expires(), most_bytes };
            async move {
                let outcome = exchanger.ask(leave, &subject, &key, now).await;
                if let Ok(exchanged) = &outcome {
                    cache.put(key, exchanged, now);
                }
                outcome
            }
        };
        let lost = Rejection::ExchangeUnreachable;
        self.exchanges.answer(key.clone(), known, || exchanger.leave(), ask, lost).await
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

    /// Questions to issuers about tokens that were asked, those without a usable answer, and those not asked, for metrics.
    pub fn introspections(&self) -> (u64, u64, u64) {
        let all = self.issuers.iter().filter_map(|known| known.introspector.as_ref());
        all.map(|one| one.counts()).fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
    }

    /// The same of exchanges.
    pub fn exchanges(&self) -> (u64, u64, u64) {
        let all = self.issuers.iter().filter_map(|known| known.exchanger.as_ref());
        all.map(|one| one.counts()).fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
    }

    /// How many exchanged tokens are remembered, for metrics.
    pub fn exchanged(&self) -> usize {
        self.exchanged.len()
    }

    /// How many verified tokens are remembered, for metrics. Some of them may be of keys or of a time that have passed.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }
}

#[cfg(test)]
mod tests;
