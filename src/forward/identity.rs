//! Who is calling, for the upstream: the `X-Auth-*` headers, or what the operator calls them, and the claims that it passes on.
//!
//! The upstream believes these names, so they are removed from whatever a caller sent, in every spelling that some server
//! would fold into them, on every route; and then set from the permit alone (RFC 9700 §4.13).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use super::fault::Fault;
use crate::config::IdentityHeaders;
use crate::verify::claim_value::{ClaimValue, EXACT};
use crate::verify::proof::Binding;
use crate::verify::replay::Permit;

/// Sets the headers. One the token has no value for is absent.
///
/// # Errors
/// [`Fault::IdentityUnfit`] when a claim cannot stand in a header as it is: control characters, or white space at an end,
/// which the upstream would cut off and so see another subject; or a chosen claim of which the upstream could read another value. Characters outside
/// ASCII go as UTF-8.
pub(super) fn set(headers: &mut HeaderMap, permit: &Permit, names: &IdentityHeaders) -> Result<(), Fault> {
    let (token, binding) = (permit.token(), permit.binding());
    let claims = [
        (&names.subject, token.subject()),
        (&names.client_id, token.client_id()),
        (&names.scope, token.scope()),
        (&names.issuer, Some(token.issuer())),
    ];
    for (name, value) in claims {
        // An empty value says as little as none: authorization servers write `scope: ""` for a token without scopes.
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            headers.insert(name, exactly(value)?);
        }
    }
    headers.insert(&names.binding, HeaderValue::from_static(binding.name()));
    let thumbprint = match binding {
        Binding::Key(key) | Binding::Both(key, _) => Some(key.thumbprint().to_base64url()),
        Binding::Certificate(certificate) => Some(certificate.thumbprint().to_base64url()),
        Binding::Nothing(_) => None,
    };
    if let Some(thumbprint) = thumbprint {
        headers.insert(&names.key_thumbprint, exactly(&thumbprint)?);
    }
    for (name, path) in &names.claims {
        if let Some(text) = token.claim(path).map(text).transpose()?.flatten() {
            headers.insert(name, exactly(&text)?);
        }
    }
    Ok(())
}

/// A claim as one text, where it is one of which an upstream reads the same value: `None` for what says nothing.
fn text(claim: &ClaimValue) -> Result<Option<Cow<'_, str>>, Fault> {
    Ok(match claim {
        ClaimValue::Null => None,
        ClaimValue::Text(text) => (!text.is_empty()).then_some(Cow::Borrowed(&**text)),
        ClaimValue::Boolean(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        // From there on two integers are one number: it could be someone else's.
        ClaimValue::Number(number) if number.abs() > EXACT => return Err(Fault::IdentityUnfit),
        // JSON's -0 is 0.
        ClaimValue::Number(number) => Some(Cow::Owned((number + 0.0).to_string())),
        ClaimValue::List(elements) => list(elements)?.map(Cow::Owned),
        ClaimValue::Members(_) => return Err(Fault::IdentityUnfit),
    })
}

/// Texts with commas between them. One that has a comma itself would be two to the reader, and white space at an end is cut off (RFC 9110 §5.6.1), as
/// is an element that is empty.
fn list(elements: &[ClaimValue]) -> Result<Option<String>, Fault> {
    let mut joined = String::new();
    for element in elements {
        let ClaimValue::Text(text) = element else { return Err(Fault::IdentityUnfit) };
        if text.is_empty() || text.contains(',') || text.trim() != &**text {
            return Err(Fault::IdentityUnfit);
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(text);
    }
    Ok((!joined.is_empty()).then_some(joined))
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
    use super::{ClaimValue, Fault, exactly, text};

    #[test]
    fn only_what_arrives_unchanged() {
        for value in ["alice@example.com", "a b", "\u{e9}lodie"] {
            assert_eq!(exactly(value).expect(value).as_bytes(), value.as_bytes());
        }
        for value in ["", " admin", "admin ", "a\r\nX-Auth-Subject: b", "a\0", "a\u{7f}"] {
            assert_eq!(exactly(value), Err(Fault::IdentityUnfit), "{value:?}");
        }
    }
    #[test]
    fn chosen_claims_arrive_as_one_value() {
        let of = |value: &str| ClaimValue::Text(value.into());
        let list = |texts: &[&str]| ClaimValue::List(texts.iter().map(|text| of(text)).collect());
        for (claim, expected) in [
            (of("acme, inc."), Some("acme, inc.")),
            (of(""), None),
            (ClaimValue::Null, None),
            (ClaimValue::Boolean(true), Some("true")),
            (ClaimValue::Boolean(false), Some("false")),
            (ClaimValue::Number(42.0), Some("42")),
            (ClaimValue::Number(-0.0), Some("0")),
            (ClaimValue::Number(-1.5), Some("-1.5")),
            (ClaimValue::Number(9_007_199_254_740_991.0), Some("9007199254740991")),
            (list(&[]), None),
            (list(&["a"]), Some("a")),
            (list(&["a", "b c"]), Some("a,b c")),
        ] {
            assert_eq!(text(&claim).expect("fits").as_deref(), expected, "{claim:?}");
        }
        for claim in [
            ClaimValue::Number(9_007_199_254_740_992.0),
            ClaimValue::Number(-1e300),
            list(&["a,b"]),
            list(&["a", ""]),
            list(&["a", " b"]),
            ClaimValue::List(Box::new([ClaimValue::Number(1.0)])),
            ClaimValue::List(Box::new([of("a"), ClaimValue::Null])),
            ClaimValue::List(Box::new([list(&["a"])])),
            ClaimValue::Members(Box::default()),
        ] {
            assert_eq!(text(&claim), Err(Fault::IdentityUnfit), "{claim:?}");
        }
    }
}
