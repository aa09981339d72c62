//! ML-DSA keys (RFC 9964 §3): `kty` AKP. `alg` is part of such a key, and so of its thumbprint.

use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, PqdsaVerificationAlgorithm};

use super::super::algorithm::Algorithm;
use super::super::json::Object;
use super::super::jws;

/// A parameter set of FIPS 204.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the registered names")]
pub enum ParameterSet {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl ParameterSet {
    /// That of an algorithm; the other algorithms have none.
    pub(super) const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::MlDsa44 => Some(ParameterSet::MlDsa44),
            Algorithm::MlDsa65 => Some(ParameterSet::MlDsa65),
            Algorithm::MlDsa87 => Some(ParameterSet::MlDsa87),
            Algorithm::Es256
            | Algorithm::Es384
            | Algorithm::Es512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::EdDsa
            | Algorithm::Ed25519 => None,
        }
    }

    /// The name that `alg` has.
    pub(super) const fn name(self) -> &'static str {
        match self {
            ParameterSet::MlDsa44 => Algorithm::MlDsa44.name(),
            ParameterSet::MlDsa65 => Algorithm::MlDsa65.name(),
            ParameterSet::MlDsa87 => Algorithm::MlDsa87.name(),
        }
    }

    /// Bytes of a public key (FIPS 204, table 2).
    const fn key_bytes(self) -> usize {
        match self {
            ParameterSet::MlDsa44 => 1312,
            ParameterSet::MlDsa65 => 1952,
            ParameterSet::MlDsa87 => 2592,
        }
    }

    pub(super) const fn scheme(self) -> &'static PqdsaVerificationAlgorithm {
        match self {
            ParameterSet::MlDsa44 => &ML_DSA_44,
            ParameterSet::MlDsa65 => &ML_DSA_65,
            ParameterSet::MlDsa87 => &ML_DSA_87,
        }
    }

    /// Reads `pub`. `None` without the very `alg`, or for any other length.
    pub(super) fn read(self, jwk: &Object<'_>) -> Option<Vec<u8>> {
        if jws::string(jwk, "alg") != Some(self.name()) {
            return None;
        }
        let key = jws::string(jwk, "pub").and_then(jws::from_base64url)?;
        (key.len() == self.key_bytes()).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{PublicKey, Unfit};
    use crate::verify::algorithm::Algorithm::{self, MlDsa44, MlDsa65, MlDsa87};
    use crate::verify::digest::Digest;
    use crate::verify::json::Object;
    use crate::verify::jwks::signing::SigningKey;
    use crate::verify::jws;

    fn read(jwk: &Value, algorithm: Algorithm) -> Option<PublicKey> {
        let text = jwk.to_string();
        PublicKey::read(&Object::read(text.as_bytes()).expect("JSON"), algorithm)
    }

    /// R-G-06, R-M-05.
    #[test]
    fn a_key_and_what_it_signs() {
        for (algorithm, signature_bytes) in [(MlDsa44, 2420), (MlDsa65, 3309), (MlDsa87, 4627)] {
            let key = SigningKey::new(algorithm, "k");
            let jwk = key.public();
            let public = read(&jwk, algorithm).expect("a key");
            let text = jwk["pub"].as_str().expect("pub");
            // RFC 7638 §3 with the members of RFC 9964 §6.
            let members = format!(r#"{{"alg":"{algorithm}","kty":"AKP","pub":"{text}"}}"#);
            assert_eq!(public.thumbprint(), Digest::of(members.as_bytes()));
            let token = key.sign_text("{}", "{}");
            let (message, signature) = token.rsplit_once('.').expect("a JWS");
            let mut signature = jws::from_base64url(signature).expect("base64url");
            assert_eq!(signature.len(), signature_bytes);
            assert_eq!(public.verify(algorithm, message.as_bytes(), &signature), Ok(()));
            assert_eq!(public.verify(algorithm, b"another", &signature), Err(Unfit::Signature));
            for other in [MlDsa44, MlDsa65, MlDsa87, Algorithm::Es256].into_iter().filter(|a| *a != algorithm)
            {
                assert_eq!(public.verify(other, message.as_bytes(), &signature), Err(Unfit::Key), "{other}");
            }
            signature.push(0);
            assert_eq!(public.verify(algorithm, message.as_bytes(), &signature), Err(Unfit::Signature));
        }
    }

    #[test]
    fn keys_that_are_none() {
        let jwk = SigningKey::new(MlDsa44, "k").public();
        assert!(read(&jwk, MlDsa44).is_some());
        for (name, value) in [
            ("alg", json!("ML-DSA-65")),
            ("alg", json!(null)),
            ("kty", json!("OKP")),
            ("pub", json!("AA")),
            ("pub", json!(jwk["pub"].as_str().expect("pub").to_owned() + "AAAA")),
            ("use", json!("enc")),
        ] {
            let mut broken = jwk.clone();
            broken[name] = value.clone();
            assert!(read(&broken, MlDsa44).is_none(), "{name}: {value}");
            assert!(read(&broken, MlDsa65).is_none(), "{name}: {value}");
        }
        // RFC 9964 §3: without `alg` nobody knows what it is.
        let mut nameless = jwk.clone();
        nameless.as_object_mut().expect("an object").remove("alg");
        assert!(read(&nameless, MlDsa44).is_none());
        let mut other = SigningKey::new(Algorithm::Es256, "k").public();
        other["alg"] = json!("ML-DSA-44");
        assert!(read(&other, MlDsa44).is_none());
    }
}
