//! What a DPoP proof says: one method, one URL, one token, one moment (RFC 9449 §4.2).

use http::Method;
use serde_json::{Map, Value};
use thiserror::Error;

use super::key::{DpopKey, KeyError, random_base64url};
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::htu::Origin;
use crate::verify::time::UnixTime;

/// Random bytes in a `jti`. RFC 9449 §4.2 asks for at least 96 bits; 128 is what a version 4 UUID is written in.
const JTI_BYTES: usize = 16;

/// A URL that no proof can be made for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an absolute http or https URL without userinfo")]
pub struct NotAUrl;

/// A request that a proof is wanted for.
#[derive(Clone, Debug)]
pub struct ProofRequest {
    htm: String,
    htu: String,
    ath: Option<Digest<AccessToken>>,
    nonce: Option<String>,
    jti: Option<String>,
}

impl ProofRequest {
    /// A proof for `method` on `url`. Query and fragment are cut (RFC 9449 §4.2), and an empty path becomes `/`, since that is what is requested.
    ///
    /// # Errors
    /// [`NotAUrl`]. The path is taken as it is; whether the server likes it is the server's to say.
    pub fn new(method: &Method, url: &str) -> Result<Self, NotAUrl> {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let mut htu = url[..end].to_owned();
        let authority = htu.find("://").ok_or(NotAUrl)? + 3;
        let path = htu[authority..].find('/').map_or(htu.len(), |slash| authority + slash);
        Origin::read(&htu[..path]).ok_or(NotAUrl)?;
        if path == htu.len() {
            htu.push('/');
        }
        Ok(Self { htm: method.as_str().to_owned(), htu, ath: None, nonce: None, jti: None })
    }

    /// For a request with this access token: adds `ath`. A resource server demands it; a token endpoint does not.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.ath = Some(Digest::of(token.as_bytes()));
        self
    }

    /// With the nonce that the server gave in `DPoP-Nonce` (RFC 9449 §8).
    #[must_use]
    pub fn with_nonce(mut self, nonce: &str) -> Self {
        self.nonce = Some(nonce.to_owned());
        self
    }

    /// With this `jti` instead of a random one. A caller never needs it; a test of replay does.
    #[must_use]
    pub fn with_jti(mut self, jti: &str) -> Self {
        self.jti = Some(jti.to_owned());
        self
    }

    /// The URL as the proof names it.
    pub fn htu(&self) -> &str {
        &self.htu
    }

    /// Makes a proof, dated `iat`. Each call makes another one: a proof serves one request (RFC 9449 §11.1).
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] when there is none for `jti`.
    pub fn sign(&self, key: &DpopKey, iat: UnixTime) -> Result<String, KeyError> {
        let jti = match &self.jti {
            Some(jti) => jti.clone(),
            None => random_base64url::<JTI_BYTES>()?,
        };
        let mut claims = Map::new();
        claims.insert("jti".into(), jti.into());
        claims.insert("htm".into(), self.htm.as_str().into());
        claims.insert("htu".into(), self.htu.as_str().into());
        claims.insert("iat".into(), iat.seconds().into());
        if let Some(ath) = self.ath {
            claims.insert("ath".into(), ath.to_base64url().into());
        }
        if let Some(nonce) = &self.nonce {
            claims.insert("nonce".into(), nonce.as_str().into());
        }
        // The JWK is our own text and needs no escaping.
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, key.public_jwk());
        Ok(key.sign_compact(&header, &Value::Object(claims).to_string()))
    }
}

#[cfg(test)]
mod tests;
