//! Step 6: one proof, one request (RFC 9449 §11.1).
//!
//! The claim comes last, so that only what will be forwarded spends its proof: a proof that failed any check before is not burned
//! (T-RPL-11), and nobody without a bound token can fill the store (R-E-05).

use std::future::Future;

use super::digest::{Digest, Key, ProofId};
use super::policy::Granted;
use super::proof::{Binding, Proven};
use super::rejection::Rejection;
use super::time::UnixTime;
use super::token::VerifiedToken;

/// What a store is asked to remember: that this proof was used, for as long as it could pass again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// H(jkt ‖ jti). Without the key in it, one client could block another's `jti`; with the URL in it, one proof would
    /// pass again under another spelling (R-E-02).
    pub proof: Digest<ProofId>,
    /// Whose share of the store it takes.
    pub owner: Digest<Key>,
    /// The last second in which the proof could still pass; the claim is kept through it. Counted from `iat` or from the
    /// nonce's time, never from now: a proof dated ahead lives longer (R-E-04).
    pub until: UnixTime,
    /// What shows when the proof was made, so that it cannot have been used before.
    pub made: Made,
}

/// What shows when a proof was made, and with it, which memory has to be asked whether it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Its `iat`, which the caller chose, by up to `max_future` ahead.
    Dated(UnixTime),
    /// A nonce that was sealed then, by one who holds the ring's keys: the proof was made later.
    AfterNonce(UnixTime),
    /// A nonce that this process sealed for itself alone ([`Reach::Here`](super::nonce::Reach::Here)): it can have been used nowhere else.
    AfterOwnNonce,
}

/// Why a claim was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The proof was used before.
    Replayed,
    /// The owner holds its whole share.
    OwnerFull,
    /// The store is full. It never forgets a live claim to make room.
    Full,
    /// The claim's last second has gone by since its request read the clock, and with it what was known of that second.
    Past,
    /// The store cannot be asked, or did not answer in time. The claim may have been taken all the same.
    Unavailable,
    /// The same, and a proof with a nonce of this process alone can do without the store.
    AskedHere,
    /// The proof may be older than the store's memory, which has lost what was before.
    BeforeMemory,
}

impl From<ClaimError> for Rejection {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Replayed => Rejection::ProofReplayed,
            ClaimError::OwnerFull => Rejection::KeyShareExhausted,
            ClaimError::Full => Rejection::ReplayStoreFull,
            ClaimError::Past => Rejection::ProofTooOld,
            ClaimError::Unavailable => Rejection::ReplayStoreUnavailable,
            ClaimError::AskedHere => Rejection::NonceElsewhere,
            ClaimError::BeforeMemory => Rejection::ProofBeforeMemory,
        }
    }
}

/// The contract of a replay store.
///
/// `claim` is one atomic step: of any number of calls with the same `proof`, on any threads, exactly one returns `Ok` until
/// `until` has passed. Looking first and inserting later would let two of them through. No live claim is ever evicted; a
/// store that cannot remember must refuse.
pub trait ClaimStore: Send + Sync {
    /// Takes the claim, once.
    ///
    /// # Errors
    /// [`ClaimError`]; each of them means the request must not be forwarded.
    fn claim(&self, claim: Claim, now: UnixTime) -> impl Future<Output = Result<(), ClaimError>> + Send;

    /// Whether this proof is known to be used. It takes nothing, so `false` is no leave: only `claim` gives that.
    fn is_taken(&self, claim: Claim) -> impl Future<Output = bool> + Send;
}

/// The right to be forwarded, once. The only way to make one is [`Granted::claim`], and the only use of it is to be consumed by `forward`.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    proven: Proven,
}

impl Permit {
    /// The verified token.
    pub const fn token(&self) -> &VerifiedToken {
        self.proven.token()
    }

    /// What was proven to be held.
    pub const fn binding(&self) -> &Binding {
        self.proven.binding()
    }
}

impl Granted {
    /// Refuses a proof that is known to be used, without spending one that is not. For what has to be settled before the claim and must not be settled for a
    /// request that somebody has recorded; whether the proof is good is [`Granted::claim`]'s to say.
    ///
    /// # Errors
    /// [`Rejection::ProofReplayed`]
    pub async fn refuse_used(&self, store: &impl ClaimStore) -> Result<(), Rejection> {
        match self.proven.claim_to_take() {
            Some(claim) if store.is_taken(claim).await => Err(Rejection::ProofReplayed),
            Some(_) | None => Ok(()),
        }
    }

    /// Spends the proof, if there is one, and turns the grant into a permit. A certificate is proven by the handshake, which nobody can
    /// replay, so a caller bound to a certificate alone has nothing to claim; nor has one that is let through without any binding.
    ///
    /// # Errors
    /// The rejection of [`ClaimError`].
    pub async fn claim(self, store: &impl ClaimStore, now: UnixTime) -> Result<Permit, Rejection> {
        if let Some(claim) = self.proven.claim_to_take() {
            store.claim(claim, now).await?;
        }
        Ok(Permit { proven: self.proven })
    }
}
