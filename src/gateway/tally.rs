//! Whose request it is, for a route's `limits`, and what is left of their allowance.

use std::hash::Hash;

use http::HeaderMap;

use crate::config::LimitBy;
use crate::rate::{Allowance, Limiter};
use crate::verify::proof::{Binding, Proven};
use crate::verify::rejection::Rejection;

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

    /// Counts it as one of the client or the key that was proven, where the route does so.
    ///
    /// # Errors
    /// [`Rejection::RateExceeded`]
    pub(super) fn count_holder(&mut self, limiter: &Limiter, proven: &Proven) -> Result<(), Rejection> {
        let (token, binding) = (proven.token(), proven.binding());
        match limiter.rate().by {
            // Two issuers may name two clients alike.
            LimitBy::Client => self.count(limiter, (token.issuer(), token.client_id())),
            LimitBy::Key => match binding {
                Binding::Key(key) | Binding::Both(key, _) => self.count(limiter, key.thumbprint()),
                Binding::Certificate(certificate) => self.count(limiter, certificate.thumbprint()),
                // The configuration has no such limit on a route that lets these through. If it had, all bearers of a client would share one.
                Binding::Nothing(_) => self.count(limiter, (token.issuer(), token.client_id())),
            },
            // That was counted before there was a token.
            LimitBy::Address => Ok(()),
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
