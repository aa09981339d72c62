//! Step 4: presented × confirmation, every pair answered.

use super::confirmation::Confirmation;
use super::credential::Presented;
use super::digest::{Certificate, Digest, Key};
use super::dpop::{HeldKey, Terms};
use super::mtls::{self, HeldCertificate};
use super::nonce::SealedNonce;
use super::rejection::Rejection;
use super::replay::Claim;
use super::request::RequestFacts;
use super::token::VerifiedToken;

/// What the caller has proven to hold.
#[derive(Debug)]
pub enum Binding {
    /// The token's DPoP key.
    Key(HeldKey),
    /// The token's certificate.
    Certificate(HeldCertificate),
    /// Both.
    Both(HeldKey, HeldCertificate),
}

impl Binding {
    /// The key's thumbprint, where a proof binds.
    pub const fn key(&self) -> Option<Digest<Key>> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => Some(key.thumbprint()),
            Binding::Certificate(_) => None,
        }
    }

    /// The certificate's thumbprint, where a certificate binds.
    pub const fn certificate(&self) -> Option<Digest<Certificate>> {
        match self {
            Binding::Certificate(certificate) | Binding::Both(_, certificate) => {
                Some(certificate.thumbprint())
            }
            Binding::Key(_) => None,
        }
    }

    /// A nonce to send along with the success, when the one in the proof is of the previous period (RFC 9449 §8.2).
    pub const fn next_nonce(&self) -> Option<&SealedNonce> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => key.next_nonce(),
            Binding::Certificate(_) => None,
        }
    }

    const fn claim(&self) -> Option<Claim> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => Some(key.claim()),
            Binding::Certificate(_) => None,
        }
    }

    /// `dpop`, `mtls` or `both`, as `X-Auth-Binding` and the access log have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Binding::Key(_) => "dpop",
            Binding::Certificate(_) => "mtls",
            Binding::Both(..) => "both",
        }
    }
}

/// A verified token whose holder has shown what it is bound to. Only [`prove`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Proven {
    token: VerifiedToken,
    binding: Binding,
}

impl Proven {
    /// The verified token.
    pub const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// What was proven to be held.
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(super) const fn claim_to_take(&self) -> Option<Claim> {
        self.binding.claim()
    }
}

/// Checks that whoever presents the token holds what its `cnf` names.
///
/// The proof's signature, the dear part, is verified here, only after the token is known to be bound to that very key.
///
/// # Errors
/// The rejection of the pair that does not fit, or of the step that failed.
pub fn prove(
    presented: Presented<'_>,
    token: VerifiedToken,
    facts: &RequestFacts<'_>,
    terms: &Terms<'_>,
) -> Result<Proven, Rejection> {
    use Confirmation::{Both, Certificate, Key, Unbound};
    use Presented::{Bearer, Dpop};

    let held_certificate = |certificate| mtls::verify(facts.certificate, certificate);
    let binding = match (presented, token.confirmation()) {
        (Dpop { proof, .. }, Key(key)) => Binding::Key(proof?.verify(key, terms)?),
        (Dpop { proof, .. }, Both(key, certificate)) => {
            let proof = proof?;
            // The certificate first: it costs a comparison, the proof a signature.
            let held = held_certificate(certificate)?;
            Binding::Both(proof.verify(key, terms)?, held)
        }
        (Dpop { .. }, Certificate(_)) => return Err(Rejection::DpopForCertificate),
        (Dpop { .. } | Bearer { .. }, Unbound) => return Err(Rejection::TokenUnbound),
        // RFC 9449 §7.2: a DPoP-bound token is never accepted as a bearer token, with a proof beside it or without.
        (Bearer { .. }, Key(_) | Both(..)) => return Err(Rejection::BearerForDpop),
        (Bearer { .. }, Certificate(certificate)) => Binding::Certificate(held_certificate(certificate)?),
    };
    Ok(Proven { token, binding })
}
