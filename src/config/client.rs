//! The gateway as a client of an issuer (RFC 6749 §2): where it asks, as whom, and how much. One set of settings, for every endpoint.
//!
//! Secrets are read here and are never printed, in complaints neither.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::sign::CertifiedKey;

use super::client_key::ClientKey;
use super::complaint::{Complaints, Span};
use super::decode::Setting;
use super::either::Secret;
use super::file::Certificate;
use super::issuer::{complain, web_url};
use super::material::Surroundings;
use super::values::Text;
use super::words::Authentication;
use crate::verify::algorithm::Algorithm;

/// The gateway as a client at one of an issuer's endpoints.
#[derive(Clone, Debug)]
pub struct OauthClient {
    /// `url`: https, or http to a loopback address; `None`: as the issuer's metadata says
    pub url: Option<Uri>,
    /// `client_id`
    pub client_id: String,
    /// `authentication`, with what it needs
    pub authentication: ClientAuthentication,
    /// `timeout`; default 5 s
    pub timeout: Duration,
    /// `calls` at a time; default 64
    pub calls: usize,
    /// `rate`: calls in a second; default 200
    pub rate: u32,
}

/// How the gateway shows an issuer who it is.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `client_secret_basic` (RFC 6749 §2.3.1)
    Basic(ClientSecret),
    /// `client_secret_post` (RFC 6749 §2.3.1)
    Post(ClientSecret),
    /// `private_key_jwt` (RFC 7523 §2.2, OpenID Connect Core §9)
    PrivateKeyJwt(Arc<ClientKey>, Audience),
    /// `tls` (RFC 8705 §2)
    Tls(Arc<CertifiedKey>),
}

/// `assertion_audience`: the `aud` of a client assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The issuer's name: nobody else can use the assertion (RFC 7523 §3, as its revision has it)
    Issuer,
    /// The address that is asked, for servers that want that
    Endpoint,
}

/// A client secret. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// The secret of that text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the request to the issuer and nothing else.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

impl PartialEq for OauthClient {
    fn eq(&self, other: &Self) -> bool {
        // A setting that is added has to be compared too, which the build asks for here.
        let Self { url, client_id, authentication, timeout, calls, rate } = self;
        *url == other.url
            && *client_id == other.client_id
            && *authentication == other.authentication
            && (*timeout, *calls, *rate) == (other.timeout, other.calls, other.rate)
    }
}

impl PartialEq for ClientAuthentication {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic(one), Self::Basic(two)) | (Self::Post(one), Self::Post(two)) => one == two,
            (Self::PrivateKeyJwt(one, for_one), Self::PrivateKeyJwt(two, for_two)) => {
                one == two && for_one == for_two
            }
            // A certificate's key is the one that belongs to it.
            (Self::Tls(one), Self::Tls(two)) => one.cert == two.cert,
            (Self::Basic(_) | Self::Post(_) | Self::PrivateKeyJwt(..) | Self::Tls(_), _) => false,
        }
    }
}

/// The settings of a client as they are written, wherever they stand.
#[derive(Clone, Copy)]
pub(super) struct Written<'w> {
    pub(super) url: Option<&'w Setting<Text>>,
    pub(super) authentication: &'w Setting<Authentication>,
    pub(super) client_id: Option<&'w Setting<Text>>,
    pub(super) client_secret: Option<&'w Setting<Secret>>,
    pub(super) client_key: Option<&'w Setting<Secret>>,
    pub(super) client_key_id: Option<&'w Setting<Text>>,
    pub(super) client_key_algorithm: Option<&'w Setting<Algorithm>>,
    pub(super) assertion_audience: &'w Setting<Audience>,
    pub(super) client_certificate: Option<&'w Setting<Certificate>>,
    pub(super) timeout: Duration,
    pub(super) calls: usize,
    pub(super) rate: usize,
}

