//! The claims of an access token, each with the type it must have (RFC 9068 §2.2, RFC 7519 §4.1).
//!
//! Types are judged before anything else and even where a claim is not required: a reader that shrugs at `exp: "never"` has a token without
//! an end (R-H-19). What the values must be is the issuer's rules, in the file above.

use super::super::claim_value::{self, ClaimValue};
use super::super::confirmation::Confirmation;
use super::super::json::{Object, Value};
use super::super::rejection::Rejection;
use super::super::time::UnixTime;
use super::TokenRules;

/// How far ahead `iat` may be, in seconds, beyond the leeway: only an issuer with a broken clock, or someone else, dates a token later.
const IAT_AHEAD: i64 = 60;

/// Claims that only another kind of JWT has, for issuers whose access tokens have no `typ` of their own: the hashes of ID tokens (OpenID Connect Core
/// §3.1.3.6 and §3.3.2.11), security events and logout tokens (RFC 8417 §2.2), answers of introspection (RFC 9701 §5), DPoP proofs.
const OF_OTHER_KINDS: [&str; 6] = ["at_hash", "c_hash", "events", "token_introspection", "htm", "htu"];

/// The claims of a token, typed. They are shared by every clone of it.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) jti: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) scope: Option<String>,
    pub(super) expires: UnixTime,
    pub(super) not_before: Option<UnixTime>,
    pub(super) issued_at: Option<UnixTime>,
    pub(super) confirmation: Confirmation,
    /// All other claims, for an operator who requires them and for policies.
    others: Box<[(Box<str>, ClaimValue)]>,
}

/// The claims this file gives a type. Every other one is kept as it is.
const TYPED: [&str; 10] = ["iss", "sub", "client_id", "jti", "aud", "scope", "exp", "nbf", "iat", "cnf"];

impl Claims {
    /// Reads the claims.
    ///
    /// # Errors
    /// [`Rejection::TokenMalformed`] for a claim of the wrong type, null included; [`Rejection::TokenClaimMissing`] without `iss`, `aud` or `exp`,
    /// which no setting can make optional; [`Rejection::TokenAudience`] for an empty list; [`Rejection::TokenConfirmation`].
    pub(super) fn read(claims: &Object<'_>) -> Result<Self, Rejection> {
        Self::read_of(claims, None)
    }

    /// Reads the claims of a token that `issuer` itself has told us of: without `iss` they are its own (RFC 7662 §2.2 makes it optional).
    ///
    /// # Errors
    /// As [`Claims::read`].
    pub(super) fn read_of(claims: &Object<'_>, issuer: Option<&str>) -> Result<Self, Rejection> {
        let text = |name| typed(claims, name, |value| value.as_str().map(str::to_owned));
        let date =
            |name| typed(claims, name, |value| value.as_number().and_then(UnixTime::from_numeric_date));
        let audiences = typed(claims, "aud", read_audiences)?.ok_or(Rejection::TokenClaimMissing)?;
        if audiences.is_empty() {
            return Err(Rejection::TokenAudience);
        }
        Ok(Self {
            issuer: text("iss")?.or_else(|| issuer.map(str::to_owned)).ok_or(Rejection::TokenClaimMissing)?,
            subject: text("sub")?,
            client_id: text("client_id")?,
            jti: text("jti")?,
            audiences,
            scope: text("scope")?,
            expires: date("exp")?.ok_or(Rejection::TokenClaimMissing)?,
            not_before: date("nbf")?,
            issued_at: date("iat")?,
            confirmation: Confirmation::read(claims)?,
            others: claims
                .members()
                .filter(|(name, value)| !TYPED.contains(name) && **value != Value::Null)
                .map(|(name, value)| (name.into(), ClaimValue::of(value)))
                .collect(),
        })
    }

