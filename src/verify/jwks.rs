//! The keys an issuer publishes (RFC 7517 §5), and the token signatures they verify.
//!
//! Decides which keys of a set may verify which algorithm. A key that cannot be used is passed over and the others stay good (RFC 7517 §5), so
//! that an issuer may publish a key of tomorrow's type; a text that is no key set, or holds no usable key, is refused whole. Nothing is fetched
//! here: `authority` brings the text and decides how long a set is good.
//!
//! Verifiers are josekit's, since tokens and whatever else an issuer signs come in every algorithm there is. Building one costs as
//! much as using it, so they are built once, when the set is read.

use std::fmt;

use josekit::jwk::Jwk;
use josekit::jws::{self as jose, JwsVerifier};
use thiserror::Error;

use super::algorithm::{Algorithm, Algorithms};
use super::digest::{Digest, Key};
use super::json::{Object, Value};
use super::jwk::PublicKey;
use super::jws;

/// The longest `kid` we take, of a key or of a token. Whoever presents a token chooses its `kid` (RFC 8725 §3.10).
pub const KID_BYTES: usize = 256;
/// The most keys a set may have; issuers publish two or three.
const MOST_KEYS: usize = 100;
/// The most keys tried for one token: each try is a signature verification that someone without a token can ask for.
const MOST_TRIES: usize = 4;

/// The usable keys of one issuer. Two sets are equal when the same keys verify the same algorithms under the same names, however they are written.
#[derive(Default, PartialEq, Eq)]
pub struct KeySet {
    entries: Vec<Entry>,
    keys: usize,
}

/// One key with one algorithm it may verify.
struct Entry {
    kid: Option<String>,
    algorithm: Algorithm,
    thumbprint: Digest<Key>,
    verifier: Verifier,
}

/// Whose code verifies.
enum Verifier {
    /// josekit's.
    Jose(Box<dyn JwsVerifier>),
    /// The one that proofs' keys have: josekit knows no ML-DSA.
    Key(PublicKey),
}

impl Entry {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Jose(verifier) => verifier.verify(message, signature).is_ok(),
            Verifier::Key(key) => key.verify(self.algorithm, message, signature).is_ok(),
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        // The verifier follows from the key and the algorithm.
        (&self.kid, self.algorithm, self.thumbprint) == (&other.kid, other.algorithm, other.thumbprint)
    }
}

impl Eq for Entry {}

/// How many keys of a set were not taken, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Private or symmetric keys: whoever read the set can sign with them, so nothing they sign proves anything.
    pub secret: usize,
    /// Keys whose `use` or `key_ops` is for something else, encryption mostly (RFC 7517 §4.2 and §4.3).
    pub other_use: usize,
    /// Keys of a type, curve or algorithm that is unknown or not allowed here, too short, or malformed.
    pub unfit: usize,
}

impl PassedOver {
    /// All of them.
    pub const fn total(self) -> usize {
        self.secret + self.other_use + self.unfit
    }
}

/// Why a text is not used as a key set. The sentence is for the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAKeySet {
    /// Not one JSON object with an array `keys`, or a member stands twice.
    #[error("not a JSON object with an array of keys, each member once")]
    Malformed,
    /// More keys than we take.
    #[error("more than {MOST_KEYS} keys")]
    TooManyKeys,
    /// Not one key verifies an algorithm that is allowed for this issuer.
    #[error("no key that verifies an allowed algorithm ({} private or symmetric, {} for another use, {} unfit)", .0.secret, .0.other_use, .0.unfit)]
    NoUsableKey(PassedOver),
}

/// Why [`KeySet::verify`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No key has this `kid` and verifies this algorithm; or there are too many to try. A newer set may know better.
    Unknown,
    /// The keys that fit do not verify this signature. A newer set could only help a token without `kid`, and waits for the next refresh: anyone can
    /// send a signature that is wrong.
    Signature,
}

impl KeySet {
    /// Reads a JWK Set and builds a verifier for each key and allowed algorithm. Keys may be of any size up to what the caller read.
    ///
    /// A key with `alg` serves that algorithm alone. One without serves each of `algorithms` that its type and curve fit: an RSA key then serves
    /// the RS and PS algorithms that are allowed, which is weaker than RFC 8725 §3.1 wants and is the issuer's choice to make.
    ///
    /// # Errors
    /// [`NotAKeySet`]. Whether the text came from the issuer is the caller's concern.
    pub fn read(text: &[u8], algorithms: &Algorithms) -> Result<(Self, PassedOver), NotAKeySet> {
        // The strict reader goes first: josekit would take the last of two equal members.
        let set = Object::read(text).ok_or(NotAKeySet::Malformed)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(NotAKeySet::Malformed)?;
        if keys.len() > MOST_KEYS {
            return Err(NotAKeySet::TooManyKeys);
        }
        let mut read = Self::default();
        let mut passed_over = PassedOver::default();
        for key in keys {
            match read_key(key, algorithms) {
                Ok(entries) => {
                    read.entries.extend(entries);
                    read.keys += 1;
                }
                Err(Unusable::Secret) => passed_over.secret += 1,
                Err(Unusable::OtherUse) => passed_over.other_use += 1,
                Err(Unusable::Unfit) => passed_over.unfit += 1,
            }
        }
        if read.is_empty() { Err(NotAKeySet::NoUsableKey(passed_over)) } else { Ok((read, passed_over)) }
    }