/// The client, where it could be built; `None` after a complaint. `whole` says whether all of its settings could be read.
pub(super) fn client(
    written: Written<'_>,
    whole: bool,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<OauthClient> {
    let url = match written.url.map(|url| (url, web_url(&url.0))) {
        None => None,
        Some((_, Ok(uri))) => Some(uri),
        Some((url, Err(wrong))) => {
            complain(Some(wrong), url, complaints);
            return None;
        }
    };
    if !whole {
        return None;
    }
    refuse_what_has_no_effect(written, complaints);
    let authentication = authentication(written, surroundings, complaints)?;
    if let (ClientAuthentication::Tls(_), Some(uri)) = (&authentication, &url)
        && uri.scheme_str() != Some("https")
        && let Some(place) = written.url
    {
        complaints.add_with(
            place.span,
            "a client certificate is shown over https only",
            "write `https://`, or another `authentication`",
        );
    }
    Some(OauthClient {
        url,
        client_id: written.client_id?.0.clone(),
        authentication,
        timeout: written.timeout,
        calls: written.calls,
        rate: u32::try_from(written.rate).unwrap_or(u32::MAX),
    })
}

/// Whose setting one is.
const fn owners(key: &'static str) -> &'static [Authentication] {
    match key.as_bytes() {
        b"client_secret" => &[Authentication::Basic, Authentication::Post],
        b"client_certificate" => &[Authentication::Tls],
        _ => &[Authentication::PrivateKeyJwt],
    }
}

fn refuse_what_has_no_effect(written: Written<'_>, complaints: &mut Complaints) {
    let audience = written.assertion_audience;
    let settings: [(&'static str, Option<Span>); 6] = [
        ("client_secret", written.client_secret.map(|setting| setting.span)),
        ("client_key", written.client_key.map(|setting| setting.span)),
        ("client_key_id", written.client_key_id.map(|setting| setting.span)),
        ("client_key_algorithm", written.client_key_algorithm.map(|setting| setting.span)),
        ("assertion_audience", audience.written.then_some(audience.span)),
        ("client_certificate", written.client_certificate.map(|setting| setting.span)),
    ];
    for (key, span) in settings {
        if let Some(span) = span
            && !owners(key).contains(&written.authentication.value)
        {
            let message = format!("`{key}` has no effect with this `authentication`");
            complaints.add_with(span, message, "leave it out, or choose the `authentication` it is for");
        }
    }
}

fn authentication(
    written: Written<'_>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<ClientAuthentication> {
    match written.authentication.value {
        Authentication::Basic => secret(written, surroundings, complaints).map(ClientAuthentication::Basic),
        Authentication::Post => secret(written, surroundings, complaints).map(ClientAuthentication::Post),
        Authentication::PrivateKeyJwt => {
            let Some(key) = written.client_key else { return missing("client_key", written, complaints) };
            let algorithm = written.client_key_algorithm;
            let name = written.client_key_id.map(|name| name.0.clone());
            let key = surroundings.client_key(key, algorithm, name, complaints)?;
            Some(ClientAuthentication::PrivateKeyJwt(Arc::new(key), written.assertion_audience.value))
        }
        Authentication::Tls => {
            let Some(shown) = written.client_certificate else {
                return missing("client_certificate", written, complaints);
            };
            Some(ClientAuthentication::Tls(surroundings.server_certificate(shown, complaints)?.key))
        }
    }
}

fn secret(
    written: Written<'_>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<ClientSecret> {
    let Some(place) = written.client_secret else { return missing("client_secret", written, complaints) };
    let text = surroundings.secret(place, complaints)?;
    if text.is_empty() {
        complaints.add(place.span, "this secret is empty");
        return None;
    }
    Some(ClientSecret(text))
}

/// Complains where the choice stands that makes `key` necessary; of a choice that is not written, where it could.
fn missing<T>(key: &str, written: Written<'_>, complaints: &mut Complaints) -> Option<T> {
    let message = format!("`{key}` is missing: this `authentication` needs it");
    complaints.add(written.authentication.span, message);
    None
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn shown() -> Arc<CertifiedKey> {
        let made = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider);
        Arc::new(key.expect("a certificate and its key"))
    }

    /// A client that is taken for the same goes on with what it had: after a reload it would show the certificate that the operator has replaced, perhaps since
    /// its key is no secret any more.
    #[test]
    fn another_secret_is_another_client() {
        let secret = |text: &str| ClientSecret::new(text.to_owned());
        let (old, new) = (shown(), shown());
        let is = |one: ClientAuthentication, other: ClientAuthentication| one == other;
        use ClientAuthentication::{Basic, Post, Tls};
        assert!(is(Tls(Arc::clone(&old)), Tls(Arc::new(CertifiedKey::clone(&old)))));
        assert!(!is(Tls(Arc::clone(&old)), Tls(new)));
        assert!(is(Basic(secret("a")), Basic(secret("a"))));
        assert!(!is(Basic(secret("a")), Basic(secret("b"))));
        assert!(!is(Post(secret("a")), Post(secret("b"))));
        assert!(!is(Post(secret("a")), Basic(secret("a"))));
        assert!(!is(Tls(old), Post(secret("a"))));
    }
}
