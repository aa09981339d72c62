//! `client_key`: the private key that the gateway signs its own statements with, and the algorithm that fits it.

use std::fmt;

use josekit::jwk::Jwk;
use josekit::jwk::alg::{ec::EcKeyPair, ed::EdKeyPair, rsa::RsaKeyPair};
use josekit::jws::{self as jose, JwsSigner};

use super::complaint::Complaints;
use super::decode::Setting;
use super::either::Secret;
use super::material::Surroundings;
use crate::verify::algorithm::Algorithm;

/// A key that signs for one algorithm. It is never printed.
pub struct ClientKey {
    jwk: Jwk,
    algorithm: Algorithm,
    name: Option<String>,
    signer: Box<dyn JwsSigner>,
}

impl ClientKey {
    /// The key of a PEM text (PKCS#8, SEC1 or PKCS#1), for `algorithm`, or for the one that fits it where that is left out. `None` for any other text and for
    /// a key that does not fit.
    pub fn read(pem: &str, algorithm: Option<Algorithm>, name: Option<String>) -> Option<Self> {
        let jwk = read_pem(pem)?;
        let fitting = [
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::Es512,
            Algorithm::EdDsa,
            // RSASSA-PSS rather than PKCS#1 v1.5, as FAPI 2.0 §5.4.1 wants; for servers that know no other, the operator names RS256.
            Algorithm::Ps256,
        ];
        let tried = algorithm.as_ref().map_or(&fitting[..], std::slice::from_ref);
        let (algorithm, signer) =
            tried.iter().find_map(|&algorithm| Some((algorithm, signer(&jwk, algorithm)?)))?;
        Some(Self { jwk, algorithm, name, signer })
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`, where it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The signature over `message`; `None` when the library fails, for want of randomness for example.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.signer.sign(message).ok()
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        // The signer follows from the key and the algorithm.
        (&self.jwk, self.algorithm, &self.name) == (&other.jwk, other.algorithm, &other.name)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.algorithm)
    }
}

/// Any private key that josekit reads. It tells the kinds apart by what stands in the text, so at most one of them succeeds.
pub(super) fn read_pem(pem: &str) -> Option<Jwk> {
    EcKeyPair::from_pem(pem, None)
        .map(|pair| pair.to_jwk_private_key())
        .or_else(|_| EdKeyPair::from_pem(pem).map(|pair| pair.to_jwk_private_key()))
        .or_else(|_| RsaKeyPair::from_pem(pem).map(|pair| pair.to_jwk_private_key()))
        .ok()
}

fn signer(jwk: &Jwk, algorithm: Algorithm) -> Option<Box<dyn JwsSigner>> {
    macro_rules! signer {
        ($algorithm:expr) => {
            Some(Box::new($algorithm.signer_from_jwk(jwk).ok()?))
        };
    }
    match algorithm {
        Algorithm::Es256 => signer!(jose::ES256),
        Algorithm::Es384 => signer!(jose::ES384),
        Algorithm::Es512 => signer!(jose::ES512),
        Algorithm::Ps256 => signer!(jose::PS256),
        Algorithm::Ps384 => signer!(jose::PS384),
        Algorithm::Ps512 => signer!(jose::PS512),
        Algorithm::Rs256 => signer!(jose::RS256),
        Algorithm::Rs384 => signer!(jose::RS384),
        Algorithm::Rs512 => signer!(jose::RS512),
        Algorithm::EdDsa | Algorithm::Ed25519 => signer!(jose::EdDSA),
        // josekit signs with none of these.
        Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => None,
    }
}

impl Surroundings<'_> {
    /// The key of `{ file: … }` or `{ env: … }`.
    pub(super) fn client_key(
        self,
        written: &Setting<Secret>,
        algorithm: Option<&Setting<Algorithm>>,
        name: Option<String>,
        complaints: &mut Complaints,
    ) -> Option<ClientKey> {
        const MEND: &str =
            "PEM without a passphrase: P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more";
        let pem = self.secret(written, complaints)?;
        let key = ClientKey::read(&pem, algorithm.map(|algorithm| algorithm.value), name);
        match (&key, algorithm) {
            (Some(_), _) => {}
            (None, Some(algorithm)) if ClientKey::read(&pem, None, None).is_some() => {
                complaints.add(algorithm.span, "`client_key` cannot sign with this algorithm");
            }
            (None, _) => complaints.add_with(written.span, "no usable private key in this secret", MEND),
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, ClientKey, EcKeyPair, EdKeyPair, RsaKeyPair};
    use josekit::jwk::alg::{ec::EcCurve, ed::EdCurve};

    #[test]
    fn the_algorithm_fits_the_key() {
        let ec = |curve| String::from_utf8(EcKeyPair::generate(curve).unwrap().to_pem_private_key()).unwrap();
        let ed = EdKeyPair::generate(EdCurve::Ed25519).unwrap().to_pem_private_key();
        let rsa = String::from_utf8(RsaKeyPair::generate(2048).unwrap().to_pem_private_key()).unwrap();
        let read = |pem: &str, algorithm| {
            ClientKey::read(pem, algorithm, None).map(|key| {
                assert!(key.sign(b"text").is_some());
                assert!(!format!("{key:?}").contains(&pem[40..60]));
                key.algorithm()
            })
        };
        assert_eq!(read(&ec(EcCurve::P256), None), Some(Algorithm::Es256));
        assert_eq!(read(&ec(EcCurve::P384), None), Some(Algorithm::Es384));
        assert_eq!(read(&ec(EcCurve::P521), None), Some(Algorithm::Es512));
        assert_eq!(read(&String::from_utf8(ed).unwrap(), None), Some(Algorithm::EdDsa));
        assert_eq!(read(&rsa, None), Some(Algorithm::Ps256));
        assert_eq!(read(&rsa, Some(Algorithm::Rs256)), Some(Algorithm::Rs256));
        assert_eq!(read(&rsa, Some(Algorithm::Es256)), None);
        assert_eq!(read(&ec(EcCurve::P256), Some(Algorithm::Es384)), None);
        assert_eq!(read("", None), None);
        let short = String::from_utf8(RsaKeyPair::generate(1024).unwrap().to_pem_private_key()).unwrap();
        assert_eq!(read(&short, None), None);
    }
}
