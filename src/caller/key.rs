//! A caller's DPoP key: P-256, made here or read from a file, and the forms it is shown in.
//!
//! The private half leaves only through [`DpopKey::to_pkcs8_pem`]. It is zeroed when dropped and never printed.

use std::fmt;

use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use thiserror::Error;

use crate::verify::digest::{Digest, Key};
use crate::verify::jwk::{Curve, PublicKey};
use crate::verify::jws;

/// Bytes of a P-256 coordinate.
const COORDINATE: usize = 32;

/// Why there is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// The system gives no random bytes. A key or a `jti` from anything else could be guessed.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// Not the PEM of a P-256 private key. What is in the file is not repeated: it may be another secret.
    #[error("not a P-256 private key in PEM (PKCS#8 \"PRIVATE KEY\" or SEC 1 \"EC PRIVATE KEY\")")]
    Unreadable,
}

/// A P-256 key pair that signs proofs with ES256. It prints as its thumbprint.
pub struct DpopKey {
    secret: SigningKey,
    /// `0x04 ‖ x ‖ y`
    point: Vec<u8>,
}

impl DpopKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        SecretKey::try_generate().map(Self::of).map_err(|_| KeyError::NoRandomness)
    }

    /// Reads a PEM: PKCS#8 (RFC 5958), or SEC 1 as `openssl ecparam -genkey` writes it.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`], for keys of other curves and encrypted ones too.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SecretKey::from_pem(pem).map(Self::of).map_err(|_| KeyError::Unreadable)
    }

    fn of(secret: SecretKey) -> Self {
        let point = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        Self { secret: SigningKey::from(secret), point }
    }

    /// The private key as PKCS#8 PEM, zeroed when dropped.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.secret
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a key that exists fits in the fixed template of its PKCS#8 form")
    }

    /// The public key as a JWK (RFC 7518 §6.2.1): the required members alone, in the order that RFC 7638 hashes them in.
    pub fn public_jwk(&self) -> String {
        let (x, y) = self.point[1..].split_at(COORDINATE);
        let (x, y) = (jws::to_base64url(x), jws::to_base64url(y));
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
    }

    /// The thumbprint that a token's `cnf.jkt` must have (RFC 9449 §6.1).
    pub fn thumbprint(&self) -> Digest<Key> {
        PublicKey::Ec { curve: Curve::P256, point: self.point.clone() }.thumbprint()
    }

    /// The compact JWS of `header` and `claims`, signed with ES256: r ‖ s (RFC 7515 §7.1, RFC 7518 §3.4). Neither text is looked at, so
    /// that a test can sign what no caller should.
    pub fn sign_compact(&self, header: &str, claims: &str) -> String {
        let mut jws =
            format!("{}.{}", jws::to_base64url(header.as_bytes()), jws::to_base64url(claims.as_bytes()));
        let signature: Signature = self.secret.sign(jws.as_bytes());
        jws.push('.');
        jws.push_str(&jws::to_base64url(&signature.to_bytes()));
        jws
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopKey({})", self.thumbprint())
    }
}

/// `N` bytes of the system's randomness, as base64url.
///
/// # Errors
/// [`KeyError::NoRandomness`].
pub fn random_base64url<const N: usize>() -> Result<String, KeyError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(jws::to_base64url(&bytes))
}

#[cfg(test)]
mod tests {
    use super::{DpopKey, KeyError};
    use crate::verify::algorithm::Algorithm;
    use crate::verify::digest::Digest;
    use crate::verify::json::Object;
    use crate::verify::jwk::PublicKey;

    #[test]
    fn the_pem_gives_the_same_key_back() {
        let key = DpopKey::generate().expect("a key");
        let pem = key.to_pkcs8_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let again = DpopKey::from_pem(&pem).expect("its own PEM");
        assert_eq!(again.thumbprint(), key.thumbprint());
        assert_eq!(again.to_pkcs8_pem(), pem);
        // ECDSA here is deterministic (RFC 6979), so the same key makes the same signature.
        assert_eq!(again.sign_compact("{}", "{}"), key.sign_compact("{}", "{}"));
    }

    #[test]
    fn what_is_no_p256_key_is_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a P-384 key");
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("an Ed25519 key");
        for pem in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
            .map(String::from)
            .into_iter()
            .chain([p384.serialize_pem(), ed25519.serialize_pem()])
        {
            assert_eq!(DpopKey::from_pem(&pem).map(|_| ()), Err(KeyError::Unreadable));
        }
    }

    /// RFC 7638 §3: the thumbprint is the hash of the canonical JWK, and the verifying side reads the same key from it.
    #[test]
    fn the_jwk_hashes_to_the_thumbprint() {
        let key = DpopKey::generate().expect("a key");
        let jwk = key.public_jwk();
        assert_eq!(Digest::of(jwk.as_bytes()), key.thumbprint());
        let object = Object::read(jwk.as_bytes()).expect("JSON");
        assert!(!PublicKey::has_private_member(&object));
        let read = PublicKey::read(&object, Algorithm::Es256).expect("an ES256 key");
        assert_eq!(read.thumbprint(), key.thumbprint());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = DpopKey::generate().expect("a key");
        assert_eq!(format!("{key:?}"), format!("DpopKey({})", key.thumbprint()));
    }
}
