//! A question to an issuer: the form of its asker, and who asks (RFC 6749 §2.3).
//!
//! The caller's proof never goes along, nor its certificate: whether it may present the token is checked here (RFC 9449 §6.2, R-B-07).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;

use crate::authority::fetch::{AGENT, FetchUrl};
use crate::config::{Audience, ClientAuthentication, ClientKey, OauthClient};
use crate::verify::jws::to_base64url;
use crate::verify::time::UnixTime;

/// How long a client assertion is good, in seconds. It is used at once; the rest is for clocks.
const ASSERTION_LIFETIME: i64 = 60;
/// `client_assertion_type` (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The gateway as one issuer's client.
pub(super) struct Asker {
    issuer: String,
    client_id: String,
    authentication: ClientAuthentication,
}

/// One question. It holds a token and perhaps a secret, and is never printed.
pub(super) struct Question {
    form: Bytes,
    authorization: Option<HeaderValue>,
}

impl Asker {
    /// The client that `settings` say, of `issuer`.
    pub(super) fn new(issuer: &str, settings: &OauthClient) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: settings.client_id.clone(),
            authentication: settings.authentication.clone(),
        }
    }

    /// The question of `form`, for `url`. `None` when the system gives no randomness, or the key no signature.
    pub(super) fn question(&self, mut form: Form, url: &FetchUrl, now: UnixTime) -> Option<Question> {
        let mut authorization = None;
        match &self.authentication {
            ClientAuthentication::Basic(secret) => {
                authorization = Some(basic(&self.client_id, secret.text())?);
            }
            ClientAuthentication::Post(secret) => {
                form.add("client_id", &self.client_id);
                form.add("client_secret", secret.text());
            }
            ClientAuthentication::PrivateKeyJwt(key, audience) => {
                let address = url.uri().to_string();
                let audience = match audience {
                    Audience::Issuer => &self.issuer,
                    Audience::Endpoint => &address,
                };
                form.add("client_id", &self.client_id);
                form.add("client_assertion_type", JWT_BEARER);
                form.add("client_assertion", &assertion(&self.client_id, audience, key, now)?);
            }
            // RFC 8705 §2: the certificate is the authentication; the name says whose it is to be.
            ClientAuthentication::Tls(_) => form.add("client_id", &self.client_id),
        }
        Some(Question { form: Bytes::from(form.0), authorization })
    }
}

impl Question {
    /// The request, wanting an answer of the type `accept`.
    pub(super) fn request(&self, url: &FetchUrl, accept: &'static str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.form.clone()));
        *request.method_mut() = http::Method::POST;
        // The path and query of an address that was parsed are a target.
        *request.uri_mut() = url.target().parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(url.authority()) {
            headers.insert(HOST, host);
        }
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// RFC 6749 §2.3.1: name and secret are form-encoded first, so that a colon in the name is not the colon between them.
fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let mut pair = String::new();
    encode(client_id, &mut pair);
    pair.push(':');
    encode(secret, &mut pair);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A client assertion (RFC 7523 §3).
fn assertion(client_id: &str, audience: &str, key: &ClientKey, now: UnixTime) -> Option<String> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).ok()?;
    let mut header = serde_json::json!({"typ": "JWT", "alg": key.algorithm().name()});
    if let Some(name) = key.name() {
        header["kid"] = name.into();
    }
    let claims = serde_json::json!({
        "iss": client_id, "sub": client_id, "aud": audience, "jti": to_base64url(&id),
        "iat": now.seconds(), "exp": now.plus(ASSERTION_LIFETIME).seconds(),
    });
    let part = |json: serde_json::Value| to_base64url(json.to_string().as_bytes());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(input.as_bytes())?;
    Some(format!("{input}.{}", to_base64url(&signature)))
}

/// `application/x-www-form-urlencoded` (RFC 6749 Appendix B). It holds a token, and is never printed.
#[derive(Default)]
pub(in crate::authority) struct Form(String);

impl Form {
    /// Adds a pair.
    pub(in crate::authority) fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        encode(value, &mut self.0);
    }
}

/// Everything but what the URL standard leaves as it is becomes `%` and two digits; a space becomes `+`.
fn encode(text: &str, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => into.push('+'),
            b'*' | b'-' | b'.' | b'_' => into.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => into.push(char::from(byte)),
            byte => {
                into.push('%');
                into.push(char::from(DIGITS[usize::from(byte >> 4)]));
                into.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6749 Appendix B.
    #[test]
    fn forms_are_encoded() {
        let mut form = Form::default();
        form.add("a", " %&+\u{a3}\u{20ac}");
        form.add("b", "*-._~/=");
        assert_eq!(form.0, "a=+%25%26%2B%C2%A3%E2%82%AC&b=*-._%7E%2F%3D");
    }

    #[test]
    fn names_and_secrets_with_colons() {
        let value = basic("s6:x", "a b:%").unwrap();
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), b"s6%3Ax:a+b%3A%25");
    }
}
