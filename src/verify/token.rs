//! Step 2: the access token, a JWT of RFC 9068, and what makes it one of ours.

use std::sync::Arc;

use super::algorithm::Algorithms;
use super::confirmation::Confirmation;
use super::time::UnixTime;

/// Which `typ` an issuer's access tokens have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt`, or `application/at+jwt` (RFC 9068 §4). Keeps ID tokens, logout tokens and client assertions out.
    AtJwt,
    /// Any `typ` or none, for issuers from before RFC 9068. The operator has to say so.
    Any,
}

/// How one issuer's access tokens are judged.
#[derive(Clone, Debug)]
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
}

/// The claims we use of a verified token.
#[derive(Debug)]
struct Claims {
    issuer: String,
    subject: Option<String>,
    client_id: Option<String>,
    audiences: Vec<String>,
    scope: Option<String>,
    expires: UnixTime,
    not_before: Option<UnixTime>,
    leeway: i64,
    confirmation: Confirmation,
}

/// A token that its issuer signed, for this resource, within its time. Cheap to clone: the cache holds one and hands out another
/// through [`VerifiedToken::revalidate`]. Whether the caller may present it is not known yet.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedToken {
    claims: Arc<Claims>,
}

impl VerifiedToken {
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

    /// `exp`
    pub fn expires(&self) -> UnixTime {
        self.claims.expires
    }

    /// What its holder must show.
    pub fn confirmation(&self) -> Confirmation {
        self.claims.confirmation
    }
}
