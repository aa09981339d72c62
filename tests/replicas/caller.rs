//! One caller: a key, a token bound to it, and as many proofs as it is asked for.
//!
//! Proofs are signed with aws-lc, which is fast in a build without optimisation too: the load must not be what is waited for.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use holdfast::caller::key::DpopKey;
use holdfast::clock::Clock;
use holdfast::demo::token::{Grant, IssuerKey};
use holdfast::verify::confirmation::Confirmation;
use holdfast::verify::digest::{AccessToken, Digest};
use holdfast::verify::jws::to_base64url;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::Outcome;
use crate::gateway::{HOST, ISSUER};
use crate::ledger::HEADER;

/// The route that takes proofs with a nonce and without, as long as they are young.
pub(crate) const COUNTED: &str = "/counted";
/// The route that asks for a nonce, and takes a proof for as long as that is good.
pub(crate) const ASKING: &str = "/asking";

pub(crate) struct Caller {
    key: EcdsaKeyPair,
    header: String,
    token: String,
    ath: String,
    clock: Clock,
}

impl Caller {
    /// A new caller with a token that outlives the run.
    pub(crate) fn new(issuer: &IssuerKey) -> Outcome<Self> {
        let clock = Clock::system();
        let key = DpopKey::generate()?;
        let origin = format!("https://{HOST}");
        let grant = Grant {
            issuer: ISSUER,
            audience: &origin,
            subject: "alice",
            client_id: "replicas",
            scope: "accounts:read",
            lifetime: 24 * 3600,
            confirmation: Confirmation::Key(key.thumbprint()),
        };
        let token = issuer.mint(&grant, clock.now())?;
        let PrivateKeyDer::Pkcs8(pkcs8) = PrivateKeyDer::from_pem_slice(key.to_pkcs8_pem().as_bytes())?
        else {
            return Err("a key's PEM is PKCS#8".into());
        };
        Ok(Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.secret_pkcs8_der())?,
            header: to_base64url(
                format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, key.public_jwk()).as_bytes(),
            ),
            ath: Digest::<AccessToken>::of(token.as_bytes()).to_base64url(),
            token,
            clock,
        })
    }

    /// A whole request, with the proof of this number (RFC 9449 §4.2).
    pub(crate) fn request(&self, number: u64, nonce: Option<&str>) -> Outcome<Vec<u8>> {
        self.request_to(COUNTED, number, nonce)
    }

    /// The same to one of the two routes. Without a nonce, that which asks for one answers with one.
    pub(crate) fn request_to(&self, path: &str, number: u64, nonce: Option<&str>) -> Outcome<Vec<u8>> {
        let mut claims = json!({
            "jti": format!("proof-{number}"),
            "htm": "GET",
            "htu": format!("https://{HOST}{path}"),
            "iat": self.clock.now().seconds(),
            "ath": self.ath,
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let mut proof = format!("{}.{}", self.header, to_base64url(claims.to_string().as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), proof.as_bytes())?;
        proof.push('.');
        proof.push_str(&to_base64url(signature.as_ref()));
        let token = &self.token;
        Ok(format!(
            "GET {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n{HEADER}: {number}\r\n\r\n"
        )
        .into_bytes())
    }
}
