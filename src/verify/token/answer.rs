//! A signed answer to introspection (RFC 9701): whose it is, for whom, and of when.
//!
//! What it says of the token is `introspected`'s to judge. An answer that fails here is the issuer's trouble or someone else's work, and never the
//! token's: the caller hears 503.

use thiserror::Error;

use super::super::algorithm::{Algorithm, Algorithms};
use super::super::json::{Object, Value};
use super::super::jwks::{KID_BYTES, KeyError, KeySet};
use super::super::jws::{self, Compact};
use super::super::time::UnixTime;

/// How old or how far ahead `iat` may be beyond the leeway, in seconds: an answer is made for one question and used at once.
const IAT_APART: i64 = 60;

/// What an answer must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerRules<'r> {
    /// `iss`, byte for byte.
    pub(crate) issuer: &'r str,
    /// `aud` must hold the gateway's `client_id` with that issuer …
    pub(crate) client_id: &'r str,
    /// … or one of these, the names that the issuer knows the resource by: either says that the answer is for this gateway (RFC 9701 §5).
    pub(crate) audiences: &'r [String],
    /// As for the issuer's tokens.
    pub(crate) algorithms: &'r Algorithms,
    /// Seconds that the issuer's clock may differ from ours.
    pub(crate) leeway: i64,
}

/// Why an answer is not believed. The sentence is for the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum AnswerFault {
    #[error("the answer is no compact JWS of two JSON objects, each member once")]
    Malformed,
    #[error("typ of the answer is not token-introspection+jwt")]
    Type,
    #[error("the answer is signed with an algorithm that is not allowed, or demands an extension")]
    Header,
    #[error("iss of the answer is another issuer")]
    Issuer,
    #[error("aud of the answer is neither client_id nor one of audiences")]
    Audience,
    #[error("iat of the answer is missing, or not of now")]
    Stale,
    #[error("the answer has no token_introspection")]
    Empty,
    #[error("the answer is signed with a key that the issuer does not publish")]
    KeyUnknown,
    #[error("the signature of the answer does not verify")]
    Signature,
}

