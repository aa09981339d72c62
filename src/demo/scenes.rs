//! What the demo plays: a table of scenes, and whether each ended as it has to.

use crate::verify::rejection::Rejection;

/// One request and how it has to end.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// What happens, for the reader
    pub title: &'static str,
    /// The path that is requested, with GET
    pub path: &'static str,
    /// The token that is sent
    pub token: Token,
    /// How it is presented
    pub presented: Presented,
    /// The certificate shown in the handshake
    pub certificate: Shown,
    /// How it has to end
    pub outcome: Outcome,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Bound to nothing
    Unbound,
    /// Bound to the honest caller's DPoP key
    Key,
    /// Bound to the honest caller's certificate
    Certificate,
}

/// The scheme, and the proof where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// As Bearer, without a proof
    Bearer,
    /// With a fresh proof by the honest caller's key
    Proof,
    /// With a fresh proof by the thief's key
    ProofByThief,
    /// With the last honest proof that was accepted, once more
    CapturedProof,
    /// With a fresh proof by the honest caller's key that holds the last nonce offered
    ProofWithNonce,
}

/// A client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None
    Nothing,
    /// The honest caller's
    Own,
    /// Another caller's
    Another,
}

/// How a scene has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream sees it once, and no token or proof with it.
    Passes,
    /// It is refused for this reason, and the upstream sees nothing.
    Refused(Rejection),
}

const ACCOUNT: &str = "/accounts/1";
const PAYMENT: &str = "/payments/1";

/// All scenes, in the order in which they are played: a captured proof must have been seen, and a nonce offered, before.
pub const SCENES: [Scene; 11] = [
    Scene {
        title: "A bearer token, bound to nothing",
        path: ACCOUNT,
        token: Token::Unbound,
        presented: Presented::Bearer,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::TokenUnbound),
    },
    Scene {
        title: "A DPoP token with a fresh proof by its key",
        path: ACCOUNT,
        token: Token::Key,
        presented: Presented::Proof,
        certificate: Shown::Nothing,
        outcome: Outcome::Passes,
    },
    Scene {
        title: "The token stolen, with a proof by the thief's own key",
        path: ACCOUNT,
        token: Token::Key,
        presented: Presented::ProofByThief,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::KeyMismatch),
    },
    Scene {
        title: "The token stolen, sent as Bearer",
        path: ACCOUNT,
        token: Token::Key,
        presented: Presented::Bearer,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::BearerForDpop),
    },
    Scene {
        title: "The whole request captured, sent again",
        path: ACCOUNT,
        token: Token::Key,
        presented: Presented::CapturedProof,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::ProofReplayed),
    },
    Scene {
        title: "The captured proof, on another URL",
        path: "/accounts/2",
        token: Token::Key,
        presented: Presented::CapturedProof,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::ProofHtu),
    },
    Scene {
        title: "A certificate-bound token, with its certificate",
        path: ACCOUNT,
        token: Token::Certificate,
        presented: Presented::Bearer,
        certificate: Shown::Own,
        outcome: Outcome::Passes,
    },
    Scene {
        title: "The same token, with another certificate",
        path: ACCOUNT,
        token: Token::Certificate,
        presented: Presented::Bearer,
        certificate: Shown::Another,
        outcome: Outcome::Refused(Rejection::CertificateMismatch),
    },
    Scene {
        title: "The same token, with no certificate",
        path: ACCOUNT,
        token: Token::Certificate,
        presented: Presented::Bearer,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::CertificateMissing),
    },
    Scene {
        title: "Where a nonce is required, a proof without one",
        path: PAYMENT,
        token: Token::Key,
        presented: Presented::Proof,
        certificate: Shown::Nothing,
        outcome: Outcome::Refused(Rejection::NonceMissing),
    },
    Scene {
        title: "A new proof with the nonce that was offered",
        path: PAYMENT,
        token: Token::Key,
        presented: Presented::ProofWithNonce,
        certificate: Shown::Nothing,
        outcome: Outcome::Passes,
    },
];
