//! Step 4a: the DPoP proof, check by check (RFC 9449 §4.3).
//!
//! The checks have the RFC's numbers and run in the order of their cost: everything that needs no cryptography comes in
//! [`CheckedProof::read`], before the token is even looked at; the key, the nonce and last of all the signature come in
//! [`CheckedProof::verify`], where the token has said which key it must be. So nobody without a token bound to that very key can
//! make us verify a signature. Replay, which §11.1 adds to the checks, is `replay`.

use http::Method;

use super::algorithm::{Algorithm, Algorithms};
use super::credential::RawProof;
use super::digest::{AccessToken, Digest, Key, ProofId};
use super::htu;
use super::json::{Object, Value};
use super::jwk::{PublicKey, Unfit};
use super::jws::{self, Compact};
use super::nonce::{NonceRing, OpenedNonce, Reach, SealedNonce, Unasked};
use super::policy::NonceRule;
use super::rejection::Rejection;
use super::replay::{Claim, Made};
use super::request::RequestFacts;
use super::time::UnixTime;

/// The longest `jti` we take. It is hashed, so this bounds work, not memory (RFC 9449 §11.1).
const JTI_BYTES: usize = 256;
/// With a nonce, the nonce's time is the freshness; `iat` is only kept from being absurd (CASES.md, T-TIM-08).
const IAT_BOUND_WITH_NONCE: i64 = 3600;

/// What proofs are judged by, everywhere on this gateway.
#[derive(Debug)]
pub struct DpopRules {
    /// The algorithms accepted in proofs; what `algs` lists.
    pub algorithms: Algorithms,
    /// How old `iat` may be, in seconds.
    pub max_age: i64,
    /// How far ahead `iat` may be, in seconds.
    pub max_future: i64,
    /// Proofs (by their nonce's time where one is required, else by `iat`) from before this second may have been used before
    /// the process started, so they are refused. `None` accepts that risk.
    pub fence: Option<UnixTime>,
    /// Proofs with an `iat` from before this second were too old for the rules that were in force before these, so what is known of their use
    /// may be forgotten: they stay too old, however far back `max_age` reaches now. Not looked at where a nonce is required: that has
    /// [`NonceRing::not_before`].
    pub oldest: Option<UnixTime>,
    /// The keys of nonces.
    pub nonces: NonceRing,
}

impl DpopRules {
    /// How long, in seconds, a claim lives at most: from when its proof may first pass to when it may no longer.
    pub const fn claim_lifetime(&self, nonce: NonceRule) -> i64 {
        match nonce {
            NonceRule::None => self.max_age + self.max_future,
            NonceRule::Required => self.nonces.longest(),
        }
    }
}

/// The rules together with the route's and the moment's.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// The gateway's rules.
    pub rules: &'t DpopRules,
    /// Whether this route requires a nonce.
    pub nonce: NonceRule,
    /// The time of this request, read once.
    pub now: UnixTime,
}

/// A proof for this request, as far as can be told without cryptography. Its signature is not verified yet.
#[derive(Debug)]
#[must_use]
pub struct CheckedProof<'r> {
    jws: Compact<'r>,
    algorithm: Algorithm,
    key: PublicKey,
    thumbprint: Digest<Key>,
    id: Digest<ProofId>,
    iat: UnixTime,
    nonce: Option<String>,
}

/// The caller holds this key, and the token is bound to it. Only [`CheckedProof::verify`] makes one.
#[derive(Debug)]
#[must_use]
pub struct HeldKey {
    thumbprint: Digest<Key>,
    claim: Claim,
    next_nonce: Option<SealedNonce>,
}

impl HeldKey {
    /// The key's thumbprint, equal to the token's `jkt`.
    pub const fn thumbprint(&self) -> Digest<Key> {
        self.thumbprint
    }

    /// A new nonce, when the proof's was of the previous period.
    pub const fn next_nonce(&self) -> Option<&SealedNonce> {
        self.next_nonce.as_ref()
    }

    pub(super) const fn claim(&self) -> Claim {
        self.claim
    }
}

