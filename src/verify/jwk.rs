//! The public key inside a proof (RFC 7517), its thumbprint (RFC 7638), and the signature it verifies.
//!
//! A caller chooses this key, so it is read strictly: a supported `kty`, the curve or size that fits `alg`, one spelling of each
//! value, no private member. Signatures are verified by aws-lc-rs, which costs a sixth of p256 here.

use aws_lc_rs::signature::{self as lc, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};

use super::algorithm::Algorithm;
use super::digest::{Digest, Key};
use super::json::Object;
use super::jws;

mod ed25519;
mod ml_dsa;

pub use ml_dsa::ParameterSet;

/// RSA keys must have at least this many bits (RFC 8725 §3.5, RFC 7518 §3.3) …
const RSA_BITS_LEAST: usize = 2048;
/// … and at most this many: the cost of verifying grows with the square, and the caller chooses.
const RSA_BITS_MOST: usize = 4096;

/// Why [`PublicKey::verify`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The key itself is none: a point that is not on its curve.
    Key,
    /// The signature is not this key's over this message.
    Signature,
}

/// A public key of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// An elliptic-curve point: `0x04 ‖ x ‖ y`.
    Ec {
        /// Which curve.
        curve: Curve,
        /// The uncompressed point. On the curve for P-256; for the others, `verify` finds out.
        point: Vec<u8>,
    },
    /// An Ed25519 key.
    Ed25519([u8; 32]),
    /// An RSA key: modulus and exponent, big-endian, without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// An ML-DSA key, as `pub` has it.
    MlDsa {
        /// Which parameters.
        set: ParameterSet,
        /// The key of their length.
        key: Vec<u8>,
    },
}

/// A NIST curve (RFC 7518 §6.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the registered names")]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    const fn coordinate_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

impl PublicKey {
    /// Whether `jwk` has a member that only a private or symmetric key has (RFC 9449 §4.3 check 7; RFC 7518 §6, RFC 8037 §2, RFC 9964). Its value does
    /// not matter: null and empty count.
    pub fn has_private_member(jwk: &Object<'_>) -> bool {
        ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"].iter().any(|name| jwk.has(name))
    }

    /// Reads a public key that is usable with `algorithm`. `None` when it does not fit or is not in its canonical form; the caller has
    /// looked for private members.
    pub fn read(jwk: &Object<'_>, algorithm: Algorithm) -> Option<Self> {
        if !may_verify(jwk, algorithm) {
            return None;
        }
        let bytes = |name| jws::string(jwk, name).and_then(jws::from_base64url);
        match (jws::string(jwk, "kty")?, algorithm) {
            ("EC", Algorithm::Es256) => read_ec(jwk, Curve::P256),
            ("EC", Algorithm::Es384) => read_ec(jwk, Curve::P384),
            ("EC", Algorithm::Es512) => read_ec(jwk, Curve::P521),
            ("OKP", Algorithm::EdDsa | Algorithm::Ed25519) if jws::string(jwk, "crv") == Some("Ed25519") => {
                bytes("x")?.try_into().ok().filter(ed25519::is_a_key).map(PublicKey::Ed25519)
            }
            (
                "RSA",
                Algorithm::Ps256
                | Algorithm::Ps384
                | Algorithm::Ps512
                | Algorithm::Rs256
                | Algorithm::Rs384
                | Algorithm::Rs512,
            ) => read_rsa(bytes("n")?, bytes("e")?),
            ("AKP", algorithm) => {
                let set = ParameterSet::of(algorithm)?;
                set.read(jwk).map(|key| PublicKey::MlDsa { set, key })
            }
            _ => None,
        }
    }

