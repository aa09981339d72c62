//! How strongly and how lately the user must have authenticated (RFC 9470): what the token says of it, and how the route wants it.

use super::super::claim_value::ClaimValue;
use super::super::rejection::Rejection;
use super::super::time::UnixTime;
use super::super::token::VerifiedToken;

/// How far ahead `auth_time` may be, in seconds, beyond the leeway: nobody has authenticated tomorrow, and a date in milliseconds would be fresh for ever.
const AHEAD: i64 = 60;

/// `require.acr` and `require.max_age`.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// `acr` must be one of these; empty: it is not looked at. In the order of preference, as the challenge has them.
    pub acr: Vec<String>,
    /// Seconds that `auth_time` may lie back; `None`: it is not looked at.
    pub max_age: Option<i64>,
}

impl Authentication {
    /// Judges what a token says. A token that does not say it is judged as one that says too little: the challenge makes its holder ask for one that does.
    ///
    /// # Errors
    /// [`Rejection::AcrInsufficient`] or [`Rejection::AuthenticationTooOld`].
    pub fn judge(&self, token: &VerifiedToken, now: UnixTime) -> Result<(), Rejection> {
        let claim = |name| token.claim_named(name);
        if !self.acr.is_empty() {
            // RFC 9470 §3: any one of them will do.
            let fits = matches!(claim("acr"), Some(ClaimValue::Text(acr)) if self.acr.iter().any(|one| **one == **acr));
            if !fits {
                return Err(Rejection::AcrInsufficient);
            }
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        let at = match claim("auth_time") {
            Some(ClaimValue::Number(number)) => UnixTime::from_numeric_date(*number),
            Some(_) | None => None,
        };
        let age = now.since(at.ok_or(Rejection::AuthenticationTooOld)?);
        // The leeway is for the issuer's clock, as everywhere.
        let leeway = token.leeway();
        if age > max_age.saturating_add(leeway) || age < -leeway - AHEAD {
            return Err(Rejection::AuthenticationTooOld);
        }
        Ok(())
    }
}

/// Whether a token has authorization details of this type (RFC 9396 §2.2).
pub(super) fn has_details(token: &VerifiedToken, wanted: &str) -> bool {
    let is_wanted = |detail: &ClaimValue| matches!(detail.member("type"), Some(ClaimValue::Text(found)) if **found == *wanted);
    matches!(token.claim_named("authorization_details"), Some(ClaimValue::List(details)) if details.iter().any(is_wanted))
}
