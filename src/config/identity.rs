//! How a route's upstream is told who is calling, and what is wrong with that: `forward.identity` and what belongs to it.

use std::sync::Arc;

use http::HeaderName;

use super::complaint::{Complaints, Span, quoted};
use super::decode::{FromText as _, Named, Setting, Wrong};
use super::fields::FieldName;
use super::values::{Name, Text};
use super::words::Identity as Written;
use super::{file, require, route_file};
use crate::verify::claim_value::ClaimPath;

/// `forward.identity` of a route: how the upstream is told who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not at all
    None,
    /// In headers
    Headers(Box<IdentityHeaders>),
    /// In an assertion that the gateway signs, for this `audience`
    Assertion(Arc<str>),
}

/// The names that the upstream is told by. No two are the same to any server, and none means something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// `sub`; default `X-Auth-Subject`
    pub subject: HeaderName,
    /// `client_id`; default `X-Auth-Client-Id`
    pub client_id: HeaderName,
    /// `scope`; default `X-Auth-Scope`
    pub scope: HeaderName,
    /// `iss`; default `X-Auth-Issuer`
    pub issuer: HeaderName,
    /// `dpop`, `mtls` or `both`; `none` for a bearer on a report-only route; default `X-Auth-Binding`
    pub binding: HeaderName,
    /// `jkt`, or `x5t#S256` where only a certificate binds; absent where nothing does; default `X-Auth-Key-Thumbprint`
    pub key_thumbprint: HeaderName,
    /// `forward.claims`, each under its name
    pub claims: Vec<(HeaderName, ClaimPath)>,
}

impl IdentityHeaders {
    /// Every name.
    pub(super) fn all(&self) -> impl Iterator<Item = &HeaderName> {
        let Self { subject, client_id, scope, issuer, binding, key_thumbprint, claims } = self;
        let fixed = [subject, client_id, scope, issuer, binding, key_thumbprint].into_iter();
        fixed.chain(claims.iter().map(|(name, _)| name))
    }
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            subject: HeaderName::from_static(SUBJECT),
            client_id: HeaderName::from_static(CLIENT_ID),
            scope: HeaderName::from_static(SCOPE),
            issuer: HeaderName::from_static(ISSUER),
            binding: HeaderName::from_static(BINDING),
            key_thumbprint: HeaderName::from_static(KEY_THUMBPRINT),
            claims: Vec::new(),
        }
    }
}

const SUBJECT: &str = "x-auth-subject";
const CLIENT_ID: &str = "x-auth-client-id";
const SCOPE: &str = "x-auth-scope";
const ISSUER: &str = "x-auth-issuer";
const BINDING: &str = "x-auth-binding";
const KEY_THUMBPRINT: &str = "x-auth-key-thumbprint";
/// The name that only an assertion has.
pub const ASSERTION: &str = "x-auth-assertion";
/// The gateway's own names. Each has its meaning wherever it is said.
const OWN: [&str; 7] = [SUBJECT, CLIENT_ID, SCOPE, ISSUER, BINDING, KEY_THUMBPRINT, ASSERTION];

/// Claims that are never passed on by themselves, and what says them, if anything.
const OWN_SETTINGS: [(&str, &str); 10] = [
    ("sub", "`identity_headers.subject`"),
    ("client_id", "`identity_headers.client_id`"),
    ("scope", "`identity_headers.scope`"),
    ("iss", "`identity_headers.issuer`"),
    ("cnf", "`identity_headers.key_thumbprint`"),
    ("aud", "nothing: it is this gateway"),
    ("jti", "nothing: the token ends here"),
    ("exp", "nothing: the token ends here"),
    ("nbf", "nothing: the token ends here"),
    ("iat", "nothing: the token ends here"),
];