    /// The JWK thumbprint with SHA-256 (RFC 7638 §3, RFC 8037 §2, RFC 9964 §6): the required members in lexicographic order, no white space.
    pub fn thumbprint(&self) -> Digest<Key> {
        let json = match self {
            PublicKey::Ec { curve, point } => {
                let (x, y) = point[1..].split_at(curve.coordinate_bytes());
                let (x, y) = (jws::to_base64url(x), jws::to_base64url(y));
                format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name())
            }
            PublicKey::Ed25519(x) => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, jws::to_base64url(x))
            }
            PublicKey::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, jws::to_base64url(e), jws::to_base64url(n))
            }
            PublicKey::MlDsa { set, key } => {
                format!(r#"{{"alg":"{}","kty":"AKP","pub":"{}"}}"#, set.name(), jws::to_base64url(key))
            }
        };
        Digest::of(json.as_bytes())
    }

    /// Verifies `signature` over `message`. ECDSA signatures are r‖s of exactly the curve's length (RFC 7518 §3.4), never DER.
    ///
    /// # Errors
    /// [`Unfit`]; an `algorithm` of another key type than the one this key was read for is [`Unfit::Key`].
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Unfit> {
        let parsed = |scheme: &'static dyn VerificationAlgorithm, key: &[u8]| {
            // `ParsedPublicKey` is what checks the point, so that a key that is none is told from a signature that is none.
            let key = ParsedPublicKey::new(scheme, key).map_err(|_| Unfit::Key)?;
            key.verify_sig(message, signature).map_err(|_| Unfit::Signature)
        };
        let rsa = |scheme, n: &[u8], e: &[u8]| {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(scheme, message, signature).map_err(|_| Unfit::Signature)
        };
        match (self, algorithm) {
            (PublicKey::Ec { point, .. }, Algorithm::Es256) => parsed(&lc::ECDSA_P256_SHA256_FIXED, point),
            (PublicKey::Ec { point, .. }, Algorithm::Es384) => parsed(&lc::ECDSA_P384_SHA384_FIXED, point),
            (PublicKey::Ec { point, .. }, Algorithm::Es512) => parsed(&lc::ECDSA_P521_SHA512_FIXED, point),
            (PublicKey::Ed25519(x), Algorithm::EdDsa | Algorithm::Ed25519) => parsed(&lc::ED25519, x),
            (PublicKey::Rsa { n, e }, Algorithm::Ps256) => rsa(&lc::RSA_PSS_2048_8192_SHA256, n, e),
            (PublicKey::Rsa { n, e }, Algorithm::Ps384) => rsa(&lc::RSA_PSS_2048_8192_SHA384, n, e),
            (PublicKey::Rsa { n, e }, Algorithm::Ps512) => rsa(&lc::RSA_PSS_2048_8192_SHA512, n, e),
            (PublicKey::Rsa { n, e }, Algorithm::Rs256) => rsa(&lc::RSA_PKCS1_2048_8192_SHA256, n, e),
            (PublicKey::Rsa { n, e }, Algorithm::Rs384) => rsa(&lc::RSA_PKCS1_2048_8192_SHA384, n, e),
            (PublicKey::Rsa { n, e }, Algorithm::Rs512) => rsa(&lc::RSA_PKCS1_2048_8192_SHA512, n, e),
            (PublicKey::MlDsa { set, key }, named) if ParameterSet::of(named) == Some(*set) => {
                parsed(set.scheme(), key)
            }
            (
                PublicKey::Ec { .. }
                | PublicKey::Ed25519(_)
                | PublicKey::Rsa { .. }
                | PublicKey::MlDsa { .. },
                _,
            ) => Err(Unfit::Key),
        }
    }
}

/// Whether the key's own `use`, `key_ops` and `alg`, where it has them, allow verifying with `algorithm` (RFC 7517 §4.2 to §4.4).
fn may_verify(jwk: &Object<'_>, algorithm: Algorithm) -> bool {
    let for_signatures = jwk.get("use").is_none_or(|value| value.as_str() == Some("sig"));
    let for_verifying = jwk.get("key_ops").is_none_or(|value| {
        value.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
    });
    let for_algorithm = jwk.get("alg").is_none_or(|value| {
        let named = value.as_str().and_then(Algorithm::from_name);
        let ed25519 = |a| matches!(a, Algorithm::EdDsa | Algorithm::Ed25519);
        // RFC 9864 §2.2: two names of one algorithm.
        named == Some(algorithm) || (named.is_some_and(ed25519) && ed25519(algorithm))
    });
    for_signatures && for_verifying && for_algorithm
}

fn read_ec(jwk: &Object<'_>, curve: Curve) -> Option<PublicKey> {
    if jws::string(jwk, "crv") != Some(curve.name()) {
        return None;
    }
    let mut point = vec![0x04];
    for name in ["x", "y"] {
        let coordinate = jws::string(jwk, name).and_then(jws::from_base64url)?;
        // RFC 7518 §6.2.1.2: the full length, leading zeros included; any other spelling would have another thumbprint.
        if coordinate.len() != curve.coordinate_bytes() {
            return None;
        }
        point.extend_from_slice(&coordinate);
    }
    if curve == Curve::P256 && p256::PublicKey::from_sec1_bytes(&point).is_err() {
        return None;
    }
    Some(PublicKey::Ec { curve, point })
}

