//! Trouble on the way to the upstream or back. Not a rejection: the caller was let through.

use http::StatusCode;

/// What went wrong after the permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection to the upstream.
    #[error("the upstream cannot be reached")]
    Unreachable,
    /// The upstream has as many requests as it may, and as many wait.
    #[error("the upstream has too many requests")]
    Overloaded,
    /// The upstream did not answer within its `response_timeout`.
    #[error("the upstream did not answer in time")]
    TimedOut,
    /// The upstream's answer was broken off or is no HTTP.
    #[error("the upstream's answer is broken")]
    Broken,
    /// A claim of the token cannot stand in a header, so the upstream cannot be told who is calling.
    #[error("the token's claims do not fit in headers")]
    IdentityUnfit,
    /// The caller's body grew past `limits.body_bytes`.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The caller's body stalled for `limits.idle_timeout`.
    #[error("the request body stalled")]
    BodyStalled,
    /// The caller's body was broken off or badly framed.
    #[error("the request body is broken")]
    BodyBroken,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 8] = [
        Fault::Unreachable,
        Fault::Overloaded,
        Fault::TimedOut,
        Fault::Broken,
        Fault::IdentityUnfit,
        Fault::BodyTooLarge,
        Fault::BodyStalled,
        Fault::BodyBroken,
    ];

    /// The status the caller gets.
    pub const fn status(self) -> StatusCode {
        match self {
            Fault::Unreachable | Fault::Broken | Fault::IdentityUnfit => StatusCode::BAD_GATEWAY,
            Fault::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Fault::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Fault::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Fault::BodyBroken => StatusCode::BAD_REQUEST,
        }
    }

    /// The stable reason, for logs, metrics and the answer.
    pub const fn label(self) -> &'static str {
        match self {
            Fault::Unreachable => "upstream_unreachable",
            Fault::Overloaded => "upstream_overloaded",
            Fault::TimedOut => "upstream_timed_out",
            Fault::Broken => "upstream_broken",
            Fault::IdentityUnfit => "identity_unfit",
            Fault::BodyTooLarge => "body_too_large",
            Fault::BodyStalled => "body_stalled",
            Fault::BodyBroken => "body_broken",
        }
    }

    /// What the caller's developer can do.
    pub const fn sentence(self) -> &'static str {
        match self {
            Fault::Unreachable => {
                "The service behind this gateway cannot be reached; repeat the request later."
            }
            Fault::Overloaded => {
                "The service behind this gateway has too many requests; repeat the request later."
            }
            Fault::TimedOut => "The service behind this gateway did not answer in time.",
            Fault::Broken => "The service behind this gateway broke off its answer.",
            Fault::IdentityUnfit => "A claim of the access token cannot be passed on in a header.",
            Fault::BodyTooLarge => "Send a smaller body.",
            Fault::BodyStalled => "The body stopped coming; send it without long pauses.",
            Fault::BodyBroken => "The body was broken off or badly framed.",
        }
    }
}