impl<'r> CheckedProof<'r> {
    /// Checks 2 to 5, 7 to 9, 11 and the `ath` of 12, for a request with the token of that digest. Check 1, one header line, is
    /// `credential`'s.
    ///
    /// # Errors
    /// The rejection of the first check that fails.
    pub fn read(
        proof: RawProof<'r>,
        token: Digest<AccessToken>,
        facts: &RequestFacts<'_>,
        terms: &Terms<'_>,
    ) -> Result<Self, Rejection> {
        // Check 2: one well-formed JWT.
        let jws = Compact::read(proof.text()).ok_or(Rejection::ProofMalformed)?;
        let (algorithm, key) =
            read_header(&jws.header().ok_or(Rejection::ProofMalformed)?, &terms.rules.algorithms)?;
        let (jti, iat, nonce) = {
            let claims = jws.claims().ok_or(Rejection::ProofMalformed)?;
            let claims = ProofClaims::read(&claims)?;
            claims.judge(token, facts, terms)?;
            (claims.jti.to_owned(), claims.iat, claims.nonce.map(str::to_owned))
        };
        let thumbprint = key.thumbprint();
        let id = Digest::of_pair(thumbprint.as_bytes(), jti.as_bytes());
        Ok(Self { jws, algorithm, key, thumbprint, id, iat, nonce })
    }

    /// The key of check 12, the nonce of check 10, and the signature of check 6, for a token bound to `expected`.
    ///
    /// # Errors
    /// [`Rejection::KeyMismatch`], [`Rejection::NonceMissing`], [`Rejection::NonceStale`], [`Rejection::ProofKey`] or
    /// [`Rejection::ProofSignature`].
    pub fn verify(self, expected: Digest<Key>, terms: &Terms<'_>) -> Result<HeldKey, Rejection> {
        // Check 12, second half: the token is bound to this key.
        if self.thumbprint != expected {
            return Err(Rejection::KeyMismatch);
        }
        // Check 10.
        let nonce = match terms.nonce {
            NonceRule::None => self.open_unasked(terms)?,
            NonceRule::Required => Some(self.open_nonce(terms)?),
        };
        // Check 6, the only dear one.
        self.key.verify(self.algorithm, self.jws.signing_input.as_bytes(), &self.jws.signature).map_err(
            |unfit| match unfit {
                Unfit::Key => Rejection::ProofKey,
                Unfit::Signature => Rejection::ProofSignature,
            },
        )?;
        // A reload may put a route that required a nonce under the rule for `iat`, by which this proof then passes until here; so the claim
        // lasts as long by that rule as by the nonce's.
        let until = self.iat.plus(terms.rules.max_age);
        let until = nonce.map_or(until, |nonce| nonce.until.max(until));
        let made = match nonce {
            None => Made::Dated(self.iat),
            Some(OpenedNonce { reach: Reach::Group, sealed, .. }) => Made::AfterNonce(sealed),
            Some(OpenedNonce { reach: Reach::Here, .. }) => Made::AfterOwnNonce,
        };
        let next_nonce =
            nonce.filter(|nonce| nonce.previous).map(|_| terms.rules.nonces.seal(self.thumbprint, terms.now));
        let claim = Claim { proof: self.id, owner: self.thumbprint, until, made };
        Ok(HeldKey { thumbprint: self.thumbprint, claim, next_nonce })
    }

    /// The nonce of a proof that needs none, as far as it counts.
    fn open_unasked(&self, terms: &Terms<'_>) -> Result<Option<OpenedNonce>, Rejection> {
        let nonces = &terms.rules.nonces;
        let open = |nonce: &String| nonces.open(nonce, self.thumbprint, terms.now);
        match (nonces.unasked(), &self.nonce) {
            (Unasked::Ignored, _) | (_, None) => Ok(None),
            (Unasked::Counts, Some(nonce)) => open(nonce).map(Some).ok_or(Rejection::NonceStale),
        }
    }

    fn open_nonce(&self, terms: &Terms<'_>) -> Result<OpenedNonce, Rejection> {
        let nonce = self.nonce.as_deref().ok_or(Rejection::NonceMissing)?;
        let opened =
            terms.rules.nonces.open(nonce, self.thumbprint, terms.now).ok_or(Rejection::NonceStale)?;
        // The fence of a restart: with a ring that replicas share, a nonce outlives the process that sealed it.
        match terms.rules.fence {
            Some(fence) if opened.sealed < fence => Err(Rejection::NonceStale),
            Some(_) | None => Ok(opened),
        }
    }
}

