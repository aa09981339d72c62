//! A request that is right in everything, to be broken in one thing.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use holdfast::caller::key::{DpopKey, random_base64url};
use holdfast::verify::digest::{AccessToken, Certificate, Digest};

use crate::house::{HOST, House, ISSUER};
use crate::wire::Answer;

/// Everything that goes into one request. Each field can be changed before it is sent.
pub struct Scene {
    pub method: String,
    /// The request target.
    pub target: String,
    pub host: String,
    pub sni: String,
    /// The scheme in Authorization.
    pub scheme: String,
    pub token_header: Value,
    pub token_claims: Value,
    pub proof_header: Value,
    pub proof_claims: Value,
    /// Signs the proof. The right scene's token is bound to it.
    pub key: DpopKey,
    /// Which of the house's certificates the connection presents.
    pub certificate: Option<usize>,
    /// Changes the token after it was signed; `ath` is of the changed one.
    pub edit_token: Box<dyn Fn(String) -> String + Send + Sync>,
    /// Changes the proof after it was signed.
    pub edit_proof: Box<dyn Fn(String) -> String + Send + Sync>,
    /// Replaces Authorization and DPoP altogether.
    pub credentials: Option<Vec<(String, String)>>,
    /// More header lines.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Scene {
    /// GET / with a DPoP-bound token and a fresh proof.
    pub fn right(house: &House) -> Self {
        let key = DpopKey::generate().expect("a key");
        let now = house.now();
        let jwk: Value = serde_json::from_str(&key.public_jwk()).expect("a JWK");
        Self {
            method: "GET".into(),
            target: "/".into(),
            host: HOST.into(),
            sni: HOST.into(),
            scheme: "DPoP".into(),
            token_header: json!({"typ": "at+jwt", "alg": "ES256", "kid": "one"}),
            token_claims: json!({
                "iss": ISSUER, "aud": format!("https://{HOST}"), "sub": "alice", "client_id": "app",
                "iat": now, "exp": now + 300, "jti": random_base64url::<16>().expect("randomness"),
                "scope": "accounts:read accounts:write", "cnf": {"jkt": key.thumbprint().to_base64url()},
            }),
            proof_header: json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}),
            proof_claims: json!({
                "jti": random_base64url::<16>().expect("randomness"), "htm": "GET", "htu": format!("https://{HOST}/"),
                "iat": now,
            }),
            key,
            certificate: None,
            edit_token: Box::new(|token| token),
            edit_proof: Box::new(|proof| proof),
            credentials: None,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// The same at another path.
    pub fn at(house: &House, path: &str) -> Self {
        let mut scene = Self::right(house);
        scene.go_to(path);
        scene
    }

    /// A token bound to a certificate, presented with it.
    pub fn with_certificate(house: &House) -> Self {
        let mut scene = Self::right(house);
        scene.scheme = "Bearer".into();
        scene.certificate = Some(0);
        scene.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
        scene
    }

    /// Sends it to `path`, with a proof for it.
    pub fn go_to(&mut self, path: &str) {
        self.target = path.into();
        let path = path.split(['?', '#']).next().unwrap_or_default();
        self.proof_claims["htu"] = json!(format!("https://{}{path}", self.host));
    }

    /// Uses `method`, with a proof for it.
    pub fn using(&mut self, method: &str) {
        self.method = method.into();
        self.proof_claims["htm"] = json!(method);
    }

    /// The access token.
    pub fn token(&self, house: &House) -> String {
        (self.edit_token)(
            house.issuer.sign_compact(&self.token_header.to_string(), &self.token_claims.to_string()),
        )
    }

    /// The proof for `token`: `ath` is filled in where the scene has not set it.
    pub fn proof(&self, token: &str) -> String {
        let mut claims = self.proof_claims.clone();
        if claims.is_object() && claims.get("ath").is_none() {
            claims["ath"] = json!(Digest::<AccessToken>::of(token.as_bytes()).to_base64url());
        }
        // `"ath": "none"` stands for a proof without one.
        if claims["ath"] == "none"
            && let Some(members) = claims.as_object_mut()
        {
            members.remove("ath");
        }
        (self.edit_proof)(self.key.sign_compact(&self.proof_header.to_string(), &claims.to_string()))
    }

    /// Authorization and DPoP.
    pub fn credentials(&self, house: &House) -> Vec<(String, String)> {
        if let Some(credentials) = &self.credentials {
            return credentials.clone();
        }
        let token = self.token(house);
        let mut lines = vec![("authorization".to_owned(), format!("{} {token}", self.scheme))];
        if self.scheme.eq_ignore_ascii_case("dpop") {
            lines.push(("dpop".to_owned(), self.proof(&token)));
        }
        lines
    }

    /// The request's bytes.
    pub fn bytes(&self, house: &House) -> Vec<u8> {
        self.bytes_with(&self.credentials(house))
    }

    /// The request's bytes with these credentials.
    pub fn bytes_with(&self, credentials: &[(String, String)]) -> Vec<u8> {
        let mut request = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in credentials.iter().chain(&self.headers) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&self.body);
        request.into_bytes()
    }

    /// The request with these credentials, for HTTP/2.
    pub fn request_with(&self, credentials: &[(String, String)]) -> Request<Full<Bytes>> {
        let uri = format!("https://{}{}", self.host, self.target);
        let mut request = Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in credentials.iter().chain(&self.headers) {
            request = request.header(name, value);
        }
        request.body(Full::from(self.body.clone())).expect("a request")
    }

    /// Sends it over a connection of its own.
    pub async fn send(&self, house: &House) -> Answer {
        self.send_bytes(house, &self.bytes(house)).await
    }

    /// Sends these bytes as this scene would.
    pub async fn send_bytes(&self, house: &House, bytes: &[u8]) -> Answer {
        let mut client = house.connect(&self.sni, self.certificate).await;
        client
            .exchange(bytes)
            .await
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
    }
}

/// Another proof by the same key for the same token: now, and with this nonce instead of the one that the scene may have.
pub fn renew(scene: &mut Scene, house: &House, nonce: Option<&str>) {
    scene.proof_claims["jti"] = json!(random_base64url::<16>().expect("randomness"));
    scene.proof_claims["iat"] = json!(house.now());
    if let Some(nonce) = nonce {
        scene.proof_claims["nonce"] = json!(nonce);
    }
}

/// Makes the scene one of a caller that knows no nonce: its proofs are judged by their dates.
pub fn without_nonce(scene: &mut Scene) {
    scene.proof_claims.as_object_mut().expect("an object").remove("nonce");
}

/// The `x5t#S256` of one of the house's certificates.
pub fn thumbprint(house: &House, certificate: usize) -> String {
    Digest::<Certificate>::of(&house.certificates[certificate].0).to_base64url()
}
