//! Step 2: the access token, a JWT of RFC 9068, and what makes it one of ours.
//!
//! The checks run in the order of their cost, and the issuer's signature comes last. Nothing a token says is believed before that: until then its
//! claims can only refuse it. A caller learns nothing from such a refusal, since the claims are what it sent and the rules are no secret;
//! and a flood of tokens that are expired, for someone else or made up costs no signature each and no fetch of keys.

use std::sync::Arc;

use super::algorithm::{Algorithm, Algorithms};
use super::claim_value::{ClaimPath, ClaimValue};
use super::confirmation::Confirmation;
use super::credential::RawToken;
use super::json::{Object, Value};
use super::jwe::Opened;
use super::jwks::{KID_BYTES, KeyError, KeySet};
use super::jws::{self, Compact};
use super::rejection::Rejection;
use super::time::UnixTime;
use claims::Claims;

pub(crate) mod answer;
mod claims;
mod introspected;

/// `typ` of what the gateway signs for upstreams. It has issuer, audience, subject and `cnf`, as an access token has.
pub const ASSERTION: &str = "holdfast-assertion+jwt";

/// Kinds of JWT that are never access tokens, whatever an issuer's `token_type` says (RFC 8725 §3.12): DPoP proofs, answers of
/// introspection (RFC 9701 §8.1), logout tokens, security events, authorization requests, client authentication and attestations.
const OTHER_KINDS: [&str; 9] = [
    "dpop+jwt",
    "token-introspection+jwt",
    "logout+jwt",
    "secevent+jwt",
    "oauth-authz-req+jwt",
    "client-authentication+jwt",
    "oauth-client-attestation+jwt",
    "oauth-client-attestation-pop+jwt",
    ASSERTION,
];

/// Which `typ` an issuer's access tokens have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt`, or `application/at+jwt` (RFC 9068 §4). Keeps ID tokens, logout tokens and client assertions out.
    AtJwt,
    /// Any `typ` or none, for issuers from before RFC 9068. The operator has to say so. What is clearly another kind of JWT is refused still.
    Any,
}

/// How one issuer's access tokens are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// `iss`, compared byte for byte (RFC 9068 §4).
    pub issuer: String,
    /// `aud` must hold one of these; never empty.
    pub audiences: Vec<String>,
    /// The signature algorithms accepted from this issuer.
    pub algorithms: Algorithms,
    /// The `typ` demanded.
    pub token_type: TokenType,
    /// Claims that must be present besides `iss`, `aud` and `exp`.
    pub required_claims: Vec<String>,
    /// Seconds that the issuer's clock may differ from ours, for `exp`, `nbf` and `iat`.
    pub leeway: i64,
    /// `max_lifetime`: seconds that may lie between `iat` and `exp`; `None`: any number.
    pub max_lifetime: Option<i64>,
}

/// What a token is by its looks, which decides how it is judged, and once and for all: a token that fails the one way is never tried the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It begins like a JOSE object in the compact serialisation: base64url of a JSON object, and a dot.
    Jose,
    /// It begins so and has five parts: a JWE (RFC 7516 §7.1).
    Encrypted,
    /// Anything else: only its issuer can say what it is worth.
    Opaque,
}

impl Form {
    /// The form of `raw`.
    pub fn of(raw: RawToken<'_>) -> Self {
        let header = raw.text().split_once('.').and_then(|(header, _)| jws::from_base64url(header));
        match header {
            Some(header) if Object::read(&header).is_some() => {
                if raw.text().matches('.').count() == 4 {
                    Form::Encrypted
                } else {
                    Form::Jose
                }
            }
            Some(_) | None => Form::Opaque,
        }
    }
}

/// A token that is well-formed and nothing more. Its issuer is known by name only; nothing in it is to be believed.
#[derive(Debug)]
#[must_use]
pub struct Unverified<'t> {
    jws: Compact<'t>,
    typ: Option<String>,
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Arc<Claims>,
}

/// Why [`Unverified::verify`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Everything else is right, but no key fits `kid` and `alg`: a newer key set may have one.
    KeyUnknown,
    /// Refused for good.
    Rejected(Rejection),
}

