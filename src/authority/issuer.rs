//! One issuer: the keys in use, when they are fetched, and how long they are believed.
//!
//! One task fetches and nobody else does, so there is one fetch at a time by construction; requests ask it for one and wait for its end. After
//! every fetch, whatever came of it, comes a rest of `refetch_cooldown` in which no one can cause another: a `kid` is chosen by whoever sends the
//! token, and each unknown one would otherwise be a request of ours to the issuer (R-H-13).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::fetch::FetchError;
use super::source::{Source, Unusable};
use crate::config::{Encryption, Issuer, KeySource};
use crate::verify::jwks::{KeySet, PassedOver};
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use crate::verify::token::answer::AnswerFault;
use crate::verify::token::{TokenError, Unverified, VerifiedToken};

/// The longest one attempt may take, from the first connection to the last byte, metadata included; and so the longest a request waits for it.
pub(super) const ATTEMPT_TIME: Duration = Duration::from_secs(5);
/// The longest any of the configured times lasts: a year. Beyond what a clock can count, adding one would be a panic.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// An issuer with the keys it publishes, as far as we know.
#[derive(Debug)]
pub struct IssuerKeys {
    settings: Issuer,
    source: Source,
    in_use: ArcSwap<InUse>,
    progress: watch::Sender<Progress>,
    demand: Notify,
    attempts: AtomicU64,
    failures: AtomicU64,
}

/// The keys that tokens are judged by.
#[derive(Debug, Default)]
struct InUse {
    /// Counts the sets there were: two tokens with the same number were judged by the same keys.
    generation: u64,
    /// Empty before the first fetch that worked, and after the last one is too long ago.
    keys: KeySet,
}

/// What the task is doing.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// How many attempts have ended.
    ended: u64,
    /// What came of the last one.
    last: Result<(), ()>,
    /// Whether another may begin.
    now: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// An attempt is under way, or the first is about to be.
    Fetching,
    /// Until then, nobody can cause another.
    Resting(Instant),
}

