//! Step 5: what a caller may do on this route.

use http::HeaderMap;

use super::enforcement::Enforcement;
use super::proof::{Binding, Proven};
use super::rejection::Rejection;
use super::request::RequestFacts;
use super::time::UnixTime;
use super::token::VerifiedToken;
pub use authentication::Authentication;
pub use claims::{ClaimRule, ClaimTest, Literal, Pattern};
pub use condition::Condition;
use mcp::Mcp;
pub use pages::Pages;

mod authentication;
mod claims;
mod condition;
pub mod mcp;
mod pages;

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

    /// Whether a caller with the Bearer scheme and a bound token can succeed under this rule.
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
    /// `enforcement` of the route
    pub enforcement: Enforcement,
    /// `require.nonce`, or `dpop.nonce` where the route does not say
    pub nonce: NonceRule,
    /// `require.scopes`: all of them
    pub scopes: Vec<String>,
    /// `require.any_scopes`: one of them, where there are any
    pub any_scopes: Vec<String>,
    /// `require.audiences`: one of them, where there are any; narrows the issuer's list
    pub audiences: Vec<String>,
    /// `require.clients`: `client_id` is one of them
    pub clients: Listed,
    /// `require.subjects`: `sub` is one of them
    pub subjects: Listed,
    /// `require.claims`: all of them hold
    pub claims: Vec<ClaimRule>,
    /// `require.authorization_details`: the token has details of all these types (RFC 9396)
    pub authorization_details: Vec<String>,
    /// `require.acr` and `require.max_age`
    pub authentication: Authentication,
    /// `require.origins`
    pub pages: Pages,
    /// `require.mcp`; `None`: what MCP says in headers is not looked at
    pub mcp: Option<Box<Mcp>>,
    /// `require.cel`
    pub condition: Option<Condition>,
}

/// A list that a name must be on. There can be thousands of names.
#[derive(Clone, Debug)]
pub enum Listed {
    /// Any name, or none, will do: the operator has written no list.
    Anyone,
    /// One of these, in order.
    OneOf(Box<[String]>),
}

impl Listed {
    /// A list of these names, at least one.
    pub fn one_of(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        Listed::OneOf(names.into_boxed_slice())
    }

    fn has(&self, name: Option<&str>) -> bool {
        match (self, name) {
            (Listed::Anyone, _) => true,
            (Listed::OneOf(names), Some(name)) => {
                names.binary_search_by(|listed| listed.as_str().cmp(name)).is_ok()
            }
            (Listed::OneOf(_), None) => false,
        }
    }
}

/// A caller that this route's policy lets through. Its proof is not spent yet: see [`Granted::claim`](super::replay).
#[derive(Debug)]
#[must_use]
pub struct Granted {
    pub(super) proven: Proven,
}

impl Granted {
    /// Who it is, and with which token.
    pub const fn proven(&self) -> &Proven {
        &self.proven
    }
}

impl Policy {
    /// A policy for tokens with this binding that asks for nothing else, and is enforced.
    pub const fn new(binding: BindingRule, nonce: NonceRule) -> Self {
        Self {
            binding,
            enforcement: Enforcement::Enforce,
            nonce,
            scopes: Vec::new(),
            any_scopes: Vec::new(),
            audiences: Vec::new(),
            clients: Listed::Anyone,
            subjects: Listed::Anyone,
            claims: Vec::new(),
            authorization_details: Vec::new(),
            authentication: Authentication { acr: Vec::new(), max_age: None },
            pages: Pages::Any,
            mcp: None,
            condition: None,
        }
    }

    /// Whether a caller with the Bearer scheme can succeed here: a Bearer challenge is then offered.
    pub const fn offers_bearer(&self) -> bool {
        match self.enforcement {
            Enforcement::Enforce => self.binding.offers_bearer(),
            Enforcement::ReportOnly => true,
        }
    }

