//! Access tokens of RFC 9068, as a development issuer signs them: bound to a key, a certificate, both or nothing.

use std::fmt;

use josekit::jws::alg::ecdsa::EcdsaJwsSigner;
use josekit::jws::{ES256, JwsHeader};
use josekit::jwt::{self, JwtPayload};
use p256::elliptic_curve::zeroize::Zeroizing;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::caller::key::{DpopKey, KeyError, random_base64url};
use crate::verify::confirmation::Confirmation;
use crate::verify::time::UnixTime;

/// Random bytes in a token's `jti`.
const JTI_BYTES: usize = 16;

/// Why there is no token.
#[derive(Debug, Error)]
pub enum MintError {
    /// The issuer's key cannot be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// josekit does not sign.
    #[error("cannot sign the token: {0}")]
    Signature(#[from] josekit::JoseError),
}

/// The key an issuer signs its tokens with: P-256, ES256. Its `kid` is its thumbprint, so that a new key has a new name. It prints as that.
pub struct IssuerKey {
    key: DpopKey,
    signer: EcdsaJwsSigner,
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerKey({})", self.key.thumbprint())
    }
}

impl IssuerKey {
    /// A new key.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn generate() -> Result<Self, MintError> {
        Self::of(DpopKey::generate()?)
    }

    /// The key in a PKCS#8 PEM.
    ///
    /// # Errors
    /// [`MintError::Key`].
    pub fn from_pem(pem: &str) -> Result<Self, MintError> {
        Self::of(DpopKey::from_pem(pem)?)
    }

    fn of(key: DpopKey) -> Result<Self, MintError> {
        let mut signer = ES256.signer_from_pem(key.to_pkcs8_pem().as_bytes())?;
        signer.set_key_id(key.thumbprint().to_string());
        Ok(Self { key, signer })
    }

    /// The private key as PKCS#8 PEM, zeroed when dropped. For a file of mode 0600.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.key.to_pkcs8_pem()
    }

    /// The key set to publish (RFC 7517 §5): the public key alone, for signatures with ES256.
    pub fn jwks(&self) -> String {
        let mut jwk: Map<String, Value> =
            serde_json::from_str(&self.key.public_jwk()).expect("our own JWK is a JSON object");
        jwk.insert("kid".into(), self.key.thumbprint().to_string().into());
        jwk.insert("use".into(), "sig".into());
        jwk.insert("alg".into(), "ES256".into());
        json!({ "keys": [jwk] }).to_string()
    }

    /// Signs the token that `grant` describes, issued `now`.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, grant: &Grant<'_>, now: UnixTime) -> Result<String, MintError> {
        let mut header = JwsHeader::new();
        // RFC 9068 §2.1.
        header.set_token_type("at+jwt");
        let mut claims = Map::new();
        // RFC 9068 §2.2: each of these is required.
        claims.insert("iss".into(), grant.issuer.into());
        claims.insert("aud".into(), grant.audience.into());
        claims.insert("sub".into(), grant.subject.into());
        claims.insert("client_id".into(), grant.client_id.into());
        claims.insert("iat".into(), now.seconds().into());
        claims.insert("exp".into(), now.plus(grant.lifetime).seconds().into());
        claims.insert("jti".into(), random_base64url::<JTI_BYTES>()?.into());
        claims.insert("scope".into(), grant.scope.into());
        match grant.confirmation {
            Confirmation::Key(key) => claims.insert("cnf".into(), json!({ "jkt": key.to_string() })),
            Confirmation::Certificate(certificate) => {
                claims.insert("cnf".into(), json!({ "x5t#S256": certificate.to_string() }))
            }
            Confirmation::Both(key, certificate) => {
                let both = json!({ "jkt": key.to_string(), "x5t#S256": certificate.to_string() });
                claims.insert("cnf".into(), both)
            }
            Confirmation::Unbound => None,
        };
        Ok(jwt::encode_with_signer(&JwtPayload::from_map(claims)?, &header, &self.signer)?)
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'g> {
    /// `iss`
    pub issuer: &'g str,
    /// `aud`
    pub audience: &'g str,
    /// `sub`
    pub subject: &'g str,
    /// `client_id`
    pub client_id: &'g str,
    /// `scope`, space-separated
    pub scope: &'g str,
    /// Seconds from issue to `exp`; negative for a token that has expired
    pub lifetime: i64,
    /// `cnf`
    pub confirmation: Confirmation,
}

#[cfg(test)]
mod tests {
    use josekit::jwk::JwkSet;
    use josekit::jws::ES256;
    use josekit::jwt;
    use serde_json::{Value, json};

    use super::{Confirmation, Grant, IssuerKey, UnixTime};
    use crate::verify::digest::Digest;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn grant(confirmation: Confirmation) -> Grant<'static> {
        Grant {
            issuer: "https://as.example.com",
            audience: "https://api.example.com",
            subject: "alice",
            client_id: "app",
            scope: "accounts:read",
            lifetime: 300,
            confirmation,
        }
    }

    /// The header and claims of a token whose signature verifies with the published key.
    fn verified(issuer: &IssuerKey, token: &str) -> (Value, Value) {
        let keys = JwkSet::from_bytes(issuer.jwks()).expect("a key set");
        let kid = issuer.key.thumbprint().to_string();
        let key = keys.get(&kid).into_iter().next().expect("the key under its kid").clone();
        assert_eq!(key.key_use(), Some("sig"));
        assert!(key.parameter("d").is_none(), "a key set has no private key");
        let verifier = ES256.verifier_from_jwk(&key).expect("a verifier");
        let (claims, header) = jwt::decode_with_verifier(token, &verifier).expect("the issuer's signature");
        (Value::from(header.claims_set().clone()), Value::from(claims.claims_set().clone()))
    }

    #[test]
    fn the_claims_are_those_of_rfc_9068() {
        let issuer = IssuerKey::generate().expect("a key");
        let token = issuer.mint(&grant(Confirmation::Unbound), NOW).expect("a token");
        let (header, mut claims) = verified(&issuer, &token);
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(header["kid"], json!(issuer.key.thumbprint().to_string()));
        let jti = claims["jti"].take();
        assert_eq!(jti.as_str().map(str::len), Some(22));
        assert_eq!(
            claims,
            json!({
                "iss": "https://as.example.com", "aud": "https://api.example.com", "sub": "alice", "client_id": "app",
                "scope": "accounts:read", "iat": 1_800_000_000, "exp": 1_800_000_300, "jti": null
            })
        );
    }

    #[test]
    fn a_token_is_bound_to_what_the_grant_says() {
        let issuer = IssuerKey::generate().expect("a key");
        let (key, certificate) = (Digest::of(b"key"), Digest::of(b"certificate"));
        for (confirmation, cnf) in [
            (Confirmation::Key(key), json!({"jkt": key.to_string()})),
            (Confirmation::Certificate(certificate), json!({"x5t#S256": certificate.to_string()})),
            (
                Confirmation::Both(key, certificate),
                json!({"jkt": key.to_string(), "x5t#S256": certificate.to_string()}),
            ),
        ] {
            let token = issuer.mint(&grant(confirmation), NOW).expect("a token");
            assert_eq!(verified(&issuer, &token).1["cnf"], cnf);
        }
    }

    #[test]
    fn the_pem_gives_the_same_issuer_back() {
        let issuer = IssuerKey::generate().expect("a key");
        let again = IssuerKey::from_pem(&issuer.to_pkcs8_pem()).expect("its own PEM");
        assert_eq!(again.jwks(), issuer.jwks());
    }
}