/// Checks 4, 5 and 7, and that the proof names no other key.
fn read_header(header: &Object<'_>, algorithms: &Algorithms) -> Result<(Algorithm, PublicKey), Rejection> {
    // Check 4. Explicit typing keeps another JWT signed with the same key from passing as a proof (RFC 9449 §11.5). Exactly this
    // spelling: a proof has one purpose and its clients are few (CASES.md).
    if jws::string(header, "typ") != Some("dpop+jwt") {
        return Err(Rejection::ProofTyp);
    }
    // Check 5.
    let algorithm = jws::string(header, "alg")
        .and_then(Algorithm::from_name)
        .filter(|algorithm| algorithms.contains(*algorithm))
        .ok_or(Rejection::ProofAlg)?;
    // RFC 8725 §3.10: nothing a proof names is ever fetched. `kid` is ignored.
    if jws::demands_extension(header) || ["jku", "x5u", "x5c"].iter().any(|name| header.has(name)) {
        return Err(Rejection::ProofHeader);
    }
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(Rejection::ProofKey)?;
    // Check 7. Presence is enough, whatever the value.
    if PublicKey::has_private_member(jwk) {
        return Err(Rejection::ProofKeyPrivate);
    }
    Ok((algorithm, PublicKey::read(jwk, algorithm).ok_or(Rejection::ProofKey)?))
}

/// The claims of a proof, with the right types (check 3).
struct ProofClaims<'c> {
    jti: &'c str,
    htm: &'c str,
    htu: &'c str,
    iat: UnixTime,
    ath: &'c str,
    nonce: Option<&'c str>,
    exp: Option<UnixTime>,
    nbf: Option<UnixTime>,
}

impl<'c> ProofClaims<'c> {
    /// Check 3. `ath` is required too, since a token always accompanies the proof here (RFC 9449 §4.2).
    fn read(claims: &'c Object<'_>) -> Result<Self, Rejection> {
        let required = |name| jws::string(claims, name).ok_or(Rejection::ProofClaims);
        let optional_date = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_number()
                .and_then(UnixTime::from_numeric_date)
                .map(Some)
                .ok_or(Rejection::ProofClaims),
        };
        Ok(Self {
            jti: required("jti")?,
            htm: required("htm")?,
            htu: required("htu")?,
            iat: optional_date("iat")?.ok_or(Rejection::ProofClaims)?,
            ath: required("ath")?,
            // A null or blank nonce is a missing one (T-NON-03); another type is a broken proof (T-NON-04).
            nonce: match claims.get("nonce") {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.as_ref()).filter(|text| !text.trim().is_empty()),
                Some(_) => return Err(Rejection::ProofClaims),
            },
            exp: optional_date("exp")?,
            nbf: optional_date("nbf")?,
        })
    }

    /// Checks 8, 9, 11 and the `ath` of 12.
    fn judge(
        &self,
        token: Digest<AccessToken>,
        facts: &RequestFacts<'_>,
        terms: &Terms<'_>,
    ) -> Result<(), Rejection> {
        if self.jti.is_empty() || self.jti.len() > JTI_BYTES {
            return Err(Rejection::ProofJti);
        }
        // Check 8: methods are case-sensitive (RFC 9110 §9.1).
        if self.htm != Method::as_str(facts.method) {
            return Err(Rejection::ProofHtm);
        }
        // Check 9.
        if !htu::matches(self.htu, &facts.target.origin, &facts.target.path) {
            return Err(Rejection::ProofHtu);
        }
        self.judge_time(terms)?;
        // Check 12, first half. Never "if present": that would make a stolen proof fit any token.
        if Digest::from_base64url(self.ath) != Some(token) {
            return Err(Rejection::ProofAth);
        }
        Ok(())
    }

    /// Check 11, and the proof's own `exp` and `nbf` where it has them.
    fn judge_time(&self, terms: &Terms<'_>) -> Result<(), Rejection> {
        let Terms { rules, nonce, now } = terms;
        let (back, ahead, fence, oldest) = match nonce {
            NonceRule::None => (rules.max_age, rules.max_future, rules.fence, rules.oldest),
            // The fence then applies to the nonce's time: see `open_nonce`.
            NonceRule::Required => (IAT_BOUND_WITH_NONCE, IAT_BOUND_WITH_NONCE, None, None),
        };
        let age = now.since(self.iat);
        if age > back || oldest.is_some_and(|oldest| self.iat < oldest) {
            return Err(Rejection::ProofTooOld);
        }
        if age < -ahead {
            return Err(Rejection::ProofInFuture);
        }
        if self.exp.is_some_and(|exp| *now >= exp) || self.nbf.is_some_and(|nbf| nbf.since(*now) > ahead) {
            return Err(Rejection::ProofOutsideItsTime);
        }
        if fence.is_some_and(|fence| self.iat < fence) {
            return Err(Rejection::ProofBeforeStart);
        }
        Ok(())
    }
}
