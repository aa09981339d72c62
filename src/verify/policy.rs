//! Step 5: what a bound caller may do on this route.

use super::proof::Proven;
use super::rejection::Rejection;

/// How a route wants its tokens bound (`require.binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingRule {
    /// As the token's `cnf` says. Never unbound.
    Any,
    /// To a DPoP key, or to both.
    Dpop,
    /// To a certificate alone: a key beside it would need the DPoP scheme, which is not offered here (T-REQ-33).
    Mtls,
    /// To a DPoP key and a certificate.
    Both,
}

impl BindingRule {
    /// Whether a caller with the DPoP scheme can succeed under this rule: a DPoP challenge is then offered (CASES.md).
    pub const fn offers_dpop(self) -> bool {
        match self {
            BindingRule::Any | BindingRule::Dpop | BindingRule::Both => true,
            BindingRule::Mtls => false,
        }
    }

    /// Whether a caller with the Bearer scheme can succeed under this rule: a Bearer challenge is then offered.
    pub const fn offers_bearer(self) -> bool {
        match self {
            BindingRule::Any | BindingRule::Mtls => true,
            BindingRule::Dpop | BindingRule::Both => false,
        }
    }

    /// Whether a token that is bound to a certificate, alone or beside a key, can be granted under this rule.
    pub const fn takes_certificates(self) -> bool {
        match self {
            BindingRule::Any | BindingRule::Mtls | BindingRule::Both => true,
            BindingRule::Dpop => false,
        }
    }
}

/// Whether a proof on this route must hold a nonce of ours (RFC 9449 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceRule {
    /// A nonce in a proof is ignored.
    None,
    /// Without one, `use_dpop_nonce`; there is no way round it (RFC 9449 §11.3).
    Required,
}

/// What a route requires (`require`), compiled once.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `require.binding`
    pub binding: BindingRule,
    /// `require.nonce`, or `dpop.nonce` where the route does not say
    pub nonce: NonceRule,
    /// `require.scopes`: all of them
    pub scopes: Vec<String>,
    /// `require.audiences`: one of them, where there are any; narrows the issuer's list
    pub audiences: Vec<String>,
}

/// A bound caller that this route's policy lets through. Its proof is not spent yet: see [`Granted::claim`](super::replay).
#[derive(Debug)]
#[must_use]
pub struct Granted {
    pub(super) proven: Proven,
}

impl Policy {
    /// Judges what was proven.
    ///
    /// # Errors
    /// [`Rejection::BindingInsufficient`], [`Rejection::RouteAudience`] or [`Rejection::ScopeInsufficient`].
    pub fn grant(&self, proven: Proven) -> Result<Granted, Rejection> {
        let binding = proven.binding();
        let fits = match self.binding {
            BindingRule::Any => true,
            BindingRule::Dpop => binding.key().is_some(),
            BindingRule::Mtls => binding.certificate().is_some() && binding.key().is_none(),
            BindingRule::Both => binding.key().is_some() && binding.certificate().is_some(),
        };
        if !fits {
            return Err(Rejection::BindingInsufficient);
        }
        let token = proven.token();
        if !self.audiences.is_empty()
            && !token.audiences().iter().any(|audience| self.audiences.contains(audience))
        {
            return Err(Rejection::RouteAudience);
        }
        // RFC 6749 §3.3: scopes are whole, case-sensitive, space-separated; `read` is not in `readall`.
        if !self.scopes.iter().all(|scope| token.has_scope(scope)) {
            return Err(Rejection::ScopeInsufficient);
        }
        Ok(Granted { proven })
    }
}