    /// The scopes that a token may need here, for a challenge (RFC 6750 §3) and for metadata: all of `scopes`, and of `any_scopes` each, since which of them its
    /// holder can have is not ours to know.
    pub fn named_scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().chain(&self.any_scopes).map(String::as_str)
    }

    /// Judges what was proven, by a request with these headers.
    ///
    /// # Errors
    /// [`Rejection::BindingInsufficient`], and those of [`Policy::judge`] and [`Policy::judge_call`].
    pub fn grant(
        &self,
        proven: Proven,
        facts: &RequestFacts<'_>,
        now: UnixTime,
    ) -> Result<Granted, Rejection> {
        let fits = match (proven.binding(), self.binding) {
            // What is bound has to be bound as the route says, on a report-only route as everywhere.
            (Binding::Key(_), BindingRule::Any | BindingRule::Dpop)
            | (Binding::Certificate(_), BindingRule::Any | BindingRule::Mtls)
            | (Binding::Both(..), BindingRule::Any | BindingRule::Dpop | BindingRule::Both) => true,
            (Binding::Key(_), BindingRule::Mtls | BindingRule::Both)
            | (Binding::Certificate(_), BindingRule::Dpop | BindingRule::Both)
            | (Binding::Both(..), BindingRule::Mtls) => false,
            // Each rule asks for more than that. That the route lets it through all the same was decided in `proof`.
            (
                Binding::Nothing(_),
                BindingRule::Any | BindingRule::Dpop | BindingRule::Mtls | BindingRule::Both,
            ) => true,
        };
        if !fits {
            return Err(Rejection::BindingInsufficient);
        }
        self.judge(proven.token(), facts, now)?;
        self.judge_call(proven.token(), facts.headers)?;
        Ok(Granted { proven })
    }

    /// Judges what a request wants of MCP, and whether its token has the scopes for that.
    ///
    /// # Errors
    /// Those of [`Mcp::find`], and [`Rejection::ScopeInsufficient`].
    pub fn judge_call(&self, token: &VerifiedToken, headers: &HeaderMap) -> Result<(), Rejection> {
        let Some(mcp) = &self.mcp else { return Ok(()) };
        let allowed = mcp.find(headers)?;
        if !allowed.scopes.iter().all(|scope| token.has_scope(scope)) {
            return Err(Rejection::ScopeInsufficient);
        }
        Ok(())
    }

    /// The scopes that a request needs besides [`Policy::named_scopes`], for a challenge: those of the call that its headers name.
    pub fn scopes_of_call(&self, headers: &HeaderMap) -> &[String] {
        let allowed = self.mcp.as_ref().and_then(|mcp| mcp.find(headers).ok());
        allowed.map_or(&[], |allowed| &allowed.scopes)
    }

    /// Judges what a token says, whoever holds it, and of the request what a condition asks. First who it is for, which no other token of this holder will change; then
    /// what it lacks, which its holder can ask for; and last how its user logged in, since a new login is the dearest of all to ask for.
    ///
    /// # Errors
    /// [`Rejection::RouteAudience`], [`Rejection::ClientRefused`], [`Rejection::SubjectRefused`], [`Rejection::ClaimRefused`], [`Rejection::ConditionRefused`],
    /// [`Rejection::ScopeInsufficient`], [`Rejection::DetailsInsufficient`], [`Rejection::AcrInsufficient`] or [`Rejection::AuthenticationTooOld`].
    pub fn judge(
        &self,
        token: &VerifiedToken,
        facts: &RequestFacts<'_>,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        if !self.audiences.is_empty()
            && !token.audiences().iter().any(|audience| self.audiences.contains(audience))
        {
            return Err(Rejection::RouteAudience);
        }
        if !self.clients.has(token.client_id()) {
            return Err(Rejection::ClientRefused);
        }
        if !self.subjects.has(token.subject()) {
            return Err(Rejection::SubjectRefused);
        }
        if !self.claims.iter().all(|rule| rule.holds(token)) {
            return Err(Rejection::ClaimRefused);
        }
        if self.condition.as_ref().is_some_and(|condition| !condition.holds(token, facts, now)) {
            return Err(Rejection::ConditionRefused);
        }
        // RFC 6749 §3.3: scopes are whole, case-sensitive, space-separated; `read` is not in `readall`.
        if !self.scopes.iter().all(|scope| token.has_scope(scope)) {
            return Err(Rejection::ScopeInsufficient);
        }
        if !self.any_scopes.is_empty() && !self.any_scopes.iter().any(|scope| token.has_scope(scope)) {
            return Err(Rejection::ScopeInsufficient);
        }
        if !self.authorization_details.iter().all(|wanted| authentication::has_details(token, wanted)) {
            return Err(Rejection::DetailsInsufficient);
        }
        self.authentication.judge(token, now)
    }
}

#[cfg(test)]
mod tests {
    use super::Listed;

    /// An issuer without `client_id` in its tokens, whose operator does not require it, has nobody on the list.
    #[test]
    fn who_has_no_name_is_on_no_list() {
        let listed = Listed::one_of(vec!["b".into(), "a".into()]);
        assert!(listed.has(Some("a")) && listed.has(Some("b")));
        assert!(!listed.has(None) && !listed.has(Some("")) && !listed.has(Some("c")));
        assert!(Listed::Anyone.has(None));
    }
}
