//! Step 3: which key the holder of a token must show (RFC 7800).
//!
//! What binds is the token's `cnf` and nothing else: not the scheme, not a header, not a setting.

use super::digest::{Certificate, Digest, Key};
use super::json::{Object, Value};
use super::rejection::Rejection;

/// What a token's `cnf` demands. Only members this gateway can check are in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// `jkt`: a DPoP proof by this key (RFC 9449 §6.1).
    Key(Digest<Key>),
    /// `x5t#S256`: this client certificate (RFC 8705 §3.1).
    Certificate(Digest<Certificate>),
    /// Both members: both must be shown. Checking only the first one found would halve the protection.
    Both(Digest<Key>, Digest<Certificate>),
    /// No `cnf` at all: whoever holds the token can present it.
    Unbound,
}

impl Confirmation {
    /// Reads `cnf` from a token's claims.
    ///
    /// # Errors
    /// [`Rejection::TokenConfirmation`] when `cnf` is no object, when a known member is not a 43-character base64url digest, or
    /// when there is no member we can check: such a token is bound in a way we do not know, and treating it as unbound would let a
    /// thief use it (RFC 7800 §3.1). Unknown members beside a known one are ignored.
    pub fn read(claims: &Object<'_>) -> Result<Self, Rejection> {
        let Some(cnf) = claims.get("cnf") else { return Ok(Confirmation::Unbound) };
        let cnf = cnf.as_object().ok_or(Rejection::TokenConfirmation)?;
        let key = digest(cnf, "jkt")?;
        // RFC 8705 §3.1. The SHA-1 thumbprint `x5t` is an unknown member here: it is never taken instead (§7.2).
        let certificate = digest(cnf, "x5t#S256")?;
        match (key, certificate) {
            (Some(key), Some(certificate)) => Ok(Confirmation::Both(key, certificate)),
            (Some(key), None) => Ok(Confirmation::Key(key)),
            (None, Some(certificate)) => Ok(Confirmation::Certificate(certificate)),
            (None, None) => Err(Rejection::TokenConfirmation),
        }
    }

    /// The key a proof must be signed with, where there is one.
    pub const fn key(&self) -> Option<Digest<Key>> {
        match self {
            Confirmation::Key(key) | Confirmation::Both(key, _) => Some(*key),
            Confirmation::Certificate(_) | Confirmation::Unbound => None,
        }
    }
}

/// A member that is a digest: absent is fine, present in any other form is not.
fn digest<Of>(cnf: &Object<'_>, member: &str) -> Result<Option<Digest<Of>>, Rejection> {
    match cnf.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => {
            Digest::from_base64url(text).map(Some).ok_or(Rejection::TokenConfirmation)
        }
        Some(_) => Err(Rejection::TokenConfirmation),
    }
}

#[cfg(test)]
mod tests {
    use super::{Confirmation, Object, Rejection};

    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    const X5T: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";

    fn read(cnf: &str) -> Result<Confirmation, Rejection> {
        Confirmation::read(&Object::read(format!("{{\"cnf\":{cnf}}}").as_bytes()).expect("valid JSON"))
    }

    #[test]
    fn known_members_are_all_read() {
        assert!(matches!(read(&format!("{{\"jkt\":\"{JKT}\"}}")), Ok(Confirmation::Key(_))));
        assert!(matches!(read(&format!("{{\"jkt\":\"{JKT}\",\"foo\":1}}")), Ok(Confirmation::Key(_))));
        let x5t = X5T.replace("dg2", "dgw");
        assert!(matches!(read(&format!("{{\"x5t#S256\":\"{x5t}\"}}")), Ok(Confirmation::Certificate(_))));
        assert!(matches!(
            read(&format!("{{\"x5t#S256\":\"{x5t}\",\"jkt\":\"{JKT}\"}}")),
            Ok(Confirmation::Both(..))
        ));
        assert_eq!(Confirmation::read(&Object::default()), Ok(Confirmation::Unbound));
    }

    /// R-G-01, R-G-02, R-G-05, R-F-08, T-BND-11, T-BND-13, T-BND-19.
    #[test]
    fn what_cannot_be_checked_refuses_the_token() {
        let mut refused: Vec<String> = [
            "\"str\"",
            "1",
            "0",
            "true",
            "3.14",
            "[]",
            "[123]",
            "null",
            "{}",
            "{\"kid\":\"x\"}",
            "{\"jwk\":{}}",
            "{\"jku\":\"https://x\"}",
            "{\"x5t\":\"bwcK0esc3ACC3DB2Y5_lESsX\"}",
        ]
        .map(String::from)
        .to_vec();
        for value in ["5", "\"\"", "null", "\"!!\""] {
            refused.push(format!("{{\"jkt\":{value}}}"));
        }
        refused.push(format!("{{\"jkt\":\"{JKT}=\"}}"));
        refused.push(format!("{{\"jkt\":\"{}\"}}", &JKT[..42]));
        refused.push(format!("{{\"jkt\":\"{JKT}A\"}}"));
        refused.push(format!("{{\"jkt\":\"{JKT}\",\"x5t#S256\":null}}"));
        for cnf in refused {
            assert_eq!(read(&cnf), Err(Rejection::TokenConfirmation), "{cnf}");
        }
    }
}
