//! The compact serialisation of a JWS (RFC 7515 §7.1), read strictly and without judging what it says.
//!
//! JSON serialisations, padding, white space and five-part JWEs are refused here (RFC 8725bis §3.14). The signature is *not* verified
//! here: `jwks` does that for tokens and `jwk` for proofs.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::{Object, Value};

/// base64url without padding, unused bits zero: one spelling for each value (RFC 7515 §2).
pub(super) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// Decodes base64url of one spelling only.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok()
}

/// Encodes as base64url without padding.
pub fn to_base64url(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// The three parts of a compact JWS, decoded. The header and the payload are still text: see [`Compact::header`].
#[derive(Debug)]
pub struct Compact<'t> {
    /// What the signature is over: the first two parts and the dot between them (RFC 7515 §5.2).
    pub signing_input: &'t str,
    /// The signature's bytes.
    pub signature: Vec<u8>,
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl<'t> Compact<'t> {
    /// Splits and decodes `text`. `None` unless it is exactly three non-empty base64url parts.
    pub fn read(text: &'t str) -> Option<Self> {
        let (signing_input, signature) = text.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        // A further dot would sit in `payload`, and no dot is base64url; this only refuses 10,000 of them sooner.
        if header.is_empty() || payload.is_empty() || signature.is_empty() || payload.contains('.') {
            return None;
        }
        Some(Self {
            signing_input,
            signature: from_base64url(signature)?,
            header: from_base64url(header)?,
            payload: from_base64url(payload)?,
        })
    }

    /// The JOSE header, a JSON object.
    pub fn header(&self) -> Option<Object<'_>> {
        Object::read(&self.header)
    }

    /// The claims, a JSON object.
    pub fn claims(&self) -> Option<Object<'_>> {
        Object::read(&self.payload)
    }
}

/// Whether the header asks for something this gateway does not do. `crit` can only name extensions that must be understood (RFC 7515 §4.1.11); we
/// understand none, so every `crit`, the malformed ones too, is refused. `b64` (RFC 7797) changes what is signed.
pub fn demands_extension(header: &Object<'_>) -> bool {
    header.has("crit") || header.has("b64")
}

/// The string member `name`; `None` when it is missing or of another type.
pub fn string<'o>(object: &'o Object<'_>, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::{Compact, from_base64url, to_base64url};

    #[test]
    fn three_parts_and_nothing_else() {
        assert!(Compact::read("e30.e30.AA").is_some());
        for text in [
            "",
            ".",
            "..",
            "e30.e30",
            "e30.e30.",
            ".e30.AA",
            "e30..AA",
            "e30.e30.AA.AA",
            "a.b.c.d.e",
            "e30=.e30.AA",
            "e30 .e30.AA",
            "e30.e30.AA\n",
            "e30.e3+.AA",
            "{\"payload\":\"\"}",
            "e30.e31.AA",
        ] {
            assert!(Compact::read(text).is_none(), "{text}");
        }
        assert!(Compact::read(&".".repeat(10_000)).is_none());
    }

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(from_base64url("AA"), Some(vec![0]));
        assert_eq!(from_base64url("AB"), None, "unused bits set");
        assert_eq!(from_base64url("AA=="), None);
        assert_eq!(to_base64url(&[251, 255]), "-_8");
    }
}
