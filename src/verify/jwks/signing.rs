//! An issuer's private keys, for tests: real keys in every algorithm, and tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair,
    PqdsaSigningAlgorithm,
};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use josekit::jwk::Jwk;
use josekit::jws::{self as jose, JwsSigner};
use serde_json::{Value, json};

use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::credential::{CredentialLimits, Presented, RawToken};
use crate::verify::dpop::{DpopRules, Terms};
use crate::verify::htu::{Origin, Path};
use crate::verify::jws::to_base64url;
use crate::verify::nonce::NonceRing;
use crate::verify::policy::NonceRule;
use crate::verify::request::{RequestFacts, Target};
use crate::verify::time::UnixTime;

/// The moment the tests' tokens are made for.
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
/// The issuer of [`claims`].
pub(crate) const ISSUER: &str = "https://as.example.com";
/// The audience of [`claims`].
pub(crate) const AUDIENCE: &str = "https://api.example.com";
/// The key of [`claims`]: the thumbprint of RFC 9449 §6.1.
pub(crate) const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

/// A signing key of an issuer, for one algorithm.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    jwk: Jwk,
    signer: Sign,
}

/// A signature of a message.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

impl SigningKey {
    /// A new key.
    pub(crate) fn new(algorithm: Algorithm, kid: &str) -> Self {
        use josekit::jwk::{Ed25519, P_256, P_384, P_521};
        let post_quantum = match algorithm {
            Algorithm::MlDsa44 => Some(&ML_DSA_44_SIGNING),
            Algorithm::MlDsa65 => Some(&ML_DSA_65_SIGNING),
            Algorithm::MlDsa87 => Some(&ML_DSA_87_SIGNING),
            _ => None,
        };
        if let Some(scheme) = post_quantum {
            return Self::new_ml_dsa(algorithm, scheme, kid);
        }
        let jwk = match algorithm {
            Algorithm::Es256 => Jwk::generate_ec_key(P_256),
            Algorithm::Es384 => Jwk::generate_ec_key(P_384),
            Algorithm::Es512 => Jwk::generate_ec_key(P_521),
            Algorithm::EdDsa | Algorithm::Ed25519 => Jwk::generate_ed_key(Ed25519),
            Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512 => Jwk::generate_rsa_key(2048),
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => unreachable!("made above"),
        };
        Self::of(&jwk.unwrap(), algorithm, kid)
    }

    fn new_ml_dsa(algorithm: Algorithm, scheme: &'static PqdsaSigningAlgorithm, kid: &str) -> Self {
        let pair = PqdsaKeyPair::generate(scheme).unwrap();
        let mut jwk = Jwk::new("AKP");
        let public = to_base64url(pair.public_key().as_ref());
        for (name, text) in [("pub", public.as_str()), ("alg", algorithm.name())] {
            jwk.set_parameter(name, Some(text.into())).unwrap();
        }
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; scheme.signature_len()];
            let length = pair.sign(message, &mut signature).unwrap();
            signature.truncate(length);
            signature
        };
        Self { algorithm, kid: Some(kid.to_owned()), jwk, signer: Box::new(sign) }
    }

    /// The key `jwk` under another algorithm or name. An empty `kid` is none.
    pub(crate) fn of(jwk: &Jwk, algorithm: Algorithm, kid: &str) -> Self {
        let mut private = jwk.clone();
        for name in ["alg", "use", "key_ops"] {
            private.set_parameter(name, None).unwrap();
        }
        let signer: Box<dyn JwsSigner> = match algorithm {
            Algorithm::Es256 => Box::new(jose::ES256.signer_from_jwk(&private).unwrap()),
            Algorithm::Es384 => Box::new(jose::ES384.signer_from_jwk(&private).unwrap()),
            Algorithm::Es512 => Box::new(jose::ES512.signer_from_jwk(&private).unwrap()),
            Algorithm::Ps256 => Box::new(jose::PS256.signer_from_jwk(&private).unwrap()),
            Algorithm::Ps384 => Box::new(jose::PS384.signer_from_jwk(&private).unwrap()),
            Algorithm::Ps512 => Box::new(jose::PS512.signer_from_jwk(&private).unwrap()),
            Algorithm::Rs256 => Box::new(jose::RS256.signer_from_jwk(&private).unwrap()),
            Algorithm::Rs384 => Box::new(jose::RS384.signer_from_jwk(&private).unwrap()),
            Algorithm::Rs512 => Box::new(jose::RS512.signer_from_jwk(&private).unwrap()),
            Algorithm::EdDsa | Algorithm::Ed25519 => Box::new(jose::EdDSA.signer_from_jwk(&private).unwrap()),
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => {
                panic!("a key of ML-DSA has one algorithm")
            }
        };
        let signer = Box::new(move |message: &[u8]| signer.sign(message).unwrap());
        let kid = Some(kid.to_owned()).filter(|kid| !kid.is_empty());
        Self { algorithm, kid, jwk: private, signer }
    }

    /// The private key.
    pub(crate) const fn private(&self) -> &Jwk {
        &self.jwk
    }

    /// The public key as its issuer publishes it: with `kid`, `use` and `alg`.
    pub(crate) fn public(&self) -> Value {
        let mut public = self.bare();
        public["use"] = json!("sig");
        public["alg"] = json!(self.algorithm.name());
        public
    }

    /// The public key with `kid` and nothing else beside its value.
    pub(crate) fn bare(&self) -> Value {
        let mut public = json!({});
        for name in ["kty", "crv", "x", "y", "n", "e", "pub"] {
            if let Some(value) = self.jwk.parameter(name) {
                public[name] = value.clone();
            }
        }
        if let Some(kid) = &self.kid {
            public["kid"] = json!(kid);
        }
        public
    }

    /// The header its tokens have.
    pub(crate) fn header(&self) -> Value {
        let mut header = json!({"typ": "at+jwt", "alg": self.algorithm.name()});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    /// A token with this header and these claims, signed, whatever they say.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// The same for any text.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(claims.as_bytes()));
        let signature = (self.signer)(input.as_bytes());
        format!("{input}.{}", to_base64url(&signature))
    }

    /// A token with these claims and the right header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

/// A key set of these keys.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Claims that are right at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "client_id": "app", "aud": AUDIENCE, "scope": "read write", "jti": "t-1",
        "iat": NOW.seconds() - 10, "exp": NOW.seconds() + 300, "cnf": {"jkt": JKT},
    })
}

/// The headers of a request that presents `token`.
pub(crate) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

/// The token in those headers, read as the gateway reads it.
pub(crate) fn raw(headers: &HeaderMap) -> RawToken<'_> {
    static METHOD: Method = Method::GET;
    static TARGET: LazyLock<Target> = LazyLock::new(|| Target {
        origin: Origin::read(AUDIENCE).unwrap().into(),
        path: Path::read("/").unwrap(),
        query: None,
    });
    static RULES: LazyLock<DpopRules> = LazyLock::new(|| DpopRules {
        algorithms: Algorithms::new(&[Algorithm::Es256]),
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[7; 32], &[], 300),
    });
    let facts = RequestFacts { method: &METHOD, target: &TARGET, headers, certificate: None };
    let limits = CredentialLimits { token_bytes: 64 * 1024, proof_bytes: 8192 };
    let terms = Terms { rules: &RULES, nonce: NonceRule::None, now: NOW };
    Presented::read(&facts, &limits, &terms).unwrap().token()
}