impl From<Rejection> for TokenError {
    fn from(rejection: Rejection) -> Self {
        TokenError::Rejected(rejection)
    }
}

impl<'t> Unverified<'t> {
    /// Reads a compact JWS whose claims have the right types. Which issuer's rules and keys it is for is said by [`Unverified::issuer`].
    ///
    /// # Errors
    /// - [`Rejection::TokenMalformed`] for what is no such JWS: a JWE of five parts, a JSON serialisation, a claim of the wrong type;
    /// - [`Rejection::TokenHeader`], [`Rejection::TokenTyp`], [`Rejection::TokenAlg`] for a header no issuer of ours writes;
    /// - [`Rejection::TokenClaimMissing`] without `iss`, `aud` or `exp`;
    /// - [`Rejection::TokenConfirmation`].
    pub fn read(raw: RawToken<'t>) -> Result<Self, Rejection> {
        Self::read_text(raw.text())
    }

    /// Reads the JWS that was inside a JWE (RFC 9068 §4). It is judged as any other: that someone encrypted it says nothing of who signed it.
    ///
    /// # Errors
    /// As [`Unverified::read`]; a JWE inside a JWE is [`Rejection::TokenMalformed`].
    pub fn read_opened(opened: &'t Opened) -> Result<Self, Rejection> {
        Self::read_text(opened.text())
    }

    fn read_text(text: &'t str) -> Result<Self, Rejection> {
        let jws = Compact::read(text).ok_or(Rejection::TokenMalformed)?;
        let (typ, algorithm, kid) = read_header(&jws.header().ok_or(Rejection::TokenMalformed)?)?;
        let claims = Claims::read(&jws.claims().ok_or(Rejection::TokenMalformed)?)?;
        Ok(Self { jws, typ, algorithm, kid, claims: Arc::new(claims) })
    }

    /// `iss`: whose rules and keys to judge it by.
    pub fn issuer(&self) -> &str {
        &self.claims.issuer
    }

    /// Judges the token by its issuer's rules and keys. Whether the caller may present it is not known then: that is `proof`'s.
    ///
    /// # Errors
    /// [`TokenError`], for the first check that fails.
    pub fn verify(
        &self,
        rules: &TokenRules,
        keys: &KeySet,
        now: UnixTime,
    ) -> Result<VerifiedToken, TokenError> {
        let claims = &self.claims;
        self.judge_kind(rules.token_type)?;
        // RFC 8725 §3.1: only what the operator lists.
        if !rules.algorithms.contains(self.algorithm) {
            return Err(Rejection::TokenAlg.into());
        }
        if !rules.required_claims.iter().all(|name| claims.has(name)) {
            return Err(Rejection::TokenClaimMissing.into());
        }
        claims.judge(rules, now)?;
        let signed = self.jws.signing_input.as_bytes();
        keys.verify(self.kid.as_deref(), self.algorithm, signed, &self.jws.signature).map_err(|error| {
            match error {
                KeyError::Unknown => TokenError::KeyUnknown,
                KeyError::Signature => TokenError::Rejected(Rejection::TokenSignature),
            }
        })?;
        Ok(VerifiedToken { claims: Arc::clone(claims), leeway: rules.leeway })
    }

    /// RFC 9068 §4 and RFC 8725 §3.11: a JWT that was made for another purpose is no access token, however well it is signed.
    fn judge_kind(&self, token_type: TokenType) -> Result<(), Rejection> {
        let fits = match token_type {
            TokenType::AtJwt => self.typ.as_deref() == Some("at+jwt"),
            TokenType::Any => !self.claims.is_of_another_kind(),
        };
        if fits { Ok(()) } else { Err(Rejection::TokenTyp) }
    }
}

