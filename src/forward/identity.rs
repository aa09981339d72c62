//! Who is calling, for the upstream: the `X-Auth-*` headers.
//!
//! The upstream believes these names, so they are removed from whatever a caller sent, in every spelling that some server
//! would fold into them, on every route; and then set from the permit alone (RFC 9700 §4.13).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::Fault;
use crate::verify::proof::Binding;
use crate::verify::replay::Permit;

/// `sub`
const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
/// `client_id`
const CLIENT_ID: HeaderName = HeaderName::from_static("x-auth-client-id");
/// `scope`
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
/// `iss`
const ISSUER: HeaderName = HeaderName::from_static("x-auth-issuer");
/// `dpop`, `mtls` or `both`; `none` for a bearer on a report-only route
const BINDING: HeaderName = HeaderName::from_static("x-auth-binding");
/// `jkt`, or `x5t#S256` where only a certificate binds; absent where nothing does
const KEY_THUMBPRINT: HeaderName = HeaderName::from_static("x-auth-key-thumbprint");

/// What all of them start with; nothing that starts so is let through from a caller.
pub(super) const PREFIX: &str = "x-auth-";

/// Sets the headers. One the token has no value for is absent.
///
/// # Errors
/// [`Fault::IdentityUnfit`] when a claim cannot stand in a header as it is: control characters, or white space at an end,
/// which the upstream would cut off and so see another subject. Characters outside ASCII go as UTF-8.
pub(super) fn set(headers: &mut HeaderMap, permit: &Permit) -> Result<(), Fault> {
    let (token, binding) = (permit.token(), permit.binding());
    let claims = [
        (SUBJECT, token.subject()),
        (CLIENT_ID, token.client_id()),
        (SCOPE, token.scope()),
        (ISSUER, Some(token.issuer())),
    ];
    for (name, value) in claims {
        // An empty value says as little as none: authorization servers write `scope: ""` for a token without scopes.
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            headers.insert(name, exactly(value)?);
        }
    }
    headers.insert(BINDING, HeaderValue::from_static(binding.name()));
    let thumbprint = match binding {
        Binding::Key(key) | Binding::Both(key, _) => Some(key.thumbprint().to_base64url()),
        Binding::Certificate(certificate) => Some(certificate.thumbprint().to_base64url()),
        Binding::Nothing(_) => None,
    };
    if let Some(thumbprint) = thumbprint {
        headers.insert(KEY_THUMBPRINT, exactly(&thumbprint)?);
    }
    Ok(())
}

/// The value as a header, if the reader of the header gets back exactly the value.
fn exactly(value: &str) -> Result<HeaderValue, Fault> {
    if value.trim() != value || value.is_empty() {
        return Err(Fault::IdentityUnfit);
    }
    HeaderValue::from_str(value).map_err(|_| Fault::IdentityUnfit)
}

#[cfg(test)]
mod tests {
    use super::{Fault, exactly};

    #[test]
    fn only_what_arrives_unchanged() {
        for value in ["alice@example.com", "a b", "\u{e9}lodie"] {
            assert_eq!(exactly(value).expect(value).as_bytes(), value.as_bytes());
        }
        for value in ["", " admin", "admin ", "a\r\nX-Auth-Subject: b", "a\0", "a\u{7f}"] {
            assert_eq!(exactly(value), Err(Fault::IdentityUnfit), "{value:?}");
        }
    }
}
