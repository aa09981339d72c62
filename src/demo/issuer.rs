//! The authorization server: metadata and keys over https, tokens for whoever is in this process.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;

use super::loopback::{self, Server, Transport};
use super::pki::{Authority, PkiError};
use super::token::{Grant, IssuerKey, MintError};
use crate::verify::confirmation::Confirmation;
use crate::verify::time::UnixTime;

/// Why the issuer does not start.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// There is no certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] MintError),
    /// There is no listener.
    #[error("the issuer cannot listen: {0}")]
    Listen(#[from] io::Error),
}

/// An issuer that serves RFC 8414 metadata and its keys, and signs tokens of RFC 9068. It runs until it is dropped.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: IssuerKey,
    _server: Server,
}

impl Issuer {
    /// Serves https on `listener`, with a certificate of `authority` for the listener's address.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn start(listener: TcpListener, authority: &Authority) -> Result<Self, IssuerError> {
        let address = listener.local_addr()?;
        let url = format!("https://{address}");
        let certificate = authority.server(&[&address.ip().to_string(), "localhost"])?;
        let acceptor = loopback::acceptor(certificate.certified_key()?).map_err(PkiError::Tls)?;
        let key = IssuerKey::generate()?;
        let documents = Arc::new(Documents { metadata: metadata(&url), jwks: key.jwks() });
        let server = loopback::serve(listener, Transport::Tls(acceptor), move |request| {
            let answer = documents.answer(request.method(), request.uri().path());
            async move { answer }
        })?;
        Ok(Self { url, key, _server: server })
    }

    /// `iss`: where it is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token of this issuer.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, order: &Order<'_>, now: UnixTime) -> Result<String, MintError> {
        let Order { audience, scope, lifetime, confirmation } = *order;
        let grant = Grant {
            issuer: &self.url,
            audience,
            subject: "alice",
            client_id: "demo-app",
            scope,
            lifetime,
            confirmation,
        };
        self.key.mint(&grant, now)
    }
}

/// What a caller asks a token for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'o> {
    /// `aud`
    pub audience: &'o str,
    /// `scope`
    pub scope: &'o str,
    /// Seconds until `exp`
    pub lifetime: i64,
    /// `cnf`
    pub confirmation: Confirmation,
}

/// What is served.
struct Documents {
    metadata: String,
    jwks: String,
}

impl Documents {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let document = match path {
            // RFC 8414 §3: an issuer without a path has its metadata here.
            METADATA_PATH if method == Method::GET => &self.metadata,
            JWKS_PATH if method == Method::GET => &self.jwks,
            _ => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(document.clone())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";
const JWKS_PATH: &str = "/jwks";

/// RFC 8414 §2, and what RFC 9449 §5.1 and RFC 8705 §3.3 add. Tokens are handed out within the process, so there is no endpoint for them.
fn metadata(url: &str) -> String {
    json!({
        "issuer": url,
        "jwks_uri": format!("{url}{JWKS_PATH}"),
        "response_types_supported": [],
        "grant_types_supported": [],
        "dpop_signing_alg_values_supported": ["ES256"],
        "tls_client_certificate_bound_access_tokens": true,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use josekit::jwk::JwkSet;
    use josekit::jws::ES256;
    use josekit::jwt;
    use serde_json::Value;

    use super::{Authority, Confirmation, Issuer, METADATA_PATH, Order, UnixTime, loopback};
    use crate::caller::connection::SendError;
    use crate::clock::Clock;
    use crate::demo::caller::{CallError, Caller};
    use crate::demo::pki::Validity;

    fn authority() -> Authority {
        Authority::new("test CA", Validity { now: Clock::system().now(), days: 1 }).expect("an authority")
    }

    /// RFC 8414 §3.3: what is served leads from the issuer's URL alone to the keys its tokens verify with.
    #[tokio::test]
    async fn discovery_leads_to_the_keys_that_sign() {
        let authority = authority();
        let issuer = Issuer::start(loopback::bind().await.expect("a port"), &authority).expect("an issuer");
        let caller = Caller::new(authority.roots().expect("roots"), None).expect("a client");
        let get = async |url: &str| caller.send(&Method::GET, url, &[]).await.expect("an answer");
        let metadata = get(&format!("{}{METADATA_PATH}", issuer.url())).await;
        let metadata: Value = serde_json::from_slice(&metadata.body).expect("JSON");
        assert_eq!(metadata["issuer"], issuer.url());
        let keys = get(metadata["jwks_uri"].as_str().expect("a URL")).await;
        let keys = JwkSet::from_bytes(&keys.body).expect("a key set");
        let order = Order { audience: "a", scope: "s", lifetime: 60, confirmation: Confirmation::Unbound };
        let token = issuer.mint(&order, UnixTime::from_seconds(1_800_000_000)).expect("a token");
        let verifier = ES256.verifier_from_jwk(keys.keys()[0]).expect("a verifier");
        let (claims, _) = jwt::decode_with_verifier(&token, &verifier).expect("its signature");
        assert_eq!(claims.issuer(), Some(issuer.url()));
        assert_eq!(get(&format!("{}/else", issuer.url())).await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn who_trusts_another_authority_gets_nothing() {
        let issuer = Issuer::start(loopback::bind().await.expect("a port"), &authority()).expect("an issuer");
        let caller = Caller::new(authority().roots().expect("roots"), None).expect("a client");
        let answer = caller.send(&Method::GET, issuer.url(), &[]).await;
        assert!(matches!(answer, Err(CallError::Send(SendError::Untrusted(_)))));
    }
}
