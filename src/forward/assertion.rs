//! The gateway's own word for an upstream: who calls, with which key, and for what. `X-Auth-Assertion`, a JWT (RFC 7519).
//!
//! Whoever gets hold of one behind the gateway has little: it is for one upstream, one request, half a minute, and no resource server takes it for an access
//! token, since its `typ` says what it is (RFC 8725 §3.11). Callers cannot send one: the name begins like the others that only the gateway says.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use http::{HeaderName, HeaderValue, Method};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::EncodePrivateKey as _;
use serde::Serialize;

use super::fault::Fault;
use crate::config::{self, Assertions};
use crate::verify::jwk::{Curve, PublicKey};
use crate::verify::jws;
use crate::verify::proof::Binding;
use crate::verify::replay::Permit;
use crate::verify::request::Target;
use crate::verify::time::UnixTime;
use crate::verify::token;

pub(super) const ASSERTION: HeaderName = HeaderName::from_static(config::ASSERTION);

/// Who signs.
pub(super) struct Signer {
    issuer: String,
    lifetime: i64,
    /// The JOSE header and the dot behind it, the same for all.
    header: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// All keys, as a JWK set (RFC 7517 §5).
    jwks: String,
}

/// One request, as an assertion has it.
pub(super) struct Asserted<'r> {
    /// `aud`
    pub(super) audience: &'r str,
    /// `htm`
    pub(super) method: &'r Method,
    /// `htu`: what was authorised
    pub(super) target: &'r Target,
    /// `uri`: path and query, as the upstream sees them
    pub(super) uri: &'r str,
    /// `jti`
    pub(super) request_id: &'r HeaderValue,
    /// `iat`
    pub(super) now: UnixTime,
}

#[derive(Serialize)]
struct Claims<'r> {
    iss: &'r str,
    aud: &'r str,
    jti: &'r str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'r str>,
    /// `iss` of the caller's token: a subject means nothing without it.
    token_iss: &'r str,
    /// Absent for a bearer on a report-only route: then whoever called may have stolen the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    htm: &'r str,
    htu: &'r str,
    uri: &'r str,
}

/// RFC 7800: what the caller has proven to hold.
#[derive(Serialize)]
struct Confirmation {
    #[serde(skip_serializing_if = "Option::is_none")]
    jkt: Option<String>,
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    x5t_s256: Option<String>,
}

impl Confirmation {
    /// `None` where nothing was proven: an empty `cnf` would be a key that nobody knows (RFC 7800 §3.1).
    fn of(binding: &Binding) -> Option<Self> {
        match binding {
            Binding::Key(_) | Binding::Certificate(_) | Binding::Both(..) => Some(Self {
                jkt: binding.key().map(|key| key.to_base64url()),
                x5t_s256: binding.certificate().map(|certificate| certificate.to_base64url()),
            }),
            Binding::Nothing(_) => None,
        }
    }
}

impl Signer {
    /// The one of these settings; `None` where they have no key that can be used, which the configuration has looked at.
    pub(super) fn new(settings: &Assertions) -> Option<Self> {
        let keys = &settings.keys.0;
        let first = keys.first()?;
        let der = first.to_pkcs8_der().ok()?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes()).ok()?;
        let typ = token::ASSERTION;
        let header = format!(r#"{{"typ":"{typ}","alg":"ES256","kid":"{}"}}"#, thumbprint(first));
        let jwks: Vec<String> = keys.iter().map(jwk).collect();
        Some(Self {
            issuer: settings.issuer.clone(),
            lifetime: settings.lifetime,
            header: format!("{}.", jws::to_base64url(header.as_bytes())),
            key,
            random: SystemRandom::new(),
            jwks: format!(r#"{{"keys":[{}]}}"#, jwks.join(",")),
        })
    }

    /// The keys that upstreams verify with.
    pub(super) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Signs what a permit has proven, or that it has proven nothing.
    ///
    /// # Errors
    /// [`Fault::IdentityUnfit`], where the system gives no randomness to sign with.
    pub(super) fn sign(&self, permit: &Permit, asserted: &Asserted<'_>) -> Result<HeaderValue, Fault> {
        let Asserted { audience, method, target, uri, request_id, now } = asserted;
        let (token, binding) = (permit.token(), permit.binding());
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            jti: request_id.to_str().map_err(|_| Fault::IdentityUnfit)?,
            iat: now.seconds(),
            exp: now.plus(self.lifetime).seconds(),
            sub: token.subject(),
            client_id: token.client_id(),
            scope: token.scope(),
            token_iss: token.issuer(),
            cnf: Confirmation::of(binding),
            htm: Method::as_str(method),
            htu: &target.url_without_query(),
            uri,
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| Fault::IdentityUnfit)?;
        let mut jwt = self.header.clone();
        jwt.push_str(&jws::to_base64url(&claims));
        let signature = self.key.sign(&self.random, jwt.as_bytes()).map_err(|_| Fault::IdentityUnfit)?;
        jwt.push('.');
        jwt.push_str(&jws::to_base64url(signature.as_ref()));
        HeaderValue::try_from(jwt).map_err(|_| Fault::IdentityUnfit)
    }
}

fn point(key: &SecretKey) -> Vec<u8> {
    key.public_key().to_sec1_point(false).as_bytes().to_vec()
}

fn thumbprint(key: &SecretKey) -> String {
    PublicKey::Ec { curve: Curve::P256, point: point(key) }.thumbprint().to_base64url()
}

fn jwk(key: &SecretKey) -> String {
    let point = point(key);
    let (x, y) = point[1..].split_at(point.len() / 2);
    format!(
        r#"{{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"{}","x":"{}","y":"{}"}}"#,
        thumbprint(key),
        jws::to_base64url(x),
        jws::to_base64url(y)
    )
}
