//! Whose request it is, for a route's `limits`, and what is left of their allowance.

use std::hash::Hash;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::clock::Clock;
use crate::config::LimitBy;
use crate::rate::{Allowance, Limiter};
use crate::replay::redis::Counted;
use crate::replay::store::{Shared, Store};
use crate::route::Route;
use crate::verify::digest::Digest;
use crate::verify::policy::Granted;
use crate::verify::proof::Binding;
use crate::verify::rejection::Rejection;
use crate::verify::replay::Permit;
use crate::verify::time::UnixTime;
use crate::verify::token::VerifiedToken;

/// What is known of the caller's allowance.
#[derive(Debug, Default)]
pub(super) enum Tally {
    /// The request has not been counted, or is not limited.
    #[default]
    Nothing,
    /// It was counted.
    Counted(Allowance),
    /// It is one too many.
    Spent(Allowance),
}

impl Tally {
    /// Counts the request as one of `who`.
    ///
    /// # Errors
    /// [`Rejection::RateExceeded`]
    pub(super) fn count(&mut self, limiter: &Limiter, who: impl Hash) -> Result<(), Rejection> {
        match limiter.count(who) {
            Ok(allowance) => {
                *self = Tally::Counted(allowance);
                Ok(())
            }
            Err(allowance) => {
                *self = Tally::Spent(allowance);
                Err(Rejection::RateExceeded)
            }
        }
    }

    /// Turns a grant into a permit and counts the request, where the route does so, for the client or the key that was proven. Nobody spends another's allowance by a
    /// request that was recorded: it is counted when it is known that its proof was not used.
    ///
    /// # Errors
    /// Those of [`Granted::claim`], and [`Rejection::RateExceeded`].
    pub(super) async fn claim(
        &mut self,
        granted: Granted,
        route: &Route,
        store: &Store,
        clock: &Clock,
        now: UnixTime,
    ) -> Result<Permit, Rejection> {
        // By address it was counted before there was a token.
        let Some(limiter) = route.limiter().filter(|limiter| limiter.rate().by != LimitBy::Address) else {
            return granted.claim(store, now).await;
        };
        match store.shared() {
            None => {
                granted.refuse_used(store).await?;
                // Before the proof is spent, so that it is good for another try.
                self.count_holder(limiter, granted.proven().token(), granted.proven().binding())?;
                granted.claim(store, now).await
            }
            // Only the claim tells whether it was used at another replica. Who has nothing left is refused before it, whether it was or not: his claims would take room in the store
            // without an end.
            Some(shared) => {
                let who = Holder::of(limiter.rate().by, granted.proven().token(), granted.proven().binding());
                if let Some(allowance) = limiter.spent(who) {
                    *self = Tally::Spent(allowance);
                    return Err(Rejection::RateExceeded);
                }
                let permit = granted.claim(store, now).await?;
                self.count_holder(limiter, permit.token(), permit.binding())?;
                self.count_among_all(limiter, route.name(), &permit, shared, clock.precise()).await?;
                Ok(permit)
            }
        }
    }

    fn count_holder(
        &mut self,
        limiter: &Limiter,
        token: &VerifiedToken,
        binding: &Binding,
    ) -> Result<(), Rejection> {
        self.count(limiter, Holder::of(limiter.rate().by, token, binding))
    }

    /// Counts it together with other replicas, where the route does so; `name` is the route's. It has to be counted here before.
    ///
    /// A store that cannot be asked refuses nobody here: what this replica lets through by itself is counted already.
    async fn count_among_all(
        &mut self,
        limiter: &Limiter,
        name: &str,
        permit: &Permit,
        store: &Shared,
        now: SystemTime,
    ) -> Result<(), Rejection> {
        let (true, Tally::Counted(own)) = (limiter.rate().shared, &*self) else { return Ok(()) };
        let window = limiter.window();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (number, left) = window_at(window, since);
        let who = Holder::of(limiter.rate().by, permit.token(), permit.binding());
        let holder = who.digest();
        let parts = [limiter.rate().by.name().as_bytes(), b" ", &number.to_be_bytes(), &holder];
        let counted = Digest::of_pair(Digest::<Counted>::of(name.as_bytes()).as_bytes(), &parts.concat());
        // Kept for longer than anybody counts in this window, by whatever clock and however late it comes there: a count that ended in between would begin anew without an end.
        let settings = store.redis.settings();
        let late = settings.clock_difference.saturating_add(settings.timeout);
        let kept = window.saturating_add(late).saturating_mul(2);
        let Some(count) = store.redis.count(counted, kept).await else { return Ok(()) };
        match limiter.count_among_all(own.clone(), count, left) {
            Ok(allowance) => {
                *self = Tally::Counted(allowance);
                Ok(())
            }
            Err(allowance) => {
                limiter.rest(who, left);
                *self = Tally::Spent(allowance);
                Err(Rejection::RateExceeded)
            }
        }
    }

