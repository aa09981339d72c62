//! SHA-256 digests that know what they are the digest of.
//!
//! A thumbprint of a key and a thumbprint of a certificate are both 32 bytes; comparing one with the other would be
//! a way to let a caller in with the wrong evidence, so the compiler refuses it: the type parameter says what was hashed.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::jws::BASE64URL;

/// An access token as it stood on the wire: `ath` (RFC 9449 §4.2) and the key of the verified-token cache.
#[derive(Debug)]
pub enum AccessToken {}
/// A public key's JWK thumbprint (RFC 7638): `jkt` (RFC 9449 §6.1).
#[derive(Debug)]
pub enum Key {}
/// A certificate's DER: `x5t#S256` (RFC 8705 §3.1).
#[derive(Debug)]
pub enum Certificate {}
/// A proof's identity for replay: H(jkt ‖ jti).
#[derive(Debug)]
pub enum ProofId {}

/// 32 bytes of SHA-256 over one `Of`. Equality takes the same time wherever the bytes differ.
pub struct Digest<Of> {
    bytes: [u8; 32],
    of: PhantomData<fn() -> Of>,
}

impl<Of> Digest<Of> {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    /// The digest of two parts. The first must have a fixed length, or two different pairs could hash alike.
    pub fn of_pair(fixed_length: &[u8; 32], rest: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(fixed_length).chain_update(rest))
    }

    fn from_hash(hash: Sha256) -> Self {
        Self { bytes: hash.finalize().into(), of: PhantomData }
    }

    /// Reads the base64url form without padding that `ath`, `jkt` and `x5t#S256` have: exactly 43 characters whose unused bits
    /// are zero. Anything else (padded, hex, standard base64, 42 or 44 characters) is `None`.
    pub fn from_base64url(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        let mut bytes = [0; 32];
        let written = BASE64URL.decode_slice(text, &mut bytes).ok()?;
        (written == 32).then_some(Self { bytes, of: PhantomData })
    }

    /// Reads 64 hexadecimal digits of either case, as `X-Forwarded-Client-Cert` has them.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self { bytes, of: PhantomData })
    }

    /// The base64url form, 43 characters.
    pub fn to_base64url(self) -> String {
        BASE64URL.encode(self.bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl<Of> Clone for Digest<Of> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Of> Copy for Digest<Of> {}

impl<Of> PartialEq for Digest<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl<Of> Eq for Digest<Of> {}

impl<Of> Hash for Digest<Of> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl<Of> fmt::Debug for Digest<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64url())
    }
}

impl<Of> fmt::Display for Digest<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64url())
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessToken, Digest};

    #[test]
    fn the_ath_of_rfc_9449_section_7_1() {
        let token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        assert_eq!(
            Digest::<AccessToken>::of(token).to_base64url(),
            "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
        );
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let digest = Digest::<AccessToken>::of(b"x");
        let text = digest.to_base64url();
        assert_eq!(Digest::from_base64url(&text), Some(digest));
        assert_eq!(Digest::<AccessToken>::from_base64url(&format!("{text}=")), None);
        assert_eq!(Digest::<AccessToken>::from_base64url(&text[..42]), None);
        // The last character carries four bits of the digest and two that must be zero: a second spelling is refused.
        let last = text.as_bytes()[42];
        let sibling = char::from(last + 1);
        assert_eq!(Digest::<AccessToken>::from_base64url(&format!("{}{sibling}", &text[..42])), None);
    }
}