/// Reads and verifies an answer, and hands what it says of the token to `judge`.
///
/// # Errors
/// [`AnswerFault`], for the first check that fails; the signature comes last, as with tokens. With [`AnswerFault::KeyUnknown`] a newer key set may
/// do.
pub(crate) fn open<T>(
    text: &str,
    rules: AnswerRules<'_>,
    keys: &KeySet,
    now: UnixTime,
    judge: impl FnOnce(&Object<'_>) -> T,
) -> Result<T, AnswerFault> {
    let jws = Compact::read(text).ok_or(AnswerFault::Malformed)?;
    let header = jws.header().ok_or(AnswerFault::Malformed)?;
    // RFC 9701 §5 and §8.1: explicitly typed, or any JWT of the issuer's with the right audience would be an answer.
    let typ = jws::string(&header, "typ").ok_or(AnswerFault::Type)?.to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != "token-introspection+jwt" {
        return Err(AnswerFault::Type);
    }
    let algorithm = jws::string(&header, "alg").and_then(Algorithm::from_name);
    let algorithm = algorithm.filter(|one| rules.algorithms.contains(*one)).ok_or(AnswerFault::Header)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES => Some(kid.as_ref()),
        Some(_) => return Err(AnswerFault::Header),
    };
    if jws::demands_extension(&header) {
        return Err(AnswerFault::Header);
    }
    let claims = jws.claims().ok_or(AnswerFault::Malformed)?;
    if jws::string(&claims, "iss") != Some(rules.issuer) {
        return Err(AnswerFault::Issuer);
    }
    let is_us = |name: &str| name == rules.client_id || rules.audiences.iter().any(|own| own == name);
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => is_us(one),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(is_us),
        _ => false,
    };
    if !for_us {
        return Err(AnswerFault::Audience);
    }
    // An old answer that is sent again must not bring a revoked token back to life.
    let issued = claims.get("iat").and_then(Value::as_number).and_then(UnixTime::from_numeric_date);
    let apart = rules.leeway.saturating_add(IAT_APART);
    if !issued.is_some_and(|issued| now.since(issued) <= apart && issued.since(now) <= apart) {
        return Err(AnswerFault::Stale);
    }
    let said = claims.get("token_introspection").and_then(Value::as_object).ok_or(AnswerFault::Empty)?;
    keys.verify(kid, algorithm, jws.signing_input.as_bytes(), &jws.signature).map_err(
        |error| match error {
            KeyError::Unknown => AnswerFault::KeyUnknown,
            KeyError::Signature => AnswerFault::Signature,
        },
    )?;
    Ok(judge(said))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::verify::jwks::signing::{AUDIENCE, ISSUER, NOW, SigningKey, key_set};

    /// T-INT-15, R-I-07.
    #[test]
    fn one_thing_wrong() {
        let (key, other) = (SigningKey::new(Algorithm::Es256, "k"), SigningKey::new(Algorithm::Es256, "k"));
        let algorithms = Algorithms::new(&[Algorithm::Es256]);
        let (keys, _) = KeySet::read(key_set(&[key.public()]).as_bytes(), &algorithms).unwrap();
        let rules = AnswerRules {
            issuer: ISSUER,
            client_id: "gateway",
            audiences: &[AUDIENCE.into()],
            algorithms: &algorithms,
            leeway: 5,
        };
        let opened =
            |text: &str| open(text, rules, &keys, NOW, |said| jws::string(said, "sub").map(str::to_owned));
        let header = json!({"typ": "token-introspection+jwt", "alg": "ES256", "kid": "k"});
        let claims = json!({"iss": ISSUER, "aud": "gateway", "iat": NOW.seconds(),
            "token_introspection": {"active": true, "sub": "alice"}});
        assert_eq!(opened(&key.sign(&header, &claims)), Ok(Some("alice".to_owned())));
        let with = |json: &Json, name: &str, value: Json| {
            let mut changed = json.clone();
            changed[name] = value;
            changed
        };
        for (name, value, fault) in [
            ("typ", json!("JWT"), AnswerFault::Type),
            ("typ", json!("at+jwt"), AnswerFault::Type),
            ("typ", json!(null), AnswerFault::Type),
            ("alg", json!("none"), AnswerFault::Header),
            ("alg", json!("HS256"), AnswerFault::Header),
            ("alg", json!("PS256"), AnswerFault::Header),
            ("crit", json!(["x"]), AnswerFault::Header),
            ("kid", json!(1), AnswerFault::Header),
            ("kid", json!("x"), AnswerFault::KeyUnknown),
            // Not even worth a look for a newer key set.
            ("kid", json!("x".repeat(KID_BYTES + 1)), AnswerFault::Header),
        ] {
            let answer = key.sign(&with(&header, name, value.clone()), &claims);
            assert_eq!(opened(&answer), Err(fault), "{name}: {value}");
        }
        let now = NOW.seconds();
        for (name, value, fault) in [
            ("iss", json!("https://as.example.com/"), AnswerFault::Issuer),
            ("aud", json!("other"), AnswerFault::Audience),
            ("aud", json!([]), AnswerFault::Audience),
            ("aud", json!(null), AnswerFault::Audience),
            ("iat", json!(now - 66), AnswerFault::Stale),
            ("iat", json!(now + 66), AnswerFault::Stale),
            ("iat", json!(null), AnswerFault::Stale),
            ("token_introspection", json!("{}"), AnswerFault::Empty),
            ("token_introspection", json!(null), AnswerFault::Empty),
        ] {
            let answer = key.sign(&header, &with(&claims, name, value.clone()));
            assert_eq!(opened(&answer), Err(fault), "{name}: {value}");
        }
        for (name, value) in [
            ("aud", json!(["x", "gateway"])),
            ("aud", json!(AUDIENCE)),
            ("iat", json!(now - 65)),
            ("iat", json!(now + 65)),
        ] {
            assert!(
                opened(&key.sign(&header, &with(&claims, name, value.clone()))).is_ok(),
                "{name}: {value}"
            );
        }
        assert_eq!(opened(&other.sign(&header, &claims)), Err(AnswerFault::Signature));
        for text in ["", "{}", "e30.e30.AA.AA.AA", "a.b"] {
            assert_eq!(opened(text), Err(AnswerFault::Malformed), "{text}");
        }
    }
}
