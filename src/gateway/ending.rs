//! How a request ends that the upstream did not answer.

use crate::accept::body::BodyFault;
use crate::cors::Allowed;
use crate::forward::Fault;
use crate::respond::Used;
use crate::route::resource::Metadata;
use crate::verify::nonce::SealedNonce;
use crate::verify::rejection::Rejection;

/// Why a request got no permit, and what goes into the refusal beside the reason.
pub(super) struct Denied {
    pub(super) rejection: Rejection,
    pub(super) used: Used,
    pub(super) nonce: Option<SealedNonce>,
    /// Scopes that this very request needs besides those of its route, where it lacks one.
    pub(super) scopes: Vec<String>,
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, used: Used::None, nonce: None, scopes: Vec::new() }
    }
}

/// How a request ends that the upstream did not answer.
pub(super) enum Ending<'g> {
    Refused(Denied),
    Preflight(Allowed<'g>),
    /// The request is for what the gateway says of a resource (RFC 9728).
    Metadata(&'g Metadata),
    Failed(Fault),
    /// The token expired while the upstream was still being asked, on a route where nothing outlives its token.
    Expired,
}

impl From<Rejection> for Ending<'_> {
    fn from(rejection: Rejection) -> Self {
        Ending::Refused(rejection.into())
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Fault::BodyTooLarge,
            BodyFault::Stalled => Fault::BodyStalled,
            // Nobody is told: the answer is over, or it is that the token has expired.
            BodyFault::Broken | BodyFault::Overdue => Fault::BodyBroken,
        }
    }
}
