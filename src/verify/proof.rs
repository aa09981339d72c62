//! Step 4: presented × confirmation, every pair answered.

use super::confirmation::Confirmation;
use super::credential::Presented;
use super::digest::{Certificate, Digest, Key};
use super::dpop::{HeldKey, Terms};
use super::enforcement::{Enforcement, Unenforced};
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
    /// Nothing: the token is bound to nothing, and its route does no more than report that.
    Nothing(Unenforced),
}

impl Binding {
    /// The key's thumbprint, where a proof binds.
    pub const fn key(&self) -> Option<Digest<Key>> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => Some(key.thumbprint()),
            Binding::Certificate(_) | Binding::Nothing(_) => None,
        }
    }

    /// The certificate's thumbprint, where a certificate binds.
    pub const fn certificate(&self) -> Option<Digest<Certificate>> {
        match self {
            Binding::Certificate(certificate) | Binding::Both(_, certificate) => {
                Some(certificate.thumbprint())
            }
            Binding::Key(_) | Binding::Nothing(_) => None,
        }
    }

    /// A nonce to send along with the success, when the one in the proof is of the previous period (RFC 9449 §8.2).
    pub const fn next_nonce(&self) -> Option<&SealedNonce> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => key.next_nonce(),
            Binding::Certificate(_) | Binding::Nothing(_) => None,
        }
    }

    /// How the request would have been refused, where it is let through although nothing was proven.
    pub const fn would_refuse(&self) -> Option<Rejection> {
        match self {
            Binding::Key(_) | Binding::Certificate(_) | Binding::Both(..) => None,
            Binding::Nothing(unenforced) => Some(unenforced.would_refuse()),
        }
    }

    const fn claim(&self) -> Option<Claim> {
        match self {
            Binding::Key(key) | Binding::Both(key, _) => Some(key.claim()),
            Binding::Certificate(_) | Binding::Nothing(_) => None,
        }
    }

    /// `dpop`, `mtls`, `both` or `none`, as `X-Auth-Binding` and the access log have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Binding::Key(_) => "dpop",
            Binding::Certificate(_) => "mtls",
            Binding::Both(..) => "both",
            Binding::Nothing(_) => "none",
        }
    }
}

/// A verified token whose holder has shown what it is bound to; or, on a report-only route, one that is bound to nothing ([`Binding::Nothing`]). Only [`prove`] makes one.
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

/// Checks that whoever presents the token holds what its `cnf` names. `enforcement` is asked about a token without `cnf` alone.
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
    enforcement: Enforcement,
) -> Result<Proven, Rejection> {
    use Confirmation::{Both, Certificate, Key, Unbound};
    use Presented::{Bearer, BearerBesideProof, Dpop};

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
        // Under the DPoP scheme the caller claims a binding that the token does not have; that is no old client.
        (Dpop { .. } | BearerBesideProof { .. }, Unbound) => return Err(Rejection::TokenUnbound),
        (Bearer { .. }, Unbound) => Binding::Nothing(enforcement.admit_unbound()?),
        // RFC 9449 §7.2: a DPoP-bound token is never accepted as a bearer token, with a proof beside it or without.
        (Bearer { .. } | BearerBesideProof { .. }, Key(_) | Both(..)) => {
            return Err(Rejection::BearerForDpop);
        }
        (Bearer { .. } | BearerBesideProof { .. }, Certificate(certificate)) => {
            Binding::Certificate(held_certificate(certificate)?)
        }
    };
    Ok(Proven { token, binding })
}