    /// Whether a claim is there in the sense of `required_claims`: a string that is not empty, or for claims we give no type anything but null
    /// (RFC 9068 §2.2).
    pub(super) fn has(&self, name: &str) -> bool {
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        match name {
            "iss" | "aud" | "exp" => true,
            "sub" => filled(&self.subject),
            "client_id" => filled(&self.client_id),
            "jti" => filled(&self.jti),
            "scope" => filled(&self.scope),
            "nbf" => self.not_before.is_some(),
            "iat" => self.issued_at.is_some(),
            "cnf" => self.confirmation != Confirmation::Unbound,
            other => self.other(other).is_some(),
        }
    }

    /// A claim that this file gives no type, unless it is null.
    pub(super) fn other(&self, name: &str) -> Option<&ClaimValue> {
        claim_value::find(&self.others, name)
    }

    /// All claims that this file gives no type, unless they are null.
    pub(super) fn others(&self) -> impl Iterator<Item = (&str, &ClaimValue)> {
        self.others.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether a claim gives another kind of JWT away. What it cannot tell, an ID token without hashes, is kept out by `required_claims`, which
    /// has `client_id` unless the operator removed it, and by `aud`.
    pub(super) fn is_of_another_kind(&self) -> bool {
        OF_OTHER_KINDS.iter().any(|name| self.has(name))
    }

    /// What holds for every token of an issuer, whether it came signed or the issuer was asked about it. One judge for both, or what the one
    /// forgot would be the way in.
    pub(super) fn judge(&self, rules: &TokenRules, now: UnixTime) -> Result<(), Rejection> {
        // RFC 9068 §4: exactly, no trailing slash forgiven. Whoever chose the keys or the endpoint looked the issuer up by this name; a
        // mistake there would let one issuer speak for another.
        if self.issuer != rules.issuer {
            return Err(Rejection::TokenIssuer);
        }
        // RFC 9068 §4: whole strings, case and all.
        if !self.audiences.iter().any(|audience| rules.audiences.contains(audience)) {
            return Err(Rejection::TokenAudience);
        }
        self.judge_time(rules.leeway, now)?;
        if self.issued_at.is_some_and(|issued| issued > now.plus(rules.leeway).plus(IAT_AHEAD)) {
            return Err(Rejection::TokenNotYetValid);
        }
        if let Some(most) = rules.max_lifetime {
            // Without `iat` nobody knows how long it is good, so it is not known to be short.
            let issued = self.issued_at.ok_or(Rejection::TokenClaimMissing)?;
            if self.expires.since(issued) > most {
                return Err(Rejection::TokenLifetime);
            }
        }
        Ok(())
    }

    /// `exp` and `nbf` (RFC 7519 §4.1.4 and §4.1.5), with the clocks apart by at most `leeway` seconds.
    pub(super) fn judge_time(&self, leeway: i64, now: UnixTime) -> Result<(), Rejection> {
        // "On or after" is expired: at `exp` itself the token is no longer good.
        if now >= self.expires.plus(leeway) {
            return Err(Rejection::TokenExpired);
        }
        if self.not_before.is_some_and(|not_before| not_before > now.plus(leeway)) {
            return Err(Rejection::TokenNotYetValid);
        }
        Ok(())
    }

    /// About how many bytes these claims take.
    pub(super) fn memory(&self) -> usize {
        let texts = [&self.subject, &self.client_id, &self.jti, &self.scope];
        let lists = self.audiences.iter().map(|audience| audience.len() + size_of::<String>());
        size_of::<Self>()
            + self.issuer.len()
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + lists.sum::<usize>()
            + claim_value::memory(&self.others)
    }
}

/// A claim in the type that `read` gives it; absent is fine, another type is not.
fn typed<T>(
    claims: &Object<'_>,
    name: &str,
    read: impl FnOnce(&Value<'_>) -> Option<T>,
) -> Result<Option<T>, Rejection> {
    claims.get(name).map(|value| read(value).ok_or(Rejection::TokenMalformed)).transpose()
}

/// A string or an array of strings (RFC 7519 §4.1.3).
fn read_audiences(value: &Value<'_>) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.to_string()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}
