//! `introspection` of an issuer: where it is asked about tokens that are not JWTs, as whom, and how much (RFC 7662).
//!
//! Secrets are read here and are never printed, in complaints neither.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::sign::CertifiedKey;

use super::client_key::ClientKey;
use super::complaint::{Complaints, Span};
use super::decode::Whole;
use super::issuer::{complain, web_url};
use super::issuer_file;
use super::material::Surroundings;
use super::words::Authentication;

/// `introspection` of an issuer.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// `url`: https, or http to a loopback address; `None`: as the issuer's metadata says
    pub url: Option<Uri>,
    /// `client_id`
    pub client_id: String,
    /// `authentication`, with what it needs
    pub authentication: ClientAuthentication,
    /// `answer`; default json
    pub answer: AnswerForm,
    /// `cache`, in seconds; default 30
    pub cache: i64,
    /// `cache_inactive`, in seconds; default 5
    pub cache_inactive: i64,
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

/// `answer`: what an issuer answers with. Another form than the one that is set is no answer (RFC 9701 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// JSON, as it stands
    Json,
    /// A JWT that the issuer has signed
    Jwt,
    /// The same, encrypted to one of `encryption.keys`
    EncryptedJwt,
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

impl PartialEq for Introspection {
    fn eq(&self, other: &Self) -> bool {
        // A setting that is added has to be compared too, which the build asks for here.
        let Self { url, client_id, authentication, answer, cache, cache_inactive, timeout, calls, rate } =
            self;
        *url == other.url
            && *client_id == other.client_id
            && *authentication == other.authentication
            && *answer == other.answer
            && (*cache, *cache_inactive) == (other.cache, other.cache_inactive)
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

/// What could be built; `None` after a complaint.
pub(super) fn introspection(
    written: &Whole<issuer_file::Introspection>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Introspection> {
    let Whole { settings: written, whole } = written;
    let url = match written.url.as_ref().map(|url| (url, web_url(&url.0))) {
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
        && let Some(place) = &written.url
    {
        complaints.add_with(
            place.span,
            "a client certificate is shown over https only",
            "write `https://`, or another `authentication`",
        );
    }
    Some(Introspection {
        url,
        client_id: written.client_id.as_ref()?.0.clone(),
        authentication,
        answer: written.answer.value,
        cache: written.cache.0,
        cache_inactive: written.cache_inactive.0,
        timeout: written.timeout.0,
        calls: written.calls.0,
        rate: u32::try_from(written.rate.0).unwrap_or(u32::MAX),
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

fn refuse_what_has_no_effect(written: &issuer_file::Introspection, complaints: &mut Complaints) {
    let audience = &written.assertion_audience;
    let settings: [(&'static str, Option<Span>); 6] = [
        ("client_secret", written.client_secret.as_ref().map(|setting| setting.span)),
        ("client_key", written.client_key.as_ref().map(|setting| setting.span)),
        ("client_key_id", written.client_key_id.as_ref().map(|setting| setting.span)),
        ("client_key_algorithm", written.client_key_algorithm.as_ref().map(|setting| setting.span)),
        ("assertion_audience", audience.written.then_some(audience.span)),
        ("client_certificate", written.client_certificate.as_ref().map(|setting| setting.span)),
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
    written: &issuer_file::Introspection,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<ClientAuthentication> {
    match written.authentication.value {
        Authentication::Basic => secret(written, surroundings, complaints).map(ClientAuthentication::Basic),
        Authentication::Post => secret(written, surroundings, complaints).map(ClientAuthentication::Post),
        Authentication::PrivateKeyJwt => {
            let Some(key) = &written.client_key else { return missing("client_key", written, complaints) };
            let algorithm = written.client_key_algorithm.as_ref();
            let name = written.client_key_id.as_ref().map(|name| name.0.clone());
            let key = surroundings.client_key(key, algorithm, name, complaints)?;
            Some(ClientAuthentication::PrivateKeyJwt(Arc::new(key), written.assertion_audience.value))
        }
        Authentication::Tls => {
            let Some(shown) = &written.client_certificate else {
                return missing("client_certificate", written, complaints);
            };
            Some(ClientAuthentication::Tls(surroundings.server_certificate(shown, complaints)?.key))
        }
    }
}

fn secret(
    written: &issuer_file::Introspection,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<ClientSecret> {
    let Some(place) = &written.client_secret else { return missing("client_secret", written, complaints) };
    let text = surroundings.secret(place, complaints)?;
    if text.is_empty() {
        complaints.add(place.span, "this secret is empty");
        return None;
    }
    Some(ClientSecret(text))
}

/// Complains where the choice stands that makes `key` necessary; of a choice that is not written, where it could.
fn missing<T>(key: &str, written: &issuer_file::Introspection, complaints: &mut Complaints) -> Option<T> {
    let message = format!("`{key}` is missing: this `authentication` needs it");
    complaints.add(written.authentication.span, message);
    None
}
