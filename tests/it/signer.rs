//! Keys of every algorithm, and signatures over any bytes: for proofs and tokens that no caller's library would make.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast::caller::key::DpopKey;
use holdfast::verify::digest::{Digest, Key};
use josekit::jwk::Jwk;
use josekit::jws::{self as jose, JwsSigner};
use p256::ecdsa::Signature;
use serde_json::{Value, json};

use crate::house::House;
use crate::scene::Scene;

/// A private key that signs for one algorithm.
#[derive(Clone)]
pub struct Signer {
    pub algorithm: &'static str,
    private: Jwk,
    signer: Arc<dyn JwsSigner>,
}

impl Signer {
    /// A new key. `Ed448` stands for an EdDSA key of that curve.
    pub fn new(algorithm: &'static str) -> Self {
        use josekit::jwk::{Ed448, Ed25519, P_256, P_384, P_521};
        let jwk = match algorithm {
            "ES256" => Jwk::generate_ec_key(P_256),
            "ES384" => Jwk::generate_ec_key(P_384),
            "ES512" => Jwk::generate_ec_key(P_521),
            "EdDSA" | "Ed25519" => Jwk::generate_ed_key(Ed25519),
            "Ed448" => Jwk::generate_ed_key(Ed448),
            _ => Jwk::generate_rsa_key(2048),
        };
        Self::of(&jwk.expect("a key"), algorithm)
    }

    /// The key of a caller or of the house's issuer.
    pub fn es256(key: &DpopKey) -> Self {
        let pair = josekit::jwk::alg::ec::EcKeyPair::from_pem(key.to_pkcs8_pem().as_bytes(), None);
        Self::of(&pair.expect("its own PEM").to_jwk_private_key(), "ES256")
    }

    /// The same key for another algorithm.
    pub fn of(jwk: &Jwk, algorithm: &'static str) -> Self {
        let mut private = jwk.clone();
        for name in ["alg", "use", "key_ops"] {
            private.set_parameter(name, None).expect("a member less");
        }
        macro_rules! signer {
            ($algorithm:expr) => {
                Arc::new($algorithm.signer_from_jwk(&private).expect("a key that fits"))
            };
        }
        let signer: Arc<dyn JwsSigner> = match algorithm {
            "ES256" => signer!(jose::ES256),
            "ES384" => signer!(jose::ES384),
            "ES512" => signer!(jose::ES512),
            "PS256" => signer!(jose::PS256),
            "PS384" => signer!(jose::PS384),
            "PS512" => signer!(jose::PS512),
            "RS256" => signer!(jose::RS256),
            "RS384" => signer!(jose::RS384),
            "RS512" => signer!(jose::RS512),
            "EdDSA" | "Ed25519" | "Ed448" => signer!(jose::EdDSA),
            other => panic!("{other}"),
        };
        Self { algorithm, private, signer }
    }

    /// The same key for another algorithm.
    pub fn renamed(&self, algorithm: &'static str) -> Self {
        Self::of(&self.private, algorithm)
    }

    /// The public key.
    pub fn public(&self) -> Value {
        let mut public = json!({});
        for name in ["kty", "crv", "x", "y", "n", "e"] {
            if let Some(value) = self.private.parameter(name) {
                public[name] = value.clone();
            }
        }
        public
    }

    /// The private key.
    pub fn private(&self) -> Value {
        serde_json::from_str(&self.private.to_string()).expect("a JWK")
    }

    /// The thumbprint, by the text of RFC 7638 §3.2 and RFC 8037 §2: the required members in order.
    pub fn jkt(&self) -> String {
        let public = self.public();
        let names = match public["kty"].as_str() {
            Some("EC") => &["crv", "kty", "x", "y"][..],
            Some("OKP") => &["crv", "kty", "x"],
            _ => &["e", "kty", "n"],
        };
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{}", public[name])).collect();
        Digest::<Key>::of(format!("{{{}}}", members.join(",")).as_bytes()).to_base64url()
    }

    /// The compact JWS of any bytes.
    pub fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let input = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.signer.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", encoded(&signature))
    }

    /// Signs a JWS again, with its header and claims changed.
    pub fn respell(&self, jws: &str, edit: impl Fn(&mut Vec<u8>, &mut Vec<u8>)) -> String {
        let mut parts = jws.split('.').map(decoded);
        let (mut header, mut claims) = (parts.next().expect("a header"), parts.next().expect("claims"));
        edit(&mut header, &mut claims);
        self.sign(&header, &claims)
    }
}

/// Has `signer` make the proof of `scene`, whose token is then bound to it.
pub fn hold(scene: &mut Scene, signer: &Signer) {
    scene.proof_header["alg"] = json!(signer.algorithm);
    scene.proof_header["jwk"] = signer.public();
    scene.token_claims["cnf"] = json!({"jkt": signer.jkt()});
    let signer = signer.clone();
    scene.edit_proof = Box::new(move |proof| signer.respell(&proof, |_, _| {}));
}

/// Signs the proof with its header and claims changed as bytes.
pub fn respell_proof(scene: &mut Scene, edit: impl Fn(&mut Vec<u8>, &mut Vec<u8>) + Send + Sync + 'static) {
    let signer = Signer::es256(&scene.key);
    scene.edit_proof = Box::new(move |proof| signer.respell(&proof, &edit));
}

/// Signs the token with its header and claims changed as bytes.
pub fn respell_token(
    scene: &mut Scene,
    house: &House,
    edit: impl Fn(&mut Vec<u8>, &mut Vec<u8>) + Send + Sync + 'static,
) {
    let signer = Signer::es256(&house.issuer);
    scene.edit_token = Box::new(move |token| signer.respell(&token, &edit));
}

/// Puts `text` in front of an object's first member.
pub fn push_member(json: &mut Vec<u8>, text: &str) {
    json.splice(1..1, format!("{text},").into_bytes());
}

/// Replaces the first `from` in a text, which must be there.
pub fn replace(json: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(json)).expect("text");
    assert!(text.contains(from), "{from} is not in {text}");
    *json = text.replacen(from, to, 1).into_bytes();
}

/// The same JWS with another signature.
pub fn resign(jws: &str, edit: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let (input, signature) = jws.rsplit_once('.').expect("a signature");
    format!("{input}.{}", encoded(&edit(decoded(signature))))
}

/// The same JWS with the MAC of this secret in place of its signature.
pub fn mac(jws: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let (input, _) = jws.rsplit_once('.').expect("a signature");
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
    format!("{input}.{}", encoded(tag.as_ref()))
}

/// The other ECDSA signature of the same message by the same key: (r, n − s).
pub fn malleated(jws: &str) -> String {
    resign(jws, |signature| {
        let signature = Signature::from_slice(&signature).expect("r and s");
        let (r, s) = signature.split_scalars();
        Signature::from_scalars(*r, -*s).expect("r and n − s").to_bytes().to_vec()
    })
}

/// base64url without padding.
pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What base64url stands for.
pub fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}
