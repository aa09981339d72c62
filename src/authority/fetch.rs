//! One request to an issuer: over TLS, bounded in size, never led elsewhere.
//!
//! Whoever can answer in an issuer's place can sign tokens, or say what they are worth, so this refuses rather than copes: no plain http but to this machine itself, no
//! certificate that does not verify, no redirect, no status but 200 (R-H-12). How long it may take is its caller's to bound.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::verify::jwks::NotAKeySet;

/// The largest answer that is read, key sets, metadata and files alike. Real ones have a few KiB.
pub(super) const MOST_BYTES: usize = 512 * 1024;

/// What the gateway calls itself.
pub(super) const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// An address that may be fetched: https, or http to a loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchUrl(Uri);

impl FetchUrl {
    /// `None` for any other address.
    pub(super) fn new(uri: Uri) -> Option<Self> {
        let host = uri.host()?;
        let allowed = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => is_loopback(host),
            Some(_) | None => false,
        };
        allowed.then_some(Self(uri))
    }

    /// Whether it is fetched over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host without brackets, and the port.
    fn whereabouts(&self) -> (&str, u16) {
        let host = self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        (host, self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 }))
    }

    /// The authority without a user, for `Host` (RFC 9110 §7.2).
    pub(super) fn authority(&self) -> &str {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        authority.rsplit('@').next().unwrap_or_default()
    }

    /// What is asked for there: path and query.
    pub(super) fn target(&self) -> &str {
        self.0.path_and_query().map_or("/", |target| target.as_str())
    }

    /// The address.
    pub(super) const fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Loopback by its form: an address in brackets or plain, or `localhost` (RFC 6761 §6.3). Other names could resolve to anything.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        || host.eq_ignore_ascii_case("localhost")
}

/// Why there are no new keys. The sentence is for the operator's log and holds nothing a caller sent.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    /// No connection, or no TLS.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The question could not be made: the system gives no randomness, or the key no signature.
    #[error("cannot be asked: the question could not be signed")]
    Unsigned,
    /// Anything but what was asked for, redirects above all.
    #[error("answered {}{}", .0.as_u16(), if .0.is_redirection() { ", and redirects are not followed" } else { "" })]
    Status(StatusCode),
    /// More than this many bytes.
    #[error("sent more than {} KiB", .0 / 1024)]
    TooLarge(usize),
    /// The connection ended early, or was no HTTP.
    #[error("broke off: {0}")]
    Broken(String),
    /// The whole attempt took longer than this.
    #[error("took longer than {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    File(std::io::Error),
    /// Metadata that cannot be used (RFC 8414 §3.3).
    #[error("{0}")]
    Metadata(&'static str),
    /// What came is no key set.
    #[error("{0}")]
    Keys(#[from] NotAKeySet),
}

/// A client for one issuer, with the roots it is trusted by.
pub(super) struct Fetcher(TlsConnector);

/// Whose certificates an issuer's servers may have.
pub(super) enum Roots {
    /// Those of the operator's CA and no other.
    Ca(Arc<RootCertStore>),
    /// Those the system trusts.
    System,
    /// Nobody's: nothing is fetched over TLS.
    Nobody,
}

impl Fetcher {
    /// A client that trusts `roots`, and shows the certificate that `shown` chooses to servers that ask for one.
    ///
    /// # Errors
    /// When the system's roots are wanted and there are none.
    pub(super) fn new(
        roots: Roots,
        shown: Option<Arc<dyn ResolvesClientCert>>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match roots {
            Roots::Ca(roots) => builder.with_root_certificates(roots),
            Roots::Nobody => builder.with_root_certificates(RootCertStore::empty()),
            Roots::System => builder.with_platform_verifier()?,
        };
        let tls = match shown {
            Some(shown) => builder.with_client_cert_resolver(shown),
            None => builder.with_no_client_auth(),
        };
        Ok(Self(TlsConnector::from(Arc::new(tls))))
    }

    /// The body of a 200. Takes as long as the server takes.
    ///
    /// One connection for one request: minutes lie between two fetches, and the cooldown counts on a fetch being one request.
    pub(super) async fn get(&self, url: &FetchUrl) -> Result<Bytes, FetchError> {
        let request = Request::get(url.target())
            .header(HOST, url.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .body(Full::default())
            .map_err(|error| FetchError::Unreachable(error.to_string()))?;
        let mut sender = self.connect(url).await?;
        let response =
            sender.send_request(request).await.map_err(|error| FetchError::Unreachable(causes(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        read(response.into_body(), MOST_BYTES).await
    }

    /// A connection to where `url` is, for requests one after the other.
    pub(super) async fn connect(&self, url: &FetchUrl) -> Result<SendRequest<Full<Bytes>>, FetchError> {
        self.try_connect(url).await.map_err(|error| FetchError::Unreachable(causes(&*error)))
    }

    async fn try_connect(&self, url: &FetchUrl) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let (host, port) = url.whereabouts();
        let stream = TcpStream::connect((host, port)).await?;
        if !url.is_https() {
            return speak_http(stream).await;
        }
        let name = ServerName::try_from(host.to_owned())?;
        speak_http(self.0.connect(name, stream).await?).await
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn speak_http<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends by itself when the sender and the answer's body are read or dropped; what went wrong in it reaches the reader of the body.
    tokio::spawn(connection);
    Ok(sender)
}

/// All of a body, which may have `most` bytes.
pub(super) async fn read(body: Incoming, most: usize) -> Result<Bytes, FetchError> {
    // What says that it is longer is not waited for.
    if body.size_hint().lower() > most as u64 {
        return Err(FetchError::TooLarge(most));
    }
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge(most)),
        Err(error) => Err(FetchError::Broken(causes(error.as_ref()))),
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

/// An error and what caused it, since hyper's own words are "client error (Connect)" and no more.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::FetchUrl;

    /// R-H-12, T-JWK-10.
    #[test]
    fn only_https_and_this_machine() {
        let allowed = |url: &str| FetchUrl::new(url.parse().unwrap()).is_some();
        for url in [
            "https://as.example.com/jwks",
            "https://10.0.0.1/jwks",
            "http://127.0.0.1:1/jwks",
            "http://127.9.9.9/",
            "http://[::1]:80/",
            "http://localhost/",
        ] {
            assert!(allowed(url), "{url}");
        }
        for url in [
            "http://as.example.com/jwks",
            "http://10.0.0.1/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://[::2]/",
            "ftp://127.0.0.1/",
            "/jwks",
        ] {
            assert!(!allowed(url), "{url}");
        }
    }
}