    /// Seconds until there is something left again, where nothing is.
    pub(super) const fn wait(&self) -> Option<u64> {
        match self {
            Tally::Nothing | Tally::Counted(_) => None,
            Tally::Spent(allowance) => Some(allowance.wait()),
        }
    }

    /// Says in an answer what is left.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        match self {
            Tally::Nothing => {}
            Tally::Counted(allowance) | Tally::Spent(allowance) => allowance.write(headers),
        }
    }
}

/// Which window of this length it is that long after 1970, and what is left of it. By nanoseconds: the highest rates have windows of microseconds, and a window that is rounded has another rate.
fn window_at(window: Duration, since: Duration) -> (u128, Duration) {
    let (window, since) = (window.as_nanos().max(1), since.as_nanos());
    let left = u64::try_from(window - since % window).unwrap_or(u64::MAX);
    (since / window, Duration::from_nanos(left))
}

/// Who is counted.
#[derive(Hash)]
enum Holder<'t> {
    /// Two issuers may name two clients alike.
    Client { issuer: &'t str, client: Option<&'t str> },
    /// The thumbprint of a key, or of a certificate.
    Key([u8; 32]),
}

impl<'t> Holder<'t> {
    fn of(by: LimitBy, token: &'t VerifiedToken, binding: &Binding) -> Self {
        let client = Holder::Client { issuer: token.issuer(), client: token.client_id() };
        match (by, binding) {
            (LimitBy::Key, Binding::Key(key) | Binding::Both(key, _)) => {
                Holder::Key(*key.thumbprint().as_bytes())
            }
            (LimitBy::Key, Binding::Certificate(certificate)) => {
                Holder::Key(*certificate.thumbprint().as_bytes())
            }
            // The configuration has no limit by key on a route that lets these through. If it had, all bearers of a client would share one.
            (LimitBy::Key, Binding::Nothing(_)) | (LimitBy::Client | LimitBy::Address, _) => client,
        }
    }

    /// The same at every replica, and nobody's name.
    fn digest(&self) -> [u8; 32] {
        match self {
            Holder::Key(thumbprint) => *thumbprint,
            Holder::Client { issuer, client } => {
                let issuer = Digest::<Counted>::of(issuer.as_bytes());
                let client = client.unwrap_or_default();
                *Digest::<Counted>::of_pair(issuer.as_bytes(), client.as_bytes()).as_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However short a window is, it is none other than `burst` / `rate`: of one that is longer the same number of requests would be a lower rate.
    #[test]
    fn windows_are_as_long_as_they_say() {
        let since = Duration::new(1_700_000_000, 123_456_789);
        for (window, left) in [
            (Duration::from_micros(1), Duration::from_nanos(211)),
            (Duration::from_micros(2_500), Duration::from_nanos(1_543_211)),
            (Duration::from_secs(2), Duration::new(1, 876_543_211)),
        ] {
            let (number, was_left) = window_at(window, since);
            assert_eq!(was_left, left, "{window:?}");
            assert_eq!(window_at(window, since + left), (number + 1, window), "{window:?}");
        }
        // Years: an allowance of a million that grows by one in an hour.
        let (number, left) = window_at(Duration::from_hours(1_000_000), since);
        assert_eq!((number, left), (0, Duration::from_hours(1_000_000) - since));
    }
}