fn read_rsa(n: Vec<u8>, e: Vec<u8>) -> Option<PublicKey> {
    // RFC 7518 §6.3.1: Base64urlUInt has no leading zero.
    let leading = *n.first()?;
    if leading == 0 || *e.first()? == 0 {
        return None;
    }
    let bits = n.len() * 8 - leading.leading_zeros() as usize;
    // An exponent of 1 makes every message its own signature; a long one makes verifying dear.
    let exponent_fits = e.len() <= 4 && e.last()? % 2 == 1 && e != [1];
    ((RSA_BITS_LEAST..=RSA_BITS_MOST).contains(&bits) && exponent_fits).then_some(PublicKey::Rsa { n, e })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str, algorithm: Algorithm) -> Option<PublicKey> {
        PublicKey::read(&Object::read(json.as_bytes()).expect("valid JSON"), algorithm)
    }

    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA""#;

    /// R-G-06, T-BND-20, T-BND-21: published thumbprints, whatever other members there are.
    #[test]
    fn thumbprints_of_the_rfcs() {
        let plain = key(&format!("{EC}}}"), Algorithm::Es256).expect("a key");
        let more = key(&format!("{EC},\"kid\":\"1\",\"use\":\"sig\",\"x5c\":[]}}"), Algorithm::Es256)
            .expect("a key");
        assert_eq!(plain.thumbprint().to_base64url(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(plain.thumbprint(), more.thumbprint());
        let okp = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for name in [Algorithm::EdDsa, Algorithm::Ed25519] {
            let thumbprint = key(okp, name).expect("a key").thumbprint().to_base64url();
            assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        }
        let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;
        assert_eq!(
            key(rsa, Algorithm::Ps256).expect("a key").thumbprint().to_base64url(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    /// R-A-06, T-PRF-20, T-PRF-22, T-PRF-23, T-ALG-10, T-ALG-11, T-BND-23.
    #[test]
    fn keys_that_do_not_fit() {
        for more in [
            r#","use":"enc"}"#,
            r#","use":1}"#,
            r#","key_ops":["encrypt"]}"#,
            r#","key_ops":"verify"}"#,
            r#","alg":"ES384"}"#,
            r#","alg":null}"#,
        ] {
            assert_eq!(key(&format!("{EC}{more}"), Algorithm::Es256), None, "{more}");
        }
        assert!(key(&format!(r#"{EC},"key_ops":["verify"],"alg":"ES256"}}"#), Algorithm::Es256).is_some());
        for algorithm in Algorithm::ALL.into_iter().filter(|a| *a != Algorithm::Es256) {
            assert_eq!(key(&format!("{EC}}}"), algorithm), None, "{algorithm}");
        }
        let off_curve = EC.replace("9VE4", "9VE5");
        assert_eq!(key(&format!("{off_curve}}}"), Algorithm::Es256), None);
        let short = EC.replace(
            "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBA",
        );
        assert_eq!(key(&format!("{short}}}"), Algorithm::Es256), None);
        for (n, e) in [("AQ", "AQAB"), ("0vx7", "AQ")] {
            assert_eq!(key(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#), Algorithm::Ps256), None);
        }
        let n = |bytes: usize| jws::to_base64url(&vec![0xff; bytes]);
        for (n, e, fits) in [
            (n(256), "AQAB", true),
            (n(256), "AQ", false),
            (n(256), "AAEAAQ", false),
            (n(256), "Ag", false),
            (n(255), "AQAB", false),
            (n(513), "AQAB", false),
            (n(512), "Aw", true),
            (n(256), "AQAAAAE", false),
        ] {
            assert_eq!(
                key(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#), Algorithm::Ps256).is_some(),
                fits,
                "{e}"
            );
        }
        assert_eq!(key(r#"{"kty":"oct","k":"AA"}"#, Algorithm::Es256), None);
        assert_eq!(key(r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#, Algorithm::EdDsa), None);
        assert_eq!(
            key(
                r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
                Algorithm::EdDsa
            ),
            None
        );
    }

    #[test]
    fn private_members_by_presence() {
        for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
            for value in ["null", "\"\"", "\"x\"", "[]"] {
                let jwk = format!("{EC},\"{member}\":{value}}}");
                assert!(
                    PublicKey::has_private_member(&Object::read(jwk.as_bytes()).expect("valid JSON")),
                    "{jwk}"
                );
            }
        }
        assert!(!PublicKey::has_private_member(
            &Object::read(format!("{EC}}}").as_bytes()).expect("valid JSON")
        ));
    }
}