impl IssuerKeys {
    /// An issuer of which nothing is known yet.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(issuer: &Issuer) -> Result<Self, Unusable> {
        Ok(Self {
            source: Source::new(issuer)?,
            settings: Issuer {
                refetch_cooldown: issuer.refetch_cooldown.min(LONGEST),
                refresh: issuer.refresh.min(LONGEST),
                keep_stale: issuer.keep_stale.min(LONGEST),
                ..issuer.clone()
            },
            in_use: ArcSwap::default(),
            progress: watch::Sender::new(Progress { ended: 0, last: Ok(()), now: Stage::Fetching }),
            demand: Notify::new(),
            attempts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// `iss`
    pub fn name(&self) -> &str {
        &self.settings.rules.issuer
    }

    /// Whether these are the keys that `issuer` would have, so that they can go on being its. Keys from a file never are: it is at hand, so
    /// it is read again rather than trusted to be the same.
    pub(super) fn are_of(&self, issuer: &Issuer) -> bool {
        self.settings == *issuer && !matches!(issuer.keys, KeySource::File(_))
    }

    /// How many fetches were begun.
    pub fn fetches(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// How many of them brought no usable keys.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How many keys are in use.
    pub fn keys(&self) -> usize {
        self.in_use.load().keys.len()
    }

    /// Whether there are any.
    pub fn has_keys(&self) -> bool {
        !self.in_use.load().keys.is_empty()
    }

    /// Whether the keys were asked for once, whatever came of it.
    pub fn was_tried(&self) -> bool {
        self.progress.borrow().ended > 0
    }

    /// Waits until they were.
    pub(super) async fn tried(&self) {
        self.ended(1).await;
    }

    /// Waits until this many attempts have ended.
    pub(super) async fn ended(&self, attempts: u64) {
        // The sender is in `self`, so the wait cannot end for want of one.
        let _ = self.progress.subscribe().wait_for(|progress| progress.ended >= attempts).await;
    }

    /// Which set of keys is in use. What was verified under another number has to be verified again.
    pub(super) fn generation(&self) -> u64 {
        self.in_use.load().generation
    }

    /// Verifies a token of this issuer, after one fetch if no key fits and one is allowed now. Tells by which set of keys.
    ///
    /// # Errors
    /// The token's rejection; [`Rejection::IssuerUnavailable`] when there are no keys at all, or none that fit and the last fetch failed: the key
    /// may be one that we could not hear of, and its token must not be thrown away for that.
    pub(super) async fn verify(
        &self,
        token: &Unverified<'_>,
        now: UnixTime,
    ) -> Result<(VerifiedToken, u64), Rejection> {
        let in_use = self.in_use.load_full();
        // A token that its claims refuse is refused here even without keys: it costs no fetch and waits for none.
        match self.judge(token, &in_use, now) {
            Err(TokenError::KeyUnknown) => {}
            Err(TokenError::Rejected(rejection)) => return Err(rejection),
            Ok(verified) => return Ok(verified),
        }
        self.refetch().await;
        let newer = self.in_use.load_full();
        match self.judge(token, &newer, now) {
            Err(TokenError::KeyUnknown) if newer.keys.is_empty() || self.progress.borrow().last.is_err() => {
                Err(Rejection::IssuerUnavailable)
            }
            Err(TokenError::KeyUnknown) => Err(Rejection::TokenKeyUnknown),
            Err(TokenError::Rejected(rejection)) => Err(rejection),
            Ok(verified) => Ok(verified),
        }
    }

    /// Verifies an answer that this issuer has signed: with the keys in use, and once more after a fetch if none fits and one is allowed now.
    pub(super) async fn open<T>(
        &self,
        open: impl Fn(&KeySet) -> Result<T, AnswerFault>,
    ) -> Result<T, AnswerFault> {
        let in_use = self.in_use.load_full();
        match open(&in_use.keys) {
            Err(AnswerFault::KeyUnknown) => {}
            opened => return opened,
        }
        self.refetch().await;
        open(&self.in_use.load_full().keys)
    }

    /// What its tokens and answers are decrypted with.
    pub(super) const fn encryption(&self) -> Option<&Encryption> {
        self.settings.encryption.as_ref()
    }

    fn judge(
        &self,
        token: &Unverified<'_>,
        in_use: &InUse,
        now: UnixTime,
    ) -> Result<(VerifiedToken, u64), TokenError> {
        token.verify(&self.settings.rules, &in_use.keys, now).map(|verified| (verified, in_use.generation))
    }

    /// Returns after the fetch under way, or after one of its own if it is allowed now, or at once if it is not. Any number of callers
    /// wait for the same one, none longer than one may take.
    async fn refetch(&self) {
        let Progress { ended, now, .. } = *self.progress.borrow();
        match now {
            Stage::Fetching => {}
            Stage::Resting(until) if Instant::now() < until => return,
            Stage::Resting(_) => self.demand.notify_one(),
        }
        // If it ends early or late does not matter: the keys are looked at again either way.
        let _ = timeout(ATTEMPT_TIME, self.ended(ended + 1)).await;
    }

    /// Fetches the keys, now and from then on. The task of [`super::Tokens::spawn`]; it ends by being dropped.
    pub(super) async fn keep_fetching(&self) {
        let mut last_good = None;
        loop {
            let began = Instant::now();
            let outcome = self.attempt().await;
            let ended = Instant::now();
            let rested = ended + self.settings.refetch_cooldown;
            let due = match outcome {
                Ok(()) => {
                    last_good = Some(ended);
                    rested.max(began + self.settings.refresh)
                }
                Err(()) => rested,
            };
            // After a failure the last good keys stay for a bounded time (R-H-14). While fetches work, they are renewed in time.
            let stale = last_good.filter(|_| outcome.is_err()).map(|good| good + self.settings.keep_stale);
            self.rest(outcome, rested, due, stale).await;
        }
    }

    /// Waits until `due`, or until someone wants a fetch after `rested`. The keys are dropped at `stale` meanwhile.
    async fn rest(&self, last: Result<(), ()>, rested: Instant, due: Instant, stale: Option<Instant>) {
        // Who asked while the fetch was under way has been served by it: that must not cause another.
        tokio::select! { biased; () = self.demand.notified() => {}, () = std::future::ready(()) => {} }
        self.progress.send_modify(|progress| {
            *progress = Progress { ended: progress.ended + 1, last, now: Stage::Resting(rested) };
        });
        let wanted = async {
            // Requests do not ask before this either; one that decided to a moment too early must wait all the same.
            sleep_until(rested).await;
            self.demand.notified().await;
        };
        let dropped = async {
            if let Some(stale) = stale {
                sleep_until(stale).await;
                self.drop_keys();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { () = sleep_until(due) => {}, () = wanted => {}, () = dropped => {} }
        self.progress.send_modify(|progress| progress.now = Stage::Fetching);
    }

    /// One attempt. A failure is told to the operator here; the keys stay what they were.
    async fn attempt(&self) -> Result<(), ()> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let fetched =
            async { Ok(KeySet::read(&self.source.fetch().await?, &self.settings.rules.algorithms)?) };
        match timeout(ATTEMPT_TIME, fetched).await.unwrap_or(Err(FetchError::TooSlow(ATTEMPT_TIME))) {
            Ok((keys, passed_over)) => {
                self.replace_keys(keys, passed_over);
                Ok(())
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                warn!(issuer = self.name(), reason = %error, keys = self.keys(), "keys could not be fetched");
                Err(())
            }
        }
    }

    /// Puts `keys` in use if they differ from those that are: the same keys must not empty the cache of tokens every few minutes.
    fn replace_keys(&self, keys: KeySet, passed_over: PassedOver) {
        let before = self.in_use.load_full();
        if keys == before.keys {
            return;
        }
        info!(issuer = self.name(), keys = keys.len(), before = before.keys.len(), "new keys");
        if passed_over.total() > 0 {
            let PassedOver { secret, other_use, unfit } = passed_over;
            warn!(issuer = self.name(), secret, other_use, unfit, "some published keys are not used");
        }
        self.in_use.store(Arc::new(InUse { generation: before.generation + 1, keys }));
    }

    fn drop_keys(&self) {
        let before = self.in_use.load_full();
        if !before.keys.is_empty() {
            warn!(issuer = self.name(), "keys dropped: no fetch has worked for too long");
            let none = InUse { generation: before.generation + 1, keys: KeySet::default() };
            self.in_use.store(Arc::new(none));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::IssuerKeys;
    use crate::config::{Issuer, KeySource};
    use crate::verify::algorithm::{Algorithm, Algorithms};
    use crate::verify::token::{TokenRules, TokenType};

    /// The task keeps the cooldown by itself: a demand at the wrong moment, from a request that looked at the stage before it
    /// changed, waits for its end.
    #[tokio::test(start_paused = true)]
    async fn a_demand_at_the_wrong_moment_waits() {
        let cooldown = Duration::from_secs(30);
        let rules = TokenRules {
            issuer: "https://as.example.com".into(),
            audiences: vec!["https://api.example.com".into()],
            algorithms: Algorithms::new(&[Algorithm::Es256]),
            token_type: TokenType::AtJwt,
            required_claims: Vec::new(),
            leeway: 5,
            max_lifetime: None,
        };
        let issuer = IssuerKeys::new(&Issuer {
            rules,
            keys: KeySource::File("/nowhere/jwks.json".into()),
            trust: None,
            refetch_cooldown: cooldown,
            refresh: 10 * cooldown,
            keep_stale: 10 * cooldown,
            introspection: None,
            exchange: None,
            encryption: None,
        })
        .unwrap();
        let watch = async {
            issuer.ended(1).await;
            let began = Instant::now();
            issuer.demand.notify_one();
            issuer.ended(2).await;
            began.elapsed()
        };
        tokio::select! {
            () = issuer.keep_fetching() => {}
            waited = watch => assert!(waited >= cooldown, "{waited:?}"),
        }
    }
}