/// The `typ` in lower case without `application/`, the algorithm and the `kid`. Members that name or hold a key (`jwk`, `jku`,
/// `x5u`, `x5c`) are ignored: a key the caller chooses verifies whatever the caller writes, and an address it chooses is fetched from inside our network (RFC 8725 §3.10).
fn read_header(header: &Object<'_>) -> Result<(Option<String>, Algorithm, Option<String>), Rejection> {
    if jws::demands_extension(header) {
        return Err(Rejection::TokenHeader);
    }
    let typ = match header.get("typ") {
        None => None,
        Some(Value::String(typ)) => {
            // RFC 7515 §4.1.9: a media type, compared without regard to case, `application/` left out where there is no other slash.
            let typ = typ.to_ascii_lowercase();
            Some(typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ))
        }
        Some(_) => return Err(Rejection::TokenTyp),
    };
    if typ.as_deref().is_some_and(|typ| OTHER_KINDS.contains(&typ)) {
        return Err(Rejection::TokenTyp);
    }
    // `none` and every HS algorithm are no `Algorithm` (RFC 8725 §3.1 and §3.2).
    let algorithm = jws::string(header, "alg").and_then(Algorithm::from_name).ok_or(Rejection::TokenAlg)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES => Some(kid.to_string()),
        Some(_) => return Err(Rejection::TokenMalformed),
    };
    Ok((typ, algorithm, kid))
}

/// A token that its issuer signed, for this resource, within its time. Cheap to clone: the cache holds one and hands out another
/// through [`VerifiedToken::revalidate`]. Whether the caller may present it is not known yet.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedToken {
    claims: Arc<Claims>,
    leeway: i64,
}

impl VerifiedToken {
    /// The token again, at a later time: the one thing about a verified token that changes while its issuer's keys and our rules do not.
    ///
    /// # Errors
    /// [`Rejection::TokenExpired`] or [`Rejection::TokenNotYetValid`]. Whether its key is still published is the cache's to know.
    pub fn revalidate(&self, now: UnixTime) -> Result<VerifiedToken, Rejection> {
        self.claims.judge_time(self.leeway, now)?;
        Ok(self.clone())
    }

    /// From when on it is refused as expired: `exp`, and as much later as its issuer's clock may differ from ours.
    pub fn good_until(&self) -> UnixTime {
        self.claims.expires.plus(self.leeway)
    }

    /// `iss`
    pub fn issuer(&self) -> &str {
        &self.claims.issuer
    }

    /// `sub`
    pub fn subject(&self) -> Option<&str> {
        self.claims.subject.as_deref()
    }

    /// `client_id`
    pub fn client_id(&self) -> Option<&str> {
        self.claims.client_id.as_deref()
    }

    /// `jti`
    pub fn jti(&self) -> Option<&str> {
        self.claims.jti.as_deref()
    }

    /// `aud`, as a list
    pub fn audiences(&self) -> &[String] {
        &self.claims.audiences
    }

    /// `scope`, as it stands
    pub fn scope(&self) -> Option<&str> {
        self.claims.scope.as_deref()
    }

    /// Whether `scope` holds this one, whole (RFC 6749 §3.3).
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope().is_some_and(|scopes| scopes.split(' ').any(|held| held == scope))
    }

    /// The claim at `path`, where it is one that nothing here gives a type. `null` is no claim.
    pub fn claim(&self, path: &ClaimPath) -> Option<&ClaimValue> {
        self.claim_named(path.name()).and_then(|claim| path.follow(claim))
    }

    /// The claim of this name, where it is one that nothing here gives a type. `null` is no claim.
    pub fn claim_named(&self, name: &str) -> Option<&ClaimValue> {
        self.claims.other(name)
    }

    /// All claims that nothing here gives a type, in the order they stood, without those that are `null`.
    pub fn other_claims(&self) -> impl Iterator<Item = (&str, &ClaimValue)> {
        self.claims.others()
    }

    /// Seconds that its issuer's clock may differ from ours.
    pub const fn leeway(&self) -> i64 {
        self.leeway
    }

    /// `exp`
    pub fn expires(&self) -> UnixTime {
        self.claims.expires
    }

    /// `iat`
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.claims.issued_at
    }

    /// What its holder must show.
    pub fn confirmation(&self) -> Confirmation {
        self.claims.confirmation
    }

    /// About how many bytes of memory its claims take, for a cache that is bounded in bytes.
    pub fn memory(&self) -> usize {
        self.claims.memory()
    }
}

#[cfg(test)]
mod tests;