/// How the upstream is told who is calling. An assertion is for one audience, or another upstream could show it around.
pub(super) fn identity(
    written: &route_file::Forward,
    assertions: Option<&Setting<file::Assertions>>,
    complaints: &mut Complaints,
) -> Identity {
    let is_assertion = written.identity.value == Written::Assertion;
    match (&written.audience, is_assertion) {
        (Some(audience), false) => {
            let mend = "write `identity: assertion`, or leave it out";
            complaints.add_with(audience.span, "nothing here has an audience", mend);
        }
        (None, true) => {
            let mend = "add `audience: URL`, by which the upstream knows that it is meant";
            complaints.add_with(written.identity.span, "an assertion for nobody", mend);
        }
        (Some(_), true) if assertions.is_none() => {
            let mend = "add `assertions: { issuer: URL, keys: { file: FILE } }` to the file";
            complaints.add_with(written.identity.span, "there is no key to sign an assertion with", mend);
        }
        (Some(_), true) | (None, false) => {}
    }
    match (written.identity.value, &written.audience) {
        (Written::Headers, _) => Identity::Headers(Box::new(headers(written, complaints))),
        (identity, audience) => {
            refuse_names_without_headers(written, complaints);
            match (identity, audience) {
                (Written::Assertion, Some(audience)) => Identity::Assertion(Arc::from(audience.0.as_str())),
                (Written::None | Written::Assertion | Written::Headers, _) => Identity::None,
            }
        }
    }
}

fn refuse_names_without_headers(written: &route_file::Forward, complaints: &mut Complaints) {
    let names = written.identity_headers.written.then_some(written.identity_headers.span);
    let claims = written.claims.as_ref().map(|claims| claims.span);
    for span in [names, claims].into_iter().flatten() {
        let mend = "write `identity: headers`, or leave it out";
        complaints.add_with(span, "without identity headers this has no effect", mend);
    }
}

/// The names of a route, and the claims behind them.
fn headers(written: &route_file::Forward, complaints: &mut Complaints) -> IdentityHeaders {
    let mut taken = Taken::default();
    let mut name = |written: &Option<Setting<FieldName>>, own: &'static str| match written {
        Some(name) => {
            taken.take(name, name.span, Some(own), complaints);
            name.0.clone()
        }
        None => HeaderName::from_static(own),
    };
    let names = &written.identity_headers;
    let headers = IdentityHeaders {
        subject: name(&names.subject, SUBJECT),
        client_id: name(&names.client_id, CLIENT_ID),
        scope: name(&names.scope, SCOPE),
        issuer: name(&names.issuer, ISSUER),
        binding: name(&names.binding, BINDING),
        key_thumbprint: name(&names.key_thumbprint, KEY_THUMBPRINT),
        claims: Vec::new(),
    };
    let claims =
        written.claims.as_ref().map_or_else(Vec::new, |written| claims(written, &mut taken, complaints));
    IdentityHeaders { claims, ..headers }
}

fn claims(
    written: &Named<Setting<Text>>,
    taken: &mut Taken,
    complaints: &mut Complaints,
) -> Vec<(HeaderName, ClaimPath)> {
    let mut claims = Vec::with_capacity(written.entries.len());
    for (key, claim) in &written.entries {
        let name = match FieldName::from_text(&key.text) {
            Ok(name) => name,
            Err(Wrong { what, mend, .. }) => {
                // What is no name at all was refused with the mapping.
                if Name::from_text(&key.text).is_ok() {
                    complaints.add_with(key.span, format!("{} {what}", quoted(&key.text)), mend);
                }
                continue;
            }
        };
        taken.take(&name, key.span, None, complaints);
        let Some(path) = require::claim_path(claim, complaints) else { continue };
        if let Some((claimed, by)) = OWN_SETTINGS.iter().find(|(name, _)| *name == path.name()) {
            let message = format!("`{claimed}` means something to the gateway itself");
            complaints.add_with(claim.span, message, format!("what tells an upstream of it is {by}"));
            continue;
        }
        claims.push((name.0, path));
    }
    claims
}

/// The names that a route has given.
#[derive(Default)]
struct Taken(Vec<(FieldName, usize)>);

impl Taken {
    /// Complains of a name that another thing has, on this route or on every one. `own` is the gateway's name for the thing.
    fn take(&mut self, name: &FieldName, span: Span, own: Option<&str>, complaints: &mut Complaints) {
        let text = name.0.as_str();
        if OWN.contains(&text) && own != Some(text) {
            let message = format!("{} is the gateway's name for something else", quoted(text));
            complaints.add_with(span, message, "a name of your own, such as `X-User-Id`");
        } else if let Some((_, line)) = self.0.iter().find(|(other, _)| name.is_twin_of(other)) {
            let message = format!("the name on line {line} is the same to some servers");
            complaints.add_with(span, message, "give each its own name, different in letters or digits");
        }
        self.0.push((name.clone(), span.line));
    }
}