    /// Verifies an issuer's signature. With `kid`, only the keys of that name are tried; keys that share one are told apart by
    /// what they verify (RFC 7517 §4.5). Without, every key that verifies `algorithm` is, if they are few.
    ///
    /// # Errors
    /// [`KeyError`]. What the signed text says is not looked at.
    pub fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let candidates = || {
            self.entries.iter().filter(move |entry| {
                entry.algorithm == algorithm && kid.is_none_or(|kid| entry.kid.as_deref() == Some(kid))
            })
        };
        if !(1..=MOST_TRIES).contains(&candidates().count()) {
            return Err(KeyError::Unknown);
        }
        // RFC 7518 §3.4: josekit takes ECDSA signatures as r‖s of exactly the curve's length only.
        if candidates().any(|entry| entry.verifies(signing_input, signature)) {
            Ok(())
        } else {
            Err(KeyError::Signature)
        }
    }

    /// How many published keys are usable.
    pub const fn len(&self) -> usize {
        self.keys
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys)
    }
}

/// Why one key is passed over: see [`PassedOver`].
enum Unusable {
    Secret,
    OtherUse,
    Unfit,
}

/// The verifiers of one key; at least one.
fn read_key(key: &Value<'_>, algorithms: &Algorithms) -> Result<Vec<Entry>, Unusable> {
    let jwk = key.as_object().ok_or(Unusable::Unfit)?;
    if jws::string(jwk, "kty") == Some("oct") || PublicKey::has_private_member(jwk) {
        return Err(Unusable::Secret);
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES => Some(kid.to_string()),
        Some(_) => return Err(Unusable::Unfit),
    };
    let entries: Vec<Entry> = algorithms
        .iter()
        .filter_map(|algorithm| {
            // The same reader as for the keys of proofs says what a key is, so there is one rule for sizes, spellings, `use`, `key_ops` and `alg`.
            let public = PublicKey::read(jwk, algorithm)?;
            let thumbprint = public.thumbprint();
            let verifier = build_verifier(jwk, algorithm, public)?;
            Some(Entry { kid: kid.clone(), algorithm, thumbprint, verifier })
        })
        .collect();
    if !entries.is_empty() {
        Ok(entries)
    } else if jwk.get("use").is_some_and(|value| value.as_str() != Some("sig")) || jwk.has("key_ops") {
        Err(Unusable::OtherUse)
    } else {
        Err(Unusable::Unfit)
    }
}

/// A verifier for a key that [`PublicKey::read`] found fit. josekit is handed the key's value and nothing else: it knows no
/// `alg` named Ed25519 (RFC 9864 §2.2), and has opinions of its own on the rest. `None` for a point that is not on its curve.
fn build_verifier(jwk: &Object<'_>, algorithm: Algorithm, public: PublicKey) -> Option<Verifier> {
    let mut value = Jwk::new(jws::string(jwk, "kty")?);
    for name in ["crv", "x", "y", "n", "e"] {
        if let Some(text) = jws::string(jwk, name) {
            value.set_parameter(name, Some(josekit::Value::from(text))).ok()?;
        }
    }
    macro_rules! verifier {
        ($algorithm:expr) => {
            Some(Verifier::Jose(Box::new($algorithm.verifier_from_jwk(&value).ok()?)))
        };
    }
    match algorithm {
        Algorithm::Es256 => verifier!(jose::ES256),
        Algorithm::Es384 => verifier!(jose::ES384),
        Algorithm::Es512 => verifier!(jose::ES512),
        Algorithm::Ps256 => verifier!(jose::PS256),
        Algorithm::Ps384 => verifier!(jose::PS384),
        Algorithm::Ps512 => verifier!(jose::PS512),
        Algorithm::Rs256 => verifier!(jose::RS256),
        Algorithm::Rs384 => verifier!(jose::RS384),
        Algorithm::Rs512 => verifier!(jose::RS512),
        Algorithm::EdDsa | Algorithm::Ed25519 => verifier!(jose::EdDSA),
        Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => Some(Verifier::Key(public)),
    }
}

#[cfg(test)]
pub(crate) mod signing;
#[cfg(test)]
mod tests;
